"""Where a run stands: the one file that reads and corrects Lightning's loops and progress counters."""

from typing import Any, NamedTuple

import pytorch_lightning as pl

from nogan.plan import Plan


class Position(NamedTuple):
    """Where a run stands, as every logged point says it."""

    cycle: int  # 0: pretraining
    phase: int  # number in the plan, from 0
    batch: int  # batches of the phase that are done
    images_seen: int  # since the start of the run


def loader_start(trainer: pl.Trainer, plan: Plan) -> tuple[int, int]:
    """The phase (number in the plan) that the next loader is for, and the batches of it that are done.

    When a run is resumed at the boundary between two phases, Lightning asks for a loader before it has counted the
    finished epoch as completed, but ``processed`` already counts it. It also asks where the run ends at once; then the
    loader of the last phase that there was will do, which needs nothing to be made.
    """
    current: Any = trainer.fit_loop.epoch_progress.current  # its annotation lacks ``processed``
    phases = max(current.processed, 1) if trainer.should_stop else len(plan)
    return min(current.processed, phases - 1), batches_done(trainer)


def batches_done(trainer: pl.Trainer) -> int:
    """How many batches of the phase a resumed run has done already; 0 in a phase that begins."""
    loop = trainer.fit_loop
    return loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0


def is_last_batch(trainer: pl.Trainer) -> bool:
    """Whether the batch that has just been trained on is the last of its phase."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


def forget_untrained_batch(trainer: pl.Trainer) -> None:
    """Undo Lightning's count of a batch that was fetched but not trained on, because the phase was over.

    Lightning would take a later checkpoint for one from before its last batch, and repeat that batch on resuming.
    """
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total  # its annotation lacks ``processed``
    total.ready, total.processed = total.started, total.completed
