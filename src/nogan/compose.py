"""From the command line to a checked config: the only place, beside ``train.py``, that knows Hydra.

Hydra composes ``conf/`` and the files of ``experiments/``; what comes out is checked by :mod:`nogan.config` and handed
on as a plain :class:`~nogan.config.RunConfig`. Users' mistakes end in one line, whoever noticed them.
"""

import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from rich.console import Console

from nogan import sweeps
from nogan.config import RunConfig, Trainer, parse_config, unknown_key
from nogan.errors import Interrupted, UserError
from nogan.launch import launched, word_of_the_first
from nogan.report.measures import direction

# A resumed run keeps everything of its own config but these.
RESUME_ONLY = ("resume", "dry_run")


def command_line(main: Callable[[], Any], experiments: Path) -> None:
    """Run a ``hydra.main`` function as a program: mistakes of the user end in one line on stderr and exit code 1.

    Args:
        main: decorated by ``hydra.main``.
        experiments: the folder whose ``NAME.yaml`` files ``experiment=NAME`` chooses from.
    """
    register(experiments)
    # An OpenMP thread that spins while it waits takes the core that another program's thread needs: beside any other
    # load, training on few cores is several times slower. So it spins a moment and then sleeps. Read when torch is
    # first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors reach us; Hydra would print many lines and exit itself
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(one_line(error))
    except ValueError:
        if not SweepFolder.is_empty():  # else Optuna missed the best of no trials; the table says why there are none
            raise
    finally:
        succeeded = SweepFolder.conclude()
    if not succeeded:
        sys.exit(1)


class SweepFolder(Callback):
    """Knows the folder of the sweep that this process runs, if it runs one; sums it up at the end, however it ended."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the folder, which a study's storage needs, and refuse what no job of the sweep could do."""
        if config.dry_run:
            return
        with _users_mistakes_exit():
            sweeps.check_objective(config.objective)
            _check_devices(config, config)
            OmegaConf.to_container(config.hydra.sweeper, resolve=True)  # its direction depends on the objective
        SweepFolder.folder = Path(config.hydra.sweep.dir)
        sweeps.begin(SweepFolder.folder, config.objective)

    @classmethod
    def is_empty(cls) -> bool:
        """Whether this is a sweep, and none of its trials was completed."""
        return cls.folder is not None and not any(cls.folder.glob("*/records.json"))

    @classmethod
    def conclude(cls) -> bool:
        """Sum up the sweep; False if none of its trials was completed."""
        if cls.folder is None:
            return True
        terminal = Console()
        return sweeps.conclude(cls.folder, terminal if terminal.is_terminal else Console(width=160))


@contextmanager
def _users_mistakes_exit() -> Iterator[None]:
    # Hydra would turn an exception of a callback into a warning.
    try:
        yield
    except UserError as error:
        sys.exit(str(error))
    except OmegaConfBaseException as error:
        sys.exit(one_line(error))


def _check_devices(cfg: DictConfig, hydra_cfg: DictConfig) -> None:
    try:
        trainer = Trainer.model_validate(OmegaConf.to_container(cfg.trainer, resolve=True))
    except ValidationError:
        return  # each job says what is wrong with it
    sweeps.refuse_several_devices(trainer, str(hydra_cfg.hydra.runtime.choices["hydra/launcher"]))


def job(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Decorate the function below ``hydra.main``, so that a user's mistake is not reported as a crash of the job.

    In a sweep, an error of whatever kind is kept beside the trial, and the next one begins.
    """

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        if HydraConfig.get().mode == RunMode.RUN:
            with _users_mistakes_exit():
                return task(cfg)
        try:
            with _users_mistakes_exit():
                _check_devices(cfg, HydraConfig.instance().cfg)
            return task(cfg)
        except Exception as error:
            sweeps.note_failure(Path(HydraConfig.get().runtime.output_dir), error)
            return None

    return run


def register(experiments: Path) -> None:
    """Make the experiments and the run folder's name known to Hydra. Calling it again changes nothing."""
    store = ConfigStore.instance()
    for file in sorted(experiments.glob("*.yaml")):
        if "." in file.stem:
            continue  # sweep.wandb.yaml is for W&B to read
        content = yaml.safe_load(file.read_text())
        if isinstance(content, dict):
            store.store(group="experiment", name=file.stem, node=content, package="_global_")
    OmegaConf.register_new_resolver("nogan.run_dir", _run_dir, replace=True)
    OmegaConf.register_new_resolver("nogan.hydra_dir", _hydra_dir, replace=True)
    OmegaConf.register_new_resolver("nogan.direction", direction, replace=True)


def _run_dir(resume: str | None, dry_run: bool, fresh: str, *, _root_: DictConfig) -> str:
    if dry_run:
        return str(Path(tempfile.gettempdir()) / "nogan-dry-run")
    return word_of_the_first(lambda: _folder(resume, fresh, _root_), "run folder")


def _folder(resume: str | None, fresh: str, root: DictConfig) -> str:
    if resume == "auto":
        from nogan.resume import newest_unfinished

        composed = {key: value for key, value in root.items_ex(resolve=False) if key != "hydra"}
        config = OmegaConf.to_container(OmegaConf.create(composed), resolve=True)
        resume = newest_unfinished(Path(fresh).parent, config)
    return str(resume or fresh)


def _hydra_dir(resume: str | None) -> str | None:
    if (launch := launched()) and launch.rank > 0:
        return None
    # The overrides of a resumption do not replace those that the run was started with.
    return ".hydra/resumed" if resume else ".hydra"


def run_config(cfg: DictConfig) -> RunConfig:
    """The checked config of this job; with ``resume=RUN_DIR`` that run's own, with the command line laid over it.

    ``resume=auto`` goes on with the newest unfinished run of the same config, or begins one.
    """
    if not cfg.resume or cfg.resume == "auto":
        config = parse_config(OmegaConf.to_container(cfg, resolve=True))
        sweeps.check_objective(config.objective)
        folder = Path(HydraConfig.get().runtime.output_dir)
        begun = config.resume is not None and (folder / "config.yaml").is_file()
        return config.model_copy(update={"resume": str(folder) if begun else None})
    from nogan.run_folder import saved_config

    saved = OmegaConf.create(saved_config(Path(cfg.resume)).model_dump(mode="json"))
    groups = set(HydraConfig.get().runtime.choices)
    for override in OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task)):
        if override.key_or_group in groups:
            raise UserError(
                f"{override.input_line}: a resumed run keeps its own config; only single keys can change, "
                "such as nogan.repeats=N"
            )
        OmegaConf.update(saved, override.key_or_group, override.value())
    return parse_config(OmegaConf.to_container(saved, resolve=True))


def chosen_groups() -> dict[str, str]:
    """The option taken in each config group, e.g. ``{"model": "artistic"}``, without Hydra's own groups."""
    choices = HydraConfig.get().runtime.choices
    return {str(group): str(choice) for group, choice in choices.items() if not str(group).startswith("hydra/")}


def one_line(error: Exception) -> str:
    """What Hydra or OmegaConf found wrong, in one line."""
    text = str(error)
    if match := re.match(r"UserError raised while resolving interpolation: (.*)", text):
        return match[1]
    if match := re.match(r"Could not override '([^']+)'", text):
        return unknown_key(match[1])
    if match := re.search(
        r"Could not find '([^']+)/([^'/]+)'.*Available options in '[^']+':((?:\s*\n\t\S+)*)", text, re.DOTALL
    ):
        group, found, options = match.groups()
        hint = ' (or pip install -e ".[sweep]")' if group.startswith("hydra/") else ""
        return f"{group}={found} is not known: expected one of {', '.join(sorted(options.split()))}{hint}"
    if match := re.search(r"Could not override '([^']+)'\. No match in the defaults list", text):
        return unknown_key(match[1])
    return " ".join(text.split())
