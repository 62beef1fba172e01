"""The NoGAN program as a Lightning callback: which phase is on, whose turn it is, and where the GAN phase ends.

Every phase of the plan is one epoch of a single ``Trainer.fit``. The scheduler enters phases, sets learning rates and
betas at each batch, runs the adaptive critic/generator switch, keeps snapshots of the generator, feeds the critic's
loss and the probe's metrics to the detector, and on its verdict takes the generator back to the snapshot nearest the
inflection point and ends the cycle.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
from torch import Tensor

from nogan.common import distributed
from nogan.inflection import Detector, Verdict
from nogan.plan import GANPhase, Phase, Plan, Turn
from nogan.runs.records import Action, NotedVerdict, PhaseRecord
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore, load_state, prune, save_state
from nogan.training.modules import GANModule
from nogan.training.switch import AdaptiveSwitch

log = logging.getLogger(__name__)

STARVED_AFTER = 3  # hand-overs by the cap in one phase, before the log says what to do
LONG_RUN = 300  # critic batches on end, where there is no cap, likewise


class NoGANScheduler(pl.Callback):
    """Sequences the phases of ``plan``.

    Args:
        plan: one phase an epoch.
        folder: the run folder; snapshots and the critic before each GAN phase are kept there.
        make_detector: a fresh inflection detector for a GAN phase.
        critic_threshold: a critic batch whose loss is below it hands over to the generator.
        max_critic_steps: consecutive critic batches after which the generator gets one all the same.
        action: "stop" ends the GAN phase at the verdict and rolls the generator back; "mark" records it and goes on.
        snapshot_budget: bytes that the snapshots of the run may take; older ones are thinned out beyond it.
        restart: whether a later cycle trains the critic on from before ("pre_gan") or after ("post_gan") the GAN phase.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        make_detector: Callable[[GANPhase], Detector],
        *,
        critic_threshold: float = 0.65,
        max_critic_steps: int | None = 100,
        action: Action = "stop",
        restart: Literal["pre_gan", "post_gan"] = "pre_gan",
        snapshot_budget: float = math.inf,
    ) -> None:
        self.plan, self.folder, self.make_detector = plan, folder, make_detector
        self.critic_threshold, self.max_critic_steps = critic_threshold, max_critic_steps
        self.action, self.restart, self.snapshot_budget = action, restart, snapshot_budget
        self.switch = self._new_switch()
        self.detector: Detector | None = None
        self.images_seen = 0
        self.starved = False  # whether the log has said so
        self.records: list[PhaseRecord] = []  # one for each phase entered: what it cost and how it ended
        self._clock = time.monotonic()

    # --- where the run stands -----------------------------------------------------------------------------------------

    def phase(self, trainer: pl.Trainer) -> Phase:
        """The phase that is on."""
        return self.plan[trainer.current_epoch]

    @property
    def record(self) -> PhaseRecord:
        """The record of the phase that is on; other callbacks add to it."""
        return self.records[-1]

    def snapshots(self, phase: GANPhase) -> SnapshotStore:
        """The generator's snapshots in a GAN ``phase``."""
        return SnapshotStore(self.folder.snapshots(phase.name))

    # --- entering a phase ---------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Take up the phase that is on; a run resumed within a phase gets no ``on_train_epoch_start``."""
        self._clock = time.monotonic()
        if trainer.current_epoch >= len(self.plan):
            return
        phase = self.phase(trainer)
        module.enter_phase(phase)
        within_phase = bool(self.records) and self.record.name == phase.name and self.record.end is None
        if within_phase and isinstance(phase, GANPhase):
            if trainer.is_global_zero:
                self.snapshots(phase).discard_after(self.record.steps)
            module.phase_over = self.record.verdict is not None and self.action == "stop"

    def on_train_epoch_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Enter a phase afresh."""
        phase = self.phase(trainer)
        module.enter_phase(phase)
        module.start_optimizers_afresh()
        self._clock = time.monotonic()
        self.records = [record for record in self.records if record.name != phase.name]
        self.records.append(PhaseRecord.begin(phase))
        self.detector = None
        if phase.cycle > 1 and self._opens_cycle(phase) and self.restart == "pre_gan":
            load_state(module.critic.network, self.folder.critic_before(phase.cycle - 1))
        if isinstance(phase, GANPhase):
            self.switch = self._new_switch()
            self.detector = self.make_detector(phase)
            if trainer.is_global_zero:
                self.snapshots(phase).discard_after(-1)
                self.snapshots(phase).save(0, module.generator.network)
                save_state(module.critic.network, self.folder.critic_before(phase.cycle))

    def _opens_cycle(self, phase: Phase) -> bool:
        return next(p for p in self.plan if p.cycle == phase.cycle) is phase

    def _new_switch(self) -> AdaptiveSwitch:
        return AdaptiveSwitch(self.critic_threshold, self.max_critic_steps)

    # --- batch by batch -----------------------------------------------------------------------------------------------

    def turn(self, phase: Phase) -> Turn:
        """The network that the next batch of ``phase`` serves."""
        return self.switch.turn if phase.kind == "gan" else phase.kind

    def on_train_batch_start(self, trainer: pl.Trainer, module: GANModule, batch: Any, batch_idx: int) -> None:
        """Set modes, trainable parameters and rates for this batch."""
        phase = self.phase(trainer)
        turn = self.turn(phase)
        module.prepare_batch(turn, phase.hyper(batch_idx, turn))

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: GANModule, outputs: Mapping[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; in a GAN phase switch, look for the inflection point and keep a snapshot."""
        phase = self.phase(trainer)
        self.images_seen += phase.batch_size
        self._tick(batch_idx + 1)
        if not isinstance(phase, GANPhase):
            return
        if self.switch.turn == "critic":
            # Ranks agree on whose turn is next, since the loss is that of the whole batch.
            self._after_critic(module, float(outputs["loss"]), batch_idx)
        else:
            self.switch.after_generator()
        if phase.is_snapshot(batch_idx + 1) and trainer.is_global_zero:
            self.snapshots(phase).save(batch_idx + 1, module.generator.network)
            prune(self.folder, self.snapshot_budget)

    def _after_critic(self, module: GANModule, loss: float, step: int) -> None:
        self.switch.after_critic(loss)
        self._warn_if_starved()
        assert self.detector is not None
        self._heed(self.detector.update(step, loss), module)

    def _warn_if_starved(self) -> None:
        """Say once in a run that the generator hardly gets a batch, and what to do."""
        uncapped = self.max_critic_steps is None
        if self.starved or not (
            self.switch.critic_run >= LONG_RUN if uncapped else self.switch.forced >= STARVED_AFTER
        ):
            return
        self.starved = True
        how = f"{LONG_RUN}" if uncapped else f"{STARVED_AFTER} times nogan.gan.max_critic_steps={self.max_critic_steps}"
        log.warning(
            "The generator starves: the critic had %s batches on end without a loss below "
            "nogan.gan.critic_threshold=%s. Train the critic longer (nogan.critic.phases), or lower nogan.gan.lr%s.",
            *(how, self.critic_threshold, ", or set a cap (nogan.gan.max_critic_steps)" if uncapped else ""),
        )

    def measured(self, module: GANModule, step: int, metrics: Mapping[str, float]) -> None:
        """Tell the detector what the probe measured of snapshot ``step`` of the phase that is on."""
        assert self.detector is not None
        self._heed(self.detector.measured(step, metrics), module)

    def _heed(self, verdict: Verdict | None, module: GANModule) -> None:
        if verdict is None or self.record.verdict is not None:
            return
        self.record.verdict = NotedVerdict.of(verdict, self.action)
        if verdict.inflection:
            log.info("Inflection point at batch %d, seen at %d: %s", verdict.inflection, verdict.step, verdict.reason)
        else:
            kept = "; that generator is kept" if self.action == "stop" else ""
            log.info("No gain from %s: %s%s", self.record.name, verdict.reason, kept)
        module.phase_over = self.action == "stop"

    def leave_out(self, seconds: float) -> None:
        """Count ``seconds`` just spent on measuring apart from those of training."""
        self.record.probe_seconds += seconds
        self._clock += seconds

    def _tick(self, steps: int) -> None:
        now = time.monotonic()
        self.record.seconds += now - self._clock
        self.record.steps = steps
        self._clock = now

    # --- leaving a phase ----------------------------------------------------------------------------------------------

    def on_train_epoch_end(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Close the phase; after a verdict, go back to the snapshot nearest the inflection point."""
        phase = self.phase(trainer)
        self._forget_untrained_batch(trainer)
        self.record.end = "complete"
        if not isinstance(phase, GANPhase):
            return
        self.record.critic_steps, self.record.generator_steps = self.switch.critic_steps, self.switch.generator_steps
        assert self.detector is not None
        self._heed(self.detector.finish(), module)
        verdict = self.record.verdict
        if verdict and self.action == "stop":
            store = self.snapshots(phase)
            # Rank zero has written all snapshots by now.
            back_to = distributed.broadcast_from_rank_zero(store.nearest(verdict.inflection))
            assert back_to is not None  # snapshot 0 is always there
            store.restore(back_to, module.generator.network)
            self.record.end, self.record.rolled_back_to = "inflection", back_to
        elif not verdict:
            self.record.end = "budget"
            log.info("%s ended by its budget: the detector was not sure of an inflection point", phase.title)

    @staticmethod
    def _forget_untrained_batch(trainer: pl.Trainer) -> None:
        """Undo Lightning's count of a batch that was fetched but not trained on, because the phase was over.

        It would take a later checkpoint for one from before its last batch, and repeat that batch on resuming.
        """
        total = trainer.fit_loop.epoch_loop.batch_progress.total
        total.ready, total.processed = total.started, total.completed

    # --- what a checkpoint holds --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's whole state, as plain values."""
        return {
            "switch": self.switch.state_dict(),
            "detector": self.detector.state_dict() if self.detector else None,
            "images_seen": self.images_seen,
            "starved": self.starved,
            "records": [record.to_dict() for record in self.records],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.switch.load_state_dict(state["switch"])
        self.images_seen = state["images_seen"]
        self.starved = state["starved"]
        self.records = [PhaseRecord.from_dict(record) for record in state["records"]]
        if state["detector"] is not None:
            phase = next(p for p in self.plan if isinstance(p, GANPhase) and p.name == self.record.name)
            self.detector = self.make_detector(phase)
            self.detector.load_state_dict(state["detector"])
