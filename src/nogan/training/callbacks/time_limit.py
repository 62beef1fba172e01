"""``trainer.max_minutes``: the run saves and ends when its time is over."""

import signal
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import STEP_OUTPUT

from nogan.training.signals import StopOnSignal


class TimeLimit(pl.Callback):
    """Asks the run to stop, as SIGTERM would, at the end of the batch in which the time runs out.

    Lightning's own ``max_time`` would end the phase as if it were complete.

    Args:
        minutes: from the start of this process's training.
        stop: what is asked; ``RunCheckpoints`` then saves and ends the run.
    """

    def __init__(self, minutes: float, stop: StopOnSignal) -> None:
        self.seconds, self.stop = minutes * 60, stop
        self._began = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Ask, once the time is over."""
        if time.monotonic() - self._began > self.seconds and not self.stop.received:
            self.stop.received = signal.SIGTERM
