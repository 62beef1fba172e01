"""What is done around one job: a user's mistake ends it in one line, and a failed trial does not end its sweep."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nogan.common.errors import Occupied
from nogan.training import sweeps
from nogan.training.compose.folders import check_devices, remove
from nogan.training.compose.messages import Refusal, refusing
from nogan.training.launch import is_rank_zero

Task = Callable[[DictConfig], Any]


def job(task: Task) -> Task:
    """Decorate the function that Hydra calls for each job."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        folder = Path(HydraConfig.get().runtime.output_dir)
        return _alone(task, cfg, folder) if HydraConfig.get().mode == RunMode.RUN else _trial(task, cfg, folder)

    return run


def _alone(task: Task, cfg: DictConfig, folder: Path) -> Any:
    """Run ``task``; if a user's mistake ends it before training begins, the run ``folder`` is removed."""
    with _no_empty_run(folder), refusing():
        return task(cfg)


def _trial(task: Task, cfg: DictConfig, folder: Path) -> Any:
    """Run ``task`` as a trial of a sweep: its error, of whatever kind, is written down, and the next trial begins."""
    with refusing():
        check_devices(cfg, HydraConfig.get().runtime.choices["hydra/launcher"])
    try:
        value = task(cfg)
        sweeps.check_value(cfg.objective, value)
        return value
    except Occupied as error:  # the other trials' folders are another sweep's, too, and nothing is written there
        raise Refusal(error) from error
    except Exception as error:
        sweeps.note_failure(folder, error)
        return None


@contextmanager
def _no_empty_run(folder: Path) -> Iterator[None]:
    """Remove the run ``folder`` after a refusal, if it holds only what Hydra wrote: its notes and a log."""
    try:
        yield
    except Refusal:
        log = f"{HydraConfig.get().job.name}.log"
        if is_rank_zero() and {path.name for path in folder.iterdir()} <= {".hydra", log}:
            remove(folder)
        raise
