"""Tells W&B what happens only once: the plan, inflection points, and how it ended."""

import pytorch_lightning as pl

from nogan.runs.run_folder import RunFolder
from nogan.training.loggers.wandb import WandB
from nogan.training.state import RunState


class WandBEvents(pl.Callback):
    """Logs to the run's W&B logger; without one it does nothing.

    Args:
        state: says how a phase ended.
        folder: the run folder, with the grids of samples.
    """

    def __init__(self, state: RunState, folder: RunFolder) -> None:
        self.state, self.folder = state, folder

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the plan."""
        for logger in _wandb(trainer):
            logger.begin(self.state.plan)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the inflection point, if this was a GAN phase that had one."""
        record = self.state.record
        if record.verdict is None:
            return
        batch = record.verdict.inflection if record.rolled_back_to is None else record.rolled_back_to
        picture = self.folder.sample(trainer.global_step - record.steps + batch)
        for logger in _wandb(trainer):
            images = self.state.images_seen
            logger.inflection(record, picture if picture.is_file() else None, images, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sum up."""
        for logger in _wandb(trainer):
            logger.conclude(self.state.records)


def _wandb(trainer: pl.Trainer) -> list[WandB]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandB)]
