"""What each training step logs, under names that do not change.

=================================  =================================================================================
``generator/loss`` …               pretraining: the feature loss, and its parts
``critic/loss``, ``/accuracy``     critic pretraining; ``critic/val_loss``, ``/val_accuracy`` on held-out pictures
``gan/critic_loss``                the critic's raw loss at its batches of a GAN phase; ``…_smooth``: its moving average
``gan/generator_loss``             the generator's loss at its batches; in it ``adversarial_loss``, ``feature_loss``
``gan/critic_steps_per_generator_step``  so far in the phase
``gan/step``, ``gan/total_step``   batches of the GAN phase, and of all GAN phases so far
``nogan/phase``, ``/cycle``        number of the phase in the plan, and of the critic/GAN cycle
``nogan/bad_batches``              skipped batches (loss or gradient not finite); with every point, if there are any
``nogan/images_seen``              images trained on since the start of the run, with every point
``lr/generator``, ``lr/critic``    learning rates: of the decoder; of the critic
``system/images_per_second``       since the last point that has it; without the time of the probe
``system/peak_memory_gb``          maximum so far: of the GPU, or of this process
=================================  =================================================================================
"""

import math
import sys
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.types import STEP_OUTPUT

from nogan.common import distributed
from nogan.common.smoothing import DebiasedEMA
from nogan.plan import GANPhase, Phase
from nogan.runs.checkpoints import packed, unpacked
from nogan.training.loggers import MetricsCSV
from nogan.training.modules import GANModule
from nogan.training.position import Position
from nogan.training.state import RunState


class Telemetry(pl.Callback):
    """Logs training metrics: each batch of a GAN phase, and every ``every_n_steps``-th of the others.

    Args:
        module: says how many batches were skipped.
        state: says where the run stands.
        every_n_steps: batches from one point to the next; in GAN phases, from one measurement of speed to the next.
    """

    def __init__(self, module: GANModule, state: RunState, every_n_steps: int) -> None:
        self.module, self.state, self.every_n_steps = module, state, every_n_steps
        self.smooth = DebiasedEMA()
        self.latest: dict[str, float] = {}  # the newest value of each metric of the phase
        self._loggers: list[Logger] = []
        self._logged = b""  # metrics.csv as the checkpoint has it
        self._speed_from = (0, 0.0)  # batches and seconds of the phase at the last measurement of speed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on behind the rows of the checkpoint, without those that the interrupted run wrote after it."""
        for logger in self._csv:
            logger.restore(self._logged)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start smoothing and the measurement of speed again."""
        self.smooth = DebiasedEMA()
        self._speed_from = (0, 0.0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Log this batch, if it is due."""
        assert isinstance(outputs, Mapping)
        phase, done = self.state.plan[trainer.current_epoch], batch_idx + 1
        measures_speed = done % self.every_n_steps == 0 or done == phase.steps
        if not isinstance(phase, GANPhase) and not measures_speed:
            return
        values = {name: float(value) for name, value in outputs.items()}
        metrics = self._of_gan(phase, values, done) if isinstance(phase, GANPhase) else _of_one(phase, values, done)
        if measures_speed:
            metrics |= self._speed(phase, done, trainer.strategy.root_device)
        self.report(trainer, metrics)

    def report(self, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """Send ``metrics`` to every logger, with the run's position."""
        here = position_of(self.state, trainer.current_epoch)
        position = {"nogan/phase": here.phase, "nogan/cycle": here.cycle, "nogan/images_seen": here.images_seen}
        if bad := self.module.skipped_batches:
            position["nogan/bad_batches"] = bad
        self.latest.update(metrics)
        for logger in trainer.loggers:
            logger.log_metrics({**position, **metrics}, step=trainer.global_step)

    def _of_gan(self, phase: GANPhase, values: dict[str, float], done: int) -> dict[str, float]:
        metrics = {
            "gan/step": done,
            "gan/total_step": self.state.earlier_gan_steps + done,
            "gan/critic_steps_per_generator_step": self.state.switch.burden,
            "lr/generator": phase.hyper(done - 1, "generator").lr[0],
            "lr/critic": phase.hyper(done - 1, "critic").lr[0],
        }
        if "critic_loss" in values:
            smooth = self.smooth.update(values["critic_loss"])
            return {**metrics, "gan/critic_loss": values["critic_loss"], "gan/critic_loss_smooth": smooth}
        values["generator_loss"] = values.pop("loss")
        return {**metrics, **{f"gan/{name}": value for name, value in values.items()}}

    def _speed(self, phase: Phase, done: int, device: torch.device) -> dict[str, float]:
        """Images a second since the last measurement, without the time of the probe; the maximum of memory so far."""
        batches, seconds = done - self._speed_from[0], self.state.record.seconds - self._speed_from[1]
        self._speed_from = (done, self.state.record.seconds)
        return {
            "system/images_per_second": batches * phase.batch_size / max(seconds, 1e-9),
            "system/peak_memory_gb": peak_memory(device) / 1e9,
        }

    def state_dict(self) -> dict[str, Any]:
        """The smoothing, and the rows of the CSV."""
        logged = b"".join(logger.content() for logger in self._csv) if distributed.rank() == 0 else b""
        return {"smooth": self.smooth.state_dict(), "csv": packed(logged)}

    @property
    def _csv(self) -> list[MetricsCSV]:
        return [logger for logger in self._loggers if isinstance(logger, MetricsCSV)]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep the loggers, whose state a checkpoint needs."""
        self._loggers = trainer.loggers

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.smooth.load_state_dict(state_dict["smooth"])
        if "csv" in state_dict:
            self._logged = unpacked(state_dict["csv"])
        else:  # a checkpoint of 0.1.0 has the number of rows
            self._logged = b"".join(logger.first_rows(state_dict["csv_rows"]) for logger in self._csv)


def _of_one(phase: Phase, values: Mapping[str, float], done: int) -> dict[str, float]:
    """The metrics of a phase in which one network trains."""
    named = {f"{phase.kind}/{name}": value for name, value in values.items()}
    return {**named, f"lr/{phase.kind}": phase.hyper(done - 1).lr[-1]}


def position_of(state: RunState, epoch: int) -> Position:
    """Where the run stands in phase ``epoch`` of its plan."""
    batch = state.record.steps if state.records else 0
    return Position(state.plan[epoch].cycle, epoch, batch, state.images_seen)


def peak_memory(device: torch.device) -> float:
    """The maximum so far, in bytes: of what PyTorch allocated on a GPU, or of this process's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # not on Windows
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
