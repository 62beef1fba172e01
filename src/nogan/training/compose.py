"""From the command line to a checked config: the only place, beside ``train.py``, that knows Hydra.

Hydra composes ``conf/`` and the files of ``experiments/``; what comes out is checked by :mod:`nogan.plan.config` and
handed on as a plain :class:`~nogan.plan.config.RunConfig`. Users' mistakes end in one line, whoever noticed them.
"""

import atexit
import functools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from rich.console import Console

from nogan import inflection
from nogan.common.errors import Interrupted, Occupied, UserError, shown
from nogan.common.failures import explained
from nogan.common.lock import is_held
from nogan.evaluation.measures import direction
from nogan.plan.config import RunConfig, Trainer, parse_config, unknown_key
from nogan.runs.run_folder import check_is_run, has_checkpoints, saved_config
from nogan.training import sweeps
from nogan.training.launch import is_rank_zero, launched, word_of_the_first

# A resumed run keeps everything of its own config but these.
RESUME_ONLY = ("resume", "dry_run")
# What is chosen by name: the folders of conf/, and experiments/.
GROUPS = ("data", "experiment", "inflection", "logger", "model", "nogan", "recipe_scale", "sweep", "trainer")
NO_TRIALS = "No trials are completed yet."  # Optuna's words


def command_line(main: Callable[[], Any], experiments: Path, conclude: Callable[[Path, Console], bool]) -> None:
    """Run a ``hydra.main`` function as a program: mistakes of the user end in one line on stderr and exit code 1.

    Args:
        main: decorated by ``hydra.main``.
        experiments: the folder whose ``NAME.yaml`` files ``experiment=NAME`` chooses from.
        conclude: sums up the sweep in a folder; says whether a trial was completed.
    """
    register(experiments)
    # An OpenMP thread that spins while it waits takes the core that another program's thread needs: beside any other
    # load, training on few cores is several times slower. So it spins a moment and then sleeps. Read when torch is
    # first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors reach us; Hydra would print many lines and exit itself
    try:
        _check_choices(sys.argv[1:])
        main()
    except UserError as error:
        sys.exit(str(error))
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(one_line(error))
    except OSError as error:
        if error.filename is None:
            raise
        # A job explains its own: this one is Hydra's, at making the folder for it.
        sys.exit(
            f"{error.filename}: {error.strerror}; expected hydra.run.dir (of a sweep, hydra.sweep.dir) to be a "
            "folder that can be made and written to"
        )
    except ValueError as error:
        # A trial's own is noted beside it: this one is the sweeper's. Where it only misses the best of no trials, the
        # table says why there are none.
        if SweepFolder.folder is None:
            raise
        if str(error) != NO_TRIALS:
            sys.exit(f"hydra.sweeper: {error}")
    finally:
        succeeded = SweepFolder.conclude(conclude)
    if not succeeded:
        sys.exit(1)


class SweepFolder(Callback):
    """Knows the folder of the sweep that this process runs, if it runs one; sums it up at the end, however it ended."""

    folder: Path | None = None
    is_new = False

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the folder, which a study's storage needs, and refuse what no job of the sweep could do."""
        with _users_mistakes_exit():
            sweeps.check_objective(config.objective)
            sweeper = str(config.hydra.runtime.choices["hydra/sweeper"])
            if config.dry_run:
                if sweeper != "basic":
                    raise UserError(
                        f"dry_run=true: a study (hydra/sweeper={sweeper}) learns from results, and plans have none: "
                        "expected it without sweep=, or with a list of settings"
                    )
                return
            _check_devices(config, config)
            # Its direction depends on the objective.
            settings = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
            trials = settings.get("n_trials", 1)
            if not isinstance(trials, int) or trials < 1:
                raise UserError(f"hydra.sweeper.n_trials={shown(trials)}: expected an integer of 1 or more")
            folder = Path(config.hydra.sweep.dir)
            SweepFolder.is_new = not folder.exists()
            sweeps.begin(folder, config.objective)
            SweepFolder.folder = folder

    @classmethod
    def conclude(cls, summarize: Callable[[Path, Console], bool]) -> bool:
        """Sum up the sweep; False if none of its trials was completed. Without any trial a new folder is removed."""
        if cls.folder is None:
            return True
        if cls.is_new and not any(path.is_dir() for path in cls.folder.iterdir()):
            _remove(cls.folder)
            return False
        terminal = Console()
        return summarize(cls.folder, terminal if terminal.is_terminal else Console(width=160))


@contextmanager
def _users_mistakes_exit() -> Iterator[None]:
    # Hydra would turn an exception of a callback into a warning.
    try:
        yield
    except OmegaConfBaseException as error:
        sys.exit(one_line(error))
    except Exception as error:
        if known := explained(error):
            sys.exit(str(known))
        raise


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
            with _users_mistakes_exit(), _no_empty_run(Path(HydraConfig.get().runtime.output_dir)):
                return task(cfg)
        try:
            with _users_mistakes_exit():
                _check_devices(cfg, HydraConfig.instance().cfg)
            return task(cfg)
        except Occupied as error:  # so are the other trials', and what is there is not this sweep's to mark as failed
            sys.exit(str(error))
        except Exception as error:
            sweeps.note_failure(Path(HydraConfig.get().runtime.output_dir), error)
            return None

    return run


@contextmanager
def _no_empty_run(folder: Path) -> Iterator[None]:
    """Remove the run ``folder`` if a mistake ends the run before it began: Hydra has made it, and written its log."""
    try:
        yield
    except Exception as error:
        log = f"{HydraConfig.get().job.name}.log"
        expected = isinstance(error, OmegaConfBaseException) or explained(error)
        if expected and is_rank_zero() and {path.name for path in folder.iterdir()} <= {".hydra", log}:
            _remove(folder)
        raise


def _remove(folder: Path) -> None:
    """Remove ``folder``, and those between it and the current one that hold nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    here = Path.cwd()
    for parent in folder.absolute().parents:
        if here not in parent.parents or any(parent.iterdir()):
            break
        parent.rmdir()


def _check_choices(arguments: Iterable[str]) -> None:
    """Refuse ``model=null`` and its like, of which Hydra says neither the group nor what it expects."""
    for argument in arguments:
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
        except OverrideParseException:
            continue  # a flag; or Hydra says what is wrong with it
        if override.key_or_group not in GROUPS or override.is_delete() or override.is_sweep_override():
            continue
        if not isinstance(value := override.value(), str | list | dict):
            raise UserError(
                f"{override.key_or_group}={shown(value)}: expected the name of one; python train.py --help lists them"
            )


def register(experiments: Path) -> None:
    """Tell Hydra of experiments, detectors and the run folder's name. Calling it again changes nothing."""
    store = ConfigStore.instance()
    for file in sorted(experiments.glob("*.yaml")):
        if "." in file.stem:
            continue  # sweep.wandb.yaml is for W&B to read
        content = yaml.safe_load(file.read_text())
        if isinstance(content, dict):
            store.store(group="experiment", name=file.stem, node=content, package="_global_")
    for name in inflection.DETECTORS:
        store.store(group="inflection", name=name, node={"name": name}, package="nogan.inflection")
    defaults = {name: inflection.complete(name) for name in inflection.DETECTORS}
    store.store(name="detectors", node=defaults, package="nogan.inflection")
    OmegaConf.register_new_resolver("nogan.run_dir", _run_dir, replace=True)
    OmegaConf.register_new_resolver("nogan.sweep_dir", _sweep_dir, replace=True)
    OmegaConf.register_new_resolver("nogan.hydra_dir", _hydra_dir, replace=True)
    OmegaConf.register_new_resolver("nogan.direction", direction, replace=True)


def _run_dir(resume: str | None, dry_run: bool, fresh: str, *, _root_: DictConfig) -> str:
    if dry_run:
        return _passing_folder()
    return word_of_the_first(lambda: _folder(resume, fresh, _root_), "run folder")


def _sweep_dir(dry_run: bool, fresh: str) -> str:
    return _passing_folder() if dry_run else fresh


@functools.cache
def _passing_folder() -> str:
    """Where Hydra writes what nobody wants of a dry run: of this process alone, and gone with it."""
    folder = tempfile.mkdtemp(prefix="nogan-dry-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _folder(resume: str | None, fresh: str, root: DictConfig) -> str:
    if resume == "auto":
        from nogan.training.resume import newest_unfinished

        composed = {key: value for key, value in root.items_ex(resolve=False) if key != "hydra"}
        config = OmegaConf.to_container(OmegaConf.create(composed), resolve=True)
        resume = newest_unfinished(Path(fresh).parent, config)
    elif resume:
        check_is_run(Path(resume))  # before Hydra makes the folder
    return str(resume or fresh)


def _hydra_dir(resume: str | None, *, _root_: DictConfig) -> str | None:
    if (launch := launched()) and launch.rank > 0:
        return None
    # The overrides of a resumption do not replace those that the run was started with; nor do those of a start that is
    # about to be refused.
    folder = OmegaConf.select(_root_, "hydra.runtime.output_dir")
    occupied = folder is not None and (has_checkpoints(Path(folder)) or is_held(Path(folder)))
    return ".hydra/resumed" if resume else ".hydra/refused" if occupied else ".hydra"


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
        return unknown_key(match[1], GROUPS)
    if match := re.search(
        r"Could not find '([^']+)/([^'/]+)'.*Available options in '[^']+':((?:\s*\n\t\S+)*)", text, re.DOTALL
    ):
        group, found, options = match.groups()
        hint = ' (or pip install -e ".[sweep]")' if group.startswith("hydra/") else ""
        return f"{group}={found} is not known: expected one of {', '.join(sorted(options.split()))}{hint}"
    if match := re.search(r"Could not override '([^']+)'\. No match in the defaults list", text):
        return unknown_key(match[1], GROUPS)
    return " ".join(text.split())
