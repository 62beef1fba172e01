"""Judges by held-out pictures: the best snapshot marks the inflection point."""

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from pydantic import Field

from nogan.inflection.base import Detector, DetectorSettings, Verdict
from nogan.inflection.merit import merit


class Seen(NamedTuple):
    """What the probe found of a snapshot.

    Attributes:
        step: batches of the phase.
        merit: see :func:`nogan.inflection.merit.merit`.
        chroma_fd: Fréchet distance of the colors to the truth's; NaN where it was not measured.
    """

    step: int
    merit: float
    chroma_fd: float

    @classmethod
    def of(cls, values: list[float]) -> "Seen":
        """From plain numbers, as a checkpoint has them."""
        step, merit_there, chroma_fd = values
        return cls(int(step), merit_there, chroma_fd)


class BestSnapshot(Detector):
    """What detectors share that name the snapshot whose held-out pictures are best: that of the highest merit.

    Merit (:mod:`nogan.evaluation.merit`) is quality as the eye sees it, and the color that was gained.

    Subclasses say when the phase is over. At the end of every phase there is a verdict: the last snapshot, if that is
    the best.
    """

    STATE: ClassVar[tuple[str, ...]] = ("first_seen", "best_seen")

    def __init__(self, settings: DetectorSettings):
        super().__init__(settings)
        # Step, merit and chroma FD (NaN: not measured) of the first snapshot and of the best, once there is one.
        self.first_seen: list[float] = []
        self.best_seen: list[float] = []

    @property
    def is_probed(self) -> bool:
        """Whether any snapshot has been measured."""
        return bool(self.first_seen)

    @property
    def best(self) -> Seen:
        """The best snapshot so far, the earlier of two that are as good."""
        return Seen.of(self.best_seen)

    def _observe(self, step: int, loss: float) -> Verdict | None:
        return None

    def measured(self, step: int, metrics: Mapping[str, float]) -> Verdict | None:
        """Take in the metrics of snapshot ``step``; a verdict if the phase is over."""
        value = merit(metrics)
        if self.fired or not math.isfinite(value):
            return None
        self.last_step = max(self.last_step, step - 1)
        seen = [float(step), value, metrics.get("chroma_fd", math.nan)]
        self.first_seen = self.first_seen or seen
        if not self.best_seen or value > self.best.merit:
            self.best_seen = seen
        now = self.best
        self.evidence = {"merit": value, "best": now.merit}
        return self._name_the_best(self._what_stands(step)) if self._is_over(step) else None

    def _is_over(self, step: int) -> bool:
        """Whether the phase is over; asked once at each snapshot."""
        raise NotImplementedError

    def _what_stands(self, step: int) -> str:
        return f"none of the next {step - self.best.step} batches was better"

    def finish(self) -> Verdict | None:
        """The best snapshot of the whole phase; None if none was measured."""
        if self.fired or not self.is_probed:
            return None
        return self._name_the_best("the best of the phase")

    def _name_the_best(self, why: str) -> Verdict:
        self.fired = True
        found, before = self.best, Seen.of(self.first_seen)
        colors = ""
        if math.isfinite(before.chroma_fd + found.chroma_fd):
            colors = f" and chroma FD {before.chroma_fd:.0f} → {found.chroma_fd:.0f}"
        gain = found.merit - before.merit
        reason = f"held-out merit at batch {found.step} is {gain:+.2f}{colors} to before the phase; {why}"
        if found.step == 0:
            reason = "no snapshot was better on held-out pictures than the generator before the phase"
        return Verdict(found.step, reason, max(self.last_step, 0), self.name, 1.0)


class ProbeSettings(DetectorSettings):
    """``patience``: share of the phase, in (0, 1], for which the best snapshot must remain the best for it to end."""

    patience: float = Field(default=0.4, gt=0, le=1)


class ProbeDetector(BestSnapshot):
    """Fires when no snapshot has been better for long, or at the end of the phase; names the best snapshot so far.

    Assumes that the probe's held-out pictures show which is better; the critic's loss is ignored. It does not fire
    while the snapshot before the phase is the best, since colors get worse before they get better when the critic first
    acts on them.
    """

    name = "probe"
    Settings = ProbeSettings
    settings: ProbeSettings

    def _is_over(self, step: int) -> bool:
        return self.best.step > 0 and step - self.best.step >= self.settings.patience * self.settings.total_steps
