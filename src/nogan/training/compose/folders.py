"""The Hydra callback that prepares the folder of a run or a sweep when one begins."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError
from rich.console import Console

from nogan.common.errors import UserError, shown
from nogan.common.program import setting
from nogan.plan.config import Trainer
from nogan.runs.run_folder import RunFolder, mark_sweep
from nogan.training import sweeps
from nogan.training.compose.messages import refusing
from nogan.training.launch import is_rank_zero, text_of_rank_zero

DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


class Folders(Callback):
    """Decides on the folder of a run or a sweep, and remembers that of the sweep which this process runs."""

    sweep: ClassVar[Path | None] = None
    sweep_is_new: ClassVar[bool] = False

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Give a dry run a folder that is removed at its end, and all processes of a run the folder of rank zero."""
        with refusing():
            if config.dry_run:
                folder = _run_folder(config, claim=False)
                found = config.resume == "auto" and RunFolder(folder).config_file.is_file()
                if found:
                    # To the job, by way of Hydra's config: its own folder is a passing one.
                    OmegaConf.update(config.hydra.callbacks, "folders.would_go_on", str(folder), force_add=True)
                config.hydra.run.dir, config.hydra.output_subdir = _passing_folder(), None
            else:
                config.hydra.run.dir = text_of_rank_zero(lambda: str(_run_folder(config)), "run folder")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the folder, which a study's storage needs, and refuse what no job of the sweep could do."""
        with refusing():
            sweeps.check_objective(config.objective)
            if config.dry_run:
                _check_sweeper_of_plans(config)
                config.hydra.sweep.dir = passing = _passing_folder()
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={passing}")  # for the jobs, composed from these
                return
            check_devices(config, config.hydra.runtime.choices["hydra/launcher"])
            _check_sweeper(config)
            folder = Path(config.hydra.sweep.dir)
            is_new = not folder.exists()
            if not is_new and _is_dated(folder, config, "hydra.sweep.dir"):  # another's that began in this second
                folder, is_new = _claimed(folder), True
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={folder}")
            Folders.sweep, Folders.sweep_is_new = folder, is_new
            mark_sweep(folder, config.objective)

    @classmethod
    def conclude_sweep(cls, summarize: Callable[[Path, Console], bool]) -> bool:
        """Sum up the sweep, if there is one; False if none of its trials was completed.

        Without any trial a new folder is removed.
        """
        if cls.sweep is None:
            return True
        if cls.sweep_is_new and not any(path.is_dir() for path in cls.sweep.iterdir()):
            remove(cls.sweep)
            return False
        terminal = Console()
        return summarize(cls.sweep, terminal if terminal.is_terminal else Console(width=160))


def _run_folder(config: DictConfig, *, claim: bool = True) -> Path:
    """The folder of the run: that of the one to go on with, the one that the command line gives, or a new one.

    Args:
        config: Hydra's and the run's.
        claim: make a new one here, so that no other run that begins in this second takes it.

    Raises:
        UserError: two runs are meant, or the folder given holds files.
    """
    folder, resume = Path(config.hydra.run.dir), config.resume
    if not is_rank_zero():  # what the first process has settled
        return folder
    if resume and resume != "auto":
        if folder.resolve() != Path(resume).resolve():
            raise UserError(
                f"resume={resume} with hydra.run.dir={folder}: a run goes on in its own folder; leave hydra.run.dir "
                f"out, or begin a new run with its networks, {setting('model.init', resume)}"
            )
        return folder
    if resume and RunFolder(folder).config_file.is_file():
        return folder
    if _is_dated(folder, config, "hydra.run.dir"):
        return _claimed(folder) if claim else folder
    RunFolder(folder).check_is_free()
    return folder


def _is_dated(folder: Path, config: DictConfig, key: str) -> bool:
    """Whether ``folder`` has its name from the clock, and neither from the command line nor from a recipe."""
    given = any(override.lstrip("+").startswith(f"{key}=") for override in config.hydra.overrides.hydra)
    return not given and DATE.fullmatch(folder.name) is not None


def _claimed(folder: Path) -> Path:
    """``folder``, made here; if another process was faster, the first of ``folder-2``, ``folder-3``, … that is free."""
    candidate, number = folder, 1
    while True:
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            number += 1
            candidate = folder.with_name(f"{folder.name}-{number}")
        except OSError:
            return candidate  # Hydra will find the same, and it is said then
        else:
            return candidate


def check_devices(config: DictConfig, launcher: str) -> None:
    """Refuse a job of a sweep on more devices than ``launcher`` can serve.

    Raises:
        UserError: says which launcher can.
    """
    try:
        trainer = Trainer.model_validate(OmegaConf.to_container(config.trainer, resolve=True))
    except ValidationError:
        return  # each job says what is wrong with it
    sweeps.refuse_several_devices(trainer, launcher)


def remove(folder: Path) -> None:
    """Remove ``folder``, and those between it and the current one that hold nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    here = Path.cwd()
    for parent in folder.absolute().parents:
        if here not in parent.parents or any(parent.iterdir()):
            break
        parent.rmdir()


def _check_sweeper_of_plans(config: DictConfig) -> None:
    sweeper = str(config.hydra.runtime.choices["hydra/sweeper"])
    if sweeper != "basic":
        raise UserError(
            f"dry_run=true: a study (hydra/sweeper={sweeper}) learns from results, and plans have none: "
            "expected it without sweep=, or with a list of settings"
        )


def _check_sweeper(config: DictConfig) -> None:
    settings = OmegaConf.to_container(config.hydra.sweeper, resolve=True)  # its direction depends on the objective
    assert isinstance(settings, dict)
    trials = settings.get("n_trials", 1)
    if not isinstance(trials, int) or trials < 1:
        raise UserError(f"hydra.sweeper.n_trials={shown(trials)}: expected an integer of 1 or more")


def _passing_folder() -> str:
    """A new folder for what Hydra writes during a dry run; it is removed when this process ends."""
    folder = tempfile.mkdtemp(prefix="nogan-dry-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
