"""Judges by repeated CUSUM alarms: the loss rises while they come, and has stopped rising when they stop."""

import math

import numpy as np
from pydantic import Field

from nogan.inflection.base import Blocks, Detector, DetectorSettings, Verdict


class DriftSettings(DetectorSettings):
    """Parameters of `drift`.

    Attributes:
        slack: rise that is ignored, in standard deviations of a block mean.
        alarm: sum of the rises beyond the slack that is an alarm, in standard deviations of a block mean.
        patience: share of the phase without an alarm after which the rise counts as over.
        min_rise: loss that the curve must have climbed by then.
        skip: share of the phase, at its start (the first dip), that is left out.
    """

    slack: float = Field(default=0.5, ge=0)
    alarm: float = Field(default=5.0, gt=0)
    patience: float = Field(default=0.12, gt=0, lt=1)
    min_rise: float = Field(default=0.08, ge=0)
    skip: float = Field(default=0.05, ge=0, lt=1)


class Drift(Detector):
    """Fires when the critic loss has stopped drifting upwards; names the batch where it was halfway up.

    Assumes one rise between two levels, symmetric about its inflection point. A one-sided CUSUM runs over the means of
    64 blocks, standardized by the median difference of neighbors (an unscaled alarm of 50, as is common for
    Page–Hinkley, never sounds at losses of 0.6). Each alarm says that the level has risen; the reference then starts
    again from the last three blocks. Knees are placed far too early, and an oscillation slower than ``patience`` is
    taken for a rise.

    Source: Page 1954; Hinkley 1971.
    """

    name = "drift"
    Settings = DriftSettings
    settings: DriftSettings
    STATE = ("blocks", "reference", "total", "first_alarm", "last_alarm")
    POINTS = 64

    def __init__(self, settings: DriftSettings):
        super().__init__(settings)
        self.blocks = Blocks(math.ceil(settings.total_steps / self.POINTS), self.POINTS + 1, doubling=False)
        self.reference, self.total = math.nan, 0.0
        self.first_alarm = self.last_alarm = -1

    def _observe(self, step: int, loss: float) -> Verdict | None:
        if not self.blocks.add(step, loss):
            return None
        settings = self.settings
        centers, means, counts = self.blocks.closed()
        keep = (counts > 0) & (centers >= settings.skip * settings.total_steps)
        centers, means = centers[keep], means[keep]
        if len(means) < 6:
            return None
        scale = float(np.median(np.abs(np.diff(means)))) / (0.6745 * math.sqrt(2))
        if math.isnan(self.reference):
            self.reference = float(means.mean())
        self.total = max(0.0, self.total + (means[-1] - self.reference) / max(scale, 1e-9) - settings.slack)
        self.evidence = {"cusum": float(self.total)}
        if self.total > settings.alarm:
            self.total, self.reference, self.last_alarm = 0.0, float(means[-3:].mean()), step
            if self.first_alarm < 0:
                self.first_alarm = step
        if self.first_alarm < 0 or step - self.last_alarm < settings.patience * settings.total_steps:
            return None
        return self._end_of_rise(centers, means)

    def _end_of_rise(self, centers: np.ndarray, means: np.ndarray) -> Verdict | None:
        high = float(means[centers > self.last_alarm].mean())
        low = float(np.sort(means)[:5].mean())
        if high - low < self.settings.min_rise:
            return None
        below = np.flatnonzero(means < (low + high) / 2)
        i = min(int(below[-1]), len(means) - 2)
        step = np.interp((low + high) / 2, means[i : i + 2], centers[i : i + 2])
        reason = (
            f"the critic loss rose from {low:.3f} to {high:.3f} between batches {self.first_alarm} and "
            f"{self.last_alarm} (CUSUM alarms), none since; half way at batch {step:.0f}"
        )
        return self._verdict(step, reason, 1 - math.exp(-self.settings.alarm))
