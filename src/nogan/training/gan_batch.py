"""One GAN batch, from whose turn it is to what is kept of it; and how a GAN phase begins and ends.

=====================  =================================================================================================
:meth:`before`         whose turn it is (:class:`AdaptiveSwitch`) → rates, modes and trainable parameters
``training_step``      of :class:`~nogan.training.modules.GANModule`: the loss, and one optimizer step
:meth:`after`          what switch and detector hear of the loss → a snapshot when one is due
:meth:`measured`       what the detector hears of the probe, which measures every snapshot
=====================  =================================================================================================

On the detector's verdict the phase ends, and :meth:`leave` rolls the generator back to the snapshot nearest the
inflection point.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from nogan.common import distributed
from nogan.inflection import Detector, Verdict
from nogan.plan import GANPhase
from nogan.runs.records import Action, NotedVerdict
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore, prune, save_state
from nogan.training.modules import GANModule
from nogan.training.snapshot_average import SnapshotAverage
from nogan.training.state import RunState

log = logging.getLogger(__name__)

STARVED_AFTER = 3  # hand-overs by the cap in one phase, before the log says what to do
LONG_RUN = 300  # the same without a cap: critic batches in a row


class GANBatches:
    """Runs the batches of GAN phases.

    Args:
        module: generator and critic.
        state: whose switch says whose turn it is, and whose open record gets the verdict.
        folder: the run folder, for snapshots and the critic before each GAN phase.
        make_detector: a fresh inflection detector for a GAN phase.
        action: "stop" ends the phase at the verdict and rolls the generator back; "mark" notes it and goes on.
        snapshot_budget: bytes that the snapshots of the run may take; older ones are thinned out beyond it.
        average: of the snapshots of a phase, which then takes their place; None keeps the generator as it is.
    """

    def __init__(
        self,
        module: GANModule,
        state: RunState,
        folder: RunFolder,
        make_detector: Callable[[GANPhase], Detector],
        *,
        action: Action = "stop",
        snapshot_budget: float = math.inf,
        average: SnapshotAverage | None = None,
    ) -> None:
        self.module, self.state, self.folder, self.make_detector = module, state, folder, make_detector
        self.action, self.snapshot_budget, self.average = action, snapshot_budget, average
        self.detector: Detector | None = None  # of the GAN phase that is on
        self.warned_of_starving = False  # once in a run
        # The average of the run that goes on, until the networks are in their place.
        self._restored: dict[str, Any] = {}

    def snapshots(self, phase: GANPhase) -> SnapshotStore:
        """The generator's snapshots in ``phase``."""
        return SnapshotStore(self.folder.snapshots(phase.name))

    @property
    def candidate(self) -> nn.Module:
        """The generator of the last snapshot, on rank zero: the average of the snapshots, or the generator as it is."""
        average = self.average.network if self.average is not None else None
        return self.module.generator.network if average is None else average

    # --- the phase begins ---------------------------------------------------------------------------------------------

    def enter(self, phase: GANPhase) -> None:
        """Begin afresh: the critic's turn, a new detector, snapshot 0, and the critic as it is before the phase."""
        self.state.switch.restart()
        self.detector = self.make_detector(phase)
        if distributed.rank() == 0:
            self.snapshots(phase).discard_after(-1)
            if self.average is not None:
                self.average.begin(self.module.generator.network)
            self.snapshots(phase).save(0, self.module.generator.network)
            save_state(self.module.critic.network, self.folder.critic_before(phase.cycle))

    def resume(self, phase: GANPhase) -> None:
        """Go on within ``phase``: drop snapshots that will be made again, and end the phase if it had its verdict."""
        if distributed.rank() == 0:
            self.snapshots(phase).discard_after(self.state.record.steps)
            if self.average is not None:
                self.average.load_state_dict(self._restored, self.module.generator.network)
        self._restored = {}  # a copy of the generator
        self.module.phase_over = self.action == "stop" and self.state.record.verdict is not None

    # --- batch by batch -----------------------------------------------------------------------------------------------

    def before(self, phase: GANPhase, batch: int) -> None:
        """Decide whose turn batch ``batch`` (from 0) is, and set that network's rates and modes."""
        turn = self.state.switch.turn
        self.module.prepare_batch(turn, phase.hyper(batch, turn))

    def after(self, phase: GANPhase, batch: int, loss: float) -> None:
        """Tell switch and detector the ``loss`` of batch ``batch``, and keep a snapshot if one is due.

        The loss is that of the whole batch, so that all ranks agree on whose turn is next.
        """
        if self.state.switch.turn == "critic":
            self.state.switch.after_critic(loss)
            self._warn_if_starved()
            assert self.detector is not None
            self._heed(self.detector.update(batch, loss))
        else:
            self.state.switch.after_generator()
        if phase.is_snapshot(batch + 1) and distributed.rank() == 0:
            if self.average is not None:
                self.average.follow(self.module.generator.network, batch + 1)
            self.snapshots(phase).save(batch + 1, self.candidate)
            prune(self.folder, self.snapshot_budget)

    def measured(self, step: int, metrics: Mapping[str, float], pictures: Sequence[float]) -> None:
        """Tell the detector what the probe measured of snapshot ``step`` of the phase that is on.

        ``pictures`` is the merit of each picture; the mean of it is in ``metrics``.
        """
        assert self.detector is not None
        self.detector.pictured(step, pictures)
        self._heed(self.detector.measured(step, metrics))

    def _heed(self, verdict: Verdict | None) -> None:
        """Note the first verdict of the phase; with ``action="stop"`` the phase is then over."""
        record = self.state.record
        if verdict is None or record.verdict is not None:
            return
        record.verdict = noted = NotedVerdict.of(verdict, self.action)
        if verdict.inflection:
            log.info("Inflection point at batch %d, seen at %d: %s", noted.inflection, noted.seen_at, noted.reason)
        else:
            kept = "; that generator is kept" if self.action == "stop" else ""
            log.info("No gain from %s: %s%s", record.name, verdict.reason, kept)
        self.module.phase_over = self.action == "stop"

    def _warn_if_starved(self) -> None:
        """Say once in a run that the generator hardly gets a batch, and what to do."""
        switch = self.state.switch
        uncapped = switch.max_critic_steps is None
        if self.warned_of_starving or not (
            switch.critic_run >= LONG_RUN if uncapped else switch.forced >= STARVED_AFTER
        ):
            return
        self.warned_of_starving = True
        how = f"{LONG_RUN}"
        if not uncapped:
            how = f"{STARVED_AFTER} times nogan.gan.max_critic_steps={switch.max_critic_steps}"
        log.warning(
            "The generator starves: the critic had %s batches in a row without a loss below "
            "nogan.gan.critic_threshold=%s. Train the critic longer (nogan.critic.phases), or lower nogan.gan.lr%s.",
            *(how, switch.threshold, ", or set a cap (nogan.gan.max_critic_steps)" if uncapped else ""),
        )

    # --- the phase ends -----------------------------------------------------------------------------------------------

    def leave(self, phase: GANPhase) -> None:
        """Close the record; after a verdict, roll the generator back to the snapshot nearest the inflection point.

        Where snapshots are averages, a phase without a verdict ends with the last one.
        """
        record, switch = self.state.record, self.state.switch
        record.critic_steps, record.generator_steps = switch.critic_steps, switch.generator_steps
        assert self.detector is not None
        self._heed(self.detector.finish())
        if record.verdict is None:
            record.end = "budget"
            log.info("%s ran to its planned end: the detector was not sure of an inflection point", phase.title)
        elif self.action == "stop":
            record.end = "inflection"
            self._roll_back(phase, record.verdict.inflection)
        if self.average is not None:
            if record.end == "budget" and self.action == "stop":
                self._roll_back(phase, record.steps)
            self.average.end()

    def _roll_back(self, phase: GANPhase, inflection: int) -> None:
        """Put the snapshot nearest to batch ``inflection`` back into the generator, and record which one it is."""
        store = self.snapshots(phase)
        whole = store.nearest_whole(inflection) if distributed.rank() == 0 else 0  # rank zero has written them all
        back_to = distributed.broadcast_from_rank_zero(whole)
        store.restore(back_to, self.module.generator.network)
        self.state.record.rolled_back_to = back_to

    # --- what a checkpoint holds --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state of the detector and of the average, and whether the log has warned."""
        return {
            "detector": self.detector.state_dict() if self.detector else None,
            "starved": self.warned_of_starving,
            "average": self.average.state_dict() if self.average is not None else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; the records are loaded already."""
        self.warned_of_starving = state["starved"]
        self._restored = state.get("average", {})
        if state["detector"] is None:
            return
        name = self.state.record.name
        phase = next(phase for phase in self.state.plan if isinstance(phase, GANPhase) and phase.name == name)
        self.detector = self.make_detector(phase)
        self.detector.load_state_dict(state["detector"])
