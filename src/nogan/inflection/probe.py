"""Judges by held-out pictures: the best snapshot marks the inflection point."""

import math
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from nogan.inflection.base import Detector, DetectorSettings, Verdict
from nogan.inflection.quality import Seen, best, quality


class BestSnapshot(Detector):
    """What detectors share that name the snapshot whose held-out pictures are best (:mod:`nogan.inflection.quality`).

    Subclasses say when the phase is over. None is over as long as the snapshot before the phase is the best, since
    colors get worse before they get better when the critic first acts on them. At the end of every phase there is a
    verdict: the last snapshot, if that is the best.
    """

    STATE: ClassVar[tuple[str, ...]] = ("seen_steps", "qualities", "chroma_fds")

    def __init__(self, settings: DetectorSettings):
        super().__init__(settings)
        self.seen_steps: list[int] = []  # of the snapshots so far …
        self.qualities: list[float] = []  # … and what the probe found of them
        self.chroma_fds: list[float] = []

    @property
    def is_probed(self) -> bool:
        """Whether any snapshot has been measured."""
        return bool(self.seen_steps)

    @property
    def best(self) -> Seen:
        """The best snapshot so far."""
        found = best(list(map(Seen, self.seen_steps, self.qualities, self.chroma_fds)))
        assert found is not None
        return found

    def _observe(self, step: int, loss: float) -> Verdict | None:
        return None

    def measured(self, step: int, metrics: Mapping[str, float]) -> Verdict | None:
        """Take in the metrics of snapshot ``step``; a verdict if the phase is over."""
        value = quality(metrics)
        if self.fired or not math.isfinite(value):
            return None
        self.last_step = max(self.last_step, step - 1)
        self.seen_steps.append(step)
        self.qualities.append(value)
        self.chroma_fds.append(metrics.get("chroma_fd", math.nan))
        now = self.best
        self.evidence = {"quality": value, "best": now.quality}
        return self._name_the_best(self._what_stands(step)) if self._is_over(step) and now.step > 0 else None

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
        found, before = self.best, Seen(self.seen_steps[0], self.qualities[0], self.chroma_fds[0])
        colors = ""
        if math.isfinite(before.chroma_fd + found.chroma_fd):
            colors = f" and chroma FD {before.chroma_fd:.0f} → {found.chroma_fd:.0f}"
        gain = found.quality - before.quality
        reason = f"held-out quality at batch {found.step} is {gain:+.2f}{colors} to before the phase; {why}"
        if found.step == 0:
            reason = "no snapshot was better on held-out pictures than the generator before the phase"
        return Verdict(found.step, reason, max(self.last_step, 0), self.name, 1.0)


class ProbeSettings(DetectorSettings):
    """``patience``: share of the phase, in (0, 1], for which the best snapshot must remain the best for it to end."""

    patience: float = Field(default=0.4, gt=0, le=1)


class ProbeDetector(BestSnapshot):
    """Fires when no snapshot has been better for long, or at the end of the phase; names the best snapshot so far.

    Assumes that the probe's held-out pictures show quality; the critic's loss is ignored.
    """

    name = "probe"
    Settings = ProbeSettings
    settings: ProbeSettings

    def _is_over(self, step: int) -> bool:
        return step - self.best.step >= self.settings.patience * self.settings.total_steps
