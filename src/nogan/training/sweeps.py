"""Sweeps: which ones are refused, and what is kept of a trial that fails."""

import logging
import math
from pathlib import Path

from nogan.common.errors import UserError
from nogan.evaluation.measures import MEASURES
from nogan.plan.config import Trainer
from nogan.runs.run_folder import RunFolder

log = logging.getLogger(__name__)

LOCAL = ("basic", "joblib", "submitit_local")  # launchers whose jobs cannot start further processes of their own


def check_objective(objective: str | None) -> None:
    """Refuse an objective that no run has, before a run is spent on it.

    Raises:
        UserError: it is none of the held-out measures.
    """
    known = [f"val/{key}" for key in MEASURES]
    if objective is not None and objective not in known:
        raise UserError(f"objective={objective}: expected one of {', '.join(known)}")


def check_value(objective: str | None, value: float | None) -> None:
    """Refuse a trial whose objective is not a number: a study would end over it.

    Raises:
        UserError: says what it is.
    """
    if value is not None and not math.isfinite(value):
        raise UserError(f"{objective} of this trial is {value}: expected a finite number to compare it by")


def refuse_several_devices(trainer: Trainer, launcher: str) -> None:
    """Refuse a job on several devices that a launcher would run within the sweep's own process.

    Raises:
        UserError: says why, and which launcher to use.
    """
    if launcher not in LOCAL or not (several := _several_devices(trainer)):
        return
    raise UserError(
        f"{several} in a sweep with hydra/launcher={launcher}: training on several devices starts further processes "
        "from the command line, and here that is the whole sweep's.\n"
        "Expected hydra/launcher=submitit_slurm (a cluster), which gives each job processes of its own; "
        "or one device a job: trainer.devices=1 trainer.num_nodes=1"
    )


def _several_devices(trainer: Trainer) -> str | None:
    if trainer.num_nodes not in (1, "auto"):
        return f"trainer.num_nodes={trainer.num_nodes}"
    if trainer.devices == "auto" and trainer.accelerator in ("auto", "gpu", "cuda"):
        import torch

        count = torch.cuda.device_count()
        return f"trainer.devices=auto ({count} GPUs)" if count > 1 else None
    return f"trainer.devices={trainer.devices}" if trainer.devices not in (1, "auto") else None


def note_failure(folder: Path, error: Exception) -> None:
    """Write why the trial in ``folder`` failed: the reason in one line into its folder, the traceback into its log."""
    expected = isinstance(error, UserError)
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
    RunFolder(folder).note_failure(reason)
    log.error("Trial failed: %s", reason, exc_info=None if expected else error)
