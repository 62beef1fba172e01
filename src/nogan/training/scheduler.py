"""The plan as a Lightning callback: which phase is on, and what happens as it begins and ends.

Every phase of the plan is one epoch of a single ``Trainer.fit``. What happens within a GAN phase is in
:mod:`nogan.training.gan_batch`.
"""

import logging
from collections.abc import Mapping
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import STEP_OUTPUT

from nogan.common import distributed
from nogan.plan import GANPhase, Phase
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import load_state_or_copy
from nogan.training import position
from nogan.training.cycles import gains, pays
from nogan.training.gan_batch import GANBatches
from nogan.training.modules import GANModule
from nogan.training.state import RunState

log = logging.getLogger(__name__)


class NoGANScheduler(pl.Callback):
    """Sequences the phases of the plan.

    Args:
        module: generator and critic.
        state: moved on batch by batch.
        gan: runs the batches of GAN phases.
        folder: the run folder, with the critic before each GAN phase.
        restart: whether a later cycle trains the critic on from before ("pre_gan") or after ("post_gan") the GAN phase.
        cycle_worth: what a cycle must gain for another one to follow, as a share of the gain of all before it; None:
            every cycle of the plan follows.
    """

    def __init__(
        self,
        module: GANModule,
        state: RunState,
        gan: GANBatches,
        folder: RunFolder,
        *,
        restart: Literal["pre_gan", "post_gan"] = "pre_gan",
        cycle_worth: float | None = None,
    ) -> None:
        self.module, self.state, self.gan, self.folder, self.restart = module, state, gan, folder, restart
        self.cycle_worth = cycle_worth

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a resumed run that had ended with this cycle, or was cut before it could."""
        if self.state.records and self.state.record.kind == "gan" and self.state.record.end is not None:
            self._end_if_cycles_no_longer_pay(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the phase that is on; a run resumed within a phase gets no ``on_train_epoch_start``."""
        self.state.start_clock()
        if trainer.current_epoch == len(self.state.plan):  # a run that has ended was resumed
            return
        phase = self.state.plan[trainer.current_epoch]
        self.module.enter_phase(phase)
        if isinstance(phase, GANPhase) and self.state.is_within(phase):
            self.gan.resume(phase)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Enter a phase afresh."""
        phase = self.state.plan[trainer.current_epoch]
        self.module.enter_phase(phase)
        self.module.start_optimizers_afresh()
        self.state.enter(phase)
        self.gan.detector = None
        if phase.cycle > 1 and self._opens_cycle(phase) and self.restart == "pre_gan":
            before = self.folder.critic_before(phase.cycle - 1)
            load_state_or_copy(self.module.critic.network, before, self.folder.critic())
        if isinstance(phase, GANPhase):
            self.gan.enter(phase)

    def _opens_cycle(self, phase: Phase) -> bool:
        return next(other for other in self.state.plan if other.cycle == phase.cycle) is phase

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set modes, trainable parameters and rates for this batch."""
        phase = self.state.plan[trainer.current_epoch]
        if isinstance(phase, GANPhase):
            self.gan.before(phase, batch_idx)
        else:
            self.module.prepare_batch(self.state.turn(phase), phase.hyper(batch_idx))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; in a GAN phase, let switch and detector hear of it."""
        phase = self.state.plan[trainer.current_epoch]
        self.state.count_batch(phase, batch_idx + 1)
        if isinstance(phase, GANPhase):
            assert isinstance(outputs, Mapping)
            self.gan.after(phase, batch_idx, float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the phase."""
        phase = self.state.plan[trainer.current_epoch]
        position.forget_untrained_batch(trainer)
        self.state.record.end = "complete"
        if isinstance(phase, GANPhase):
            self.gan.leave(phase)
            self._end_if_cycles_no_longer_pay(trainer)

    def _end_if_cycles_no_longer_pay(self, trainer: pl.Trainer) -> None:
        """End the run before its last cycle, if the one that is over gained too little."""
        if self.cycle_worth is None or self.state.record.name == self.state.plan[-1].name:
            return
        gained = distributed.broadcast_from_rank_zero(gains(self.folder, self.state.records))
        if not pays(gained, self.cycle_worth):
            log.info(
                "%s gained %+.3f in held-out merit: no further cycle follows; to go on all the same, resume the run "
                "with nogan.inflection.cycle_worth=null",
                *(self.state.record.name, gained[-1]),
            )
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """The state of the whole run, as plain values."""
        return {**self.state.state_dict(), **self.gan.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.state.load_state_dict(state_dict)
        self.gan.load_state_dict(state_dict)
