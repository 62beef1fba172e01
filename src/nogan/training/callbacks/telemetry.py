"""What each training step reports, under names that stay put.

=================================  =================================================================================
``generator/loss`` …               pretraining: the feature loss, and its parts
``critic/loss``, ``/accuracy``     critic pretraining; ``critic/val_loss``, ``/val_accuracy`` on held-out pictures
``gan/critic_loss``                the critic's raw loss at its batches of a GAN phase; ``…_smooth``: its moving average
``gan/generator_loss``             the generator's loss at its batches; in it ``adversarial_loss``, ``feature_loss``
``gan/critic_steps_per_generator_step``  so far in the phase
``gan/step``, ``gan/total_step``   batches of the GAN phase, and of all GAN phases so far
``nogan/phase``, ``/cycle``        number of the phase in the plan, and of the critic/GAN cycle
``nogan/bad_batches``              batches skipped for a loss or gradient not finite; with every point, if any were
``nogan/images_seen``              images trained on since the start of the run, with every point
``lr/generator``, ``lr/critic``    of the decoder; of the critic
=================================  =================================================================================
"""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from nogan.common.smoothing import DebiasedEMA
from nogan.plan import Phase
from nogan.training.loggers import MetricsCSV
from nogan.training.modules import GANModule
from nogan.training.scheduler import NoGANScheduler


class Telemetry(pl.Callback):
    """Logs training metrics: each step of a GAN phase, every ``every_n_steps`` of the others."""

    def __init__(self, scheduler: NoGANScheduler, every_n_steps: int) -> None:
        self.scheduler = scheduler
        self.every_n_steps = every_n_steps
        self.smooth = DebiasedEMA()
        self.latest: dict[str, float] = {}
        self._csv_rows = 0

    def on_train_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Drop the rows that the interrupted run wrote after the checkpoint."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.truncate(self._csv_rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Smoothing starts afresh in each phase."""
        self.smooth = DebiasedEMA()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: GANModule, outputs: Mapping[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        """Log this step, if it is one to be logged."""
        phase = self.scheduler.phase(trainer)
        last = batch_idx + 1 == phase.steps
        if phase.kind != "gan" and (batch_idx + 1) % self.every_n_steps and not last:
            return
        values = {name: float(value) for name, value in outputs.items()}
        self.report(trainer, self._named(phase, module, values, batch_idx))

    def report(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        """Send ``metrics`` to every logger, with the run's position."""
        phase = self.scheduler.phase(trainer)
        position = {
            "nogan/phase": trainer.current_epoch,
            "nogan/cycle": phase.cycle,
            "nogan/images_seen": self.scheduler.images_seen,
        }
        if bad := trainer.lightning_module.bad_batches:
            position["nogan/bad_batches"] = bad
        self.latest.update(metrics)
        for logger in trainer.loggers:
            logger.log_metrics({**position, **metrics}, step=trainer.global_step)

    def _named(self, phase: Phase, module: GANModule, values: dict[str, float], batch_idx: int) -> dict[str, float]:
        if phase.kind != "gan":
            optimizer = module.critic_optimizer if phase.kind == "critic" else module.generator_optimizer
            named = {f"{phase.kind}/{name}": value for name, value in values.items()}
            return {**named, f"lr/{phase.kind}": optimizer.param_groups[-1]["lr"]}
        switch = self.scheduler.switch
        position = {
            "gan/step": batch_idx + 1,
            "gan/total_step": self._earlier_gan_steps + batch_idx + 1,
            "gan/critic_steps_per_generator_step": switch.burden,
        }
        if "critic_loss" in values:
            smooth = self.smooth.update(values["critic_loss"])
            return {**position, "gan/critic_loss": values["critic_loss"], "gan/critic_loss_smooth": smooth}
        values["generator_loss"] = values.pop("loss")
        return {**position, **{f"gan/{name}": value for name, value in values.items()}}

    @property
    def _earlier_gan_steps(self) -> int:
        return sum(record.steps for record in self.scheduler.records[:-1] if record.kind == "gan")

    def state_dict(self) -> dict[str, Any]:
        """The smoothing, and how far the CSV is written."""
        return {"smooth": self.smooth.state_dict(), "csv_rows": self._rows_written}

    @property
    def _rows_written(self) -> int:
        loggers = self.scheduler_loggers
        return next((logger.rows for logger in loggers if isinstance(logger, MetricsCSV)), 0)

    def setup(self, trainer: pl.Trainer, module: GANModule, stage: str) -> None:
        """Know the loggers, whose state a checkpoint needs."""
        self.scheduler_loggers = trainer.loggers

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.smooth.load_state_dict(state["smooth"])
        self._csv_rows = state["csv_rows"]
