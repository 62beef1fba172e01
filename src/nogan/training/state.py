"""The state of a run, apart from its networks: what a checkpoint keeps and callbacks report."""

import time
from typing import Any

from nogan.plan import GANPhase, Phase, Plan, Turn
from nogan.runs.records import PhaseRecord
from nogan.training.switch import AdaptiveSwitch


class RunState:
    """The records of the phases so far, the images seen, and whose turn it is in a GAN phase.

    The scheduler moves it on; the other callbacks read it, and add what they measured to the record that is open.

    Args:
        plan: one phase an epoch.
        switch: of the GAN phases; set back when one begins.
    """

    def __init__(self, plan: Plan, switch: AdaptiveSwitch) -> None:
        self.plan = plan
        self.switch = switch
        self.records: list[PhaseRecord] = []  # one for each phase entered
        self.images_seen = 0
        self._clock = time.monotonic()

    @property
    def record(self) -> PhaseRecord:
        """The record of the phase that is on."""
        return self.records[-1]

    def is_within(self, phase: Phase) -> bool:
        """Whether ``phase`` was entered and has not ended: a run resumed in it goes on with its record."""
        return bool(self.records) and self.record.name == phase.name and self.record.end is None

    def turn(self, phase: Phase) -> Turn:
        """The network that the next batch of ``phase`` serves."""
        if isinstance(phase, GANPhase):
            return self.switch.turn
        return "critic" if phase.kind == "critic" else "generator"

    @property
    def earlier_gan_steps(self) -> int:
        """Batches of all GAN phases before the one that is on."""
        return sum(record.steps for record in self.records[:-1] if record.kind == "gan")

    def enter(self, phase: Phase) -> None:
        """Open a new record for ``phase``."""
        self.start_clock()
        self.records = [record for record in self.records if record.name != phase.name]
        self.records.append(PhaseRecord.begin(phase))

    # --- time ---------------------------------------------------------------------------------------------------------

    def start_clock(self) -> None:
        """Count the time of the phase from now on."""
        self._clock = time.monotonic()

    def count_batch(self, phase: Phase, steps: int) -> None:
        """Count one more batch (``phase`` now has had ``steps``), and the time since the last one."""
        now = time.monotonic()
        self.record.seconds += now - self._clock
        self.record.steps = steps
        self.images_seen += phase.batch_size
        self._clock = now

    def count_probe(self, seconds: float) -> None:
        """Count ``seconds`` just spent on measuring apart from those of training."""
        self.record.probe_seconds += seconds
        self._clock += seconds

    # --- what a checkpoint holds --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "switch": self.switch.state_dict(),
            "images_seen": self.images_seen,
            "records": [record.to_dict() for record in self.records],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.switch.load_state_dict(state["switch"])
        self.images_seen = state["images_seen"]
        self.records = [PhaseRecord.from_dict(record) for record in state["records"]]
