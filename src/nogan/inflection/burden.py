"""Judges by the critic's effort: how many critic batches a generator batch costs."""

import math

import numpy as np
from pydantic import Field

from nogan.inflection.base import Blocks, Detector, DetectorSettings, Verdict


class BurdenSettings(DetectorSettings):
    """Parameters of `burden`.

    Attributes:
        baseline: share of the phase from which the usual effort is learned; nothing fires within it.
        slack: rise of the effort that is ignored, in standard deviations of a block.
        alarm: sum of the rises beyond the slack at which it fires, in standard deviations of a block.
        min_rise: rise of the critic's share of the batches, at least.
    """

    baseline: float = Field(default=0.1, gt=0, le=0.5)
    slack: float = Field(default=0.75, ge=0)
    alarm: float = Field(default=8.0, gt=0)
    min_rise: float = Field(default=0.03, ge=0, le=0.5)


class Burden(Detector):
    """Fires when the critic needs more batches for each of the generator's than before; names where that began.

    Assumes the adaptive switch: the critic goes on until a batch's loss is below the threshold, so that the loss stays
    pinned there and the effort rises instead. The effort is read from the gaps between the steps of the updates,
    so updates must come at critic batches only; where every batch is given, it says nothing. A one-sided CUSUM runs
    over the critic's share of the batches in each hundredth of the phase, standardized by the start of the phase (and
    by no less than half the binomial deviation, as an idle switch does not vary at all). The answer is where the CUSUM
    left zero.

    Source: Page 1954.
    """

    name = "burden"
    Settings = BurdenSettings
    settings: BurdenSettings
    STATE = ("blocks", "values", "mean", "deviation", "total", "began", "since", "count")

    def __init__(self, settings: BurdenSettings):
        super().__init__(settings)
        self.blocks = Blocks(max(4, math.ceil(settings.total_steps / 100)), 2, doubling=False)
        self.learn = max(3, round(settings.baseline * settings.total_steps / self.blocks.width))
        self.values: list[float] = []  # the critic's shares within the baseline
        self.mean = self.deviation = self.total = self.since = 0.0
        self.began = self.count = 0

    def _observe(self, step: int, loss: float) -> Verdict | None:
        block = step // self.blocks.width
        closed = block > self.blocks.first + len(self.blocks.counts) - 1
        share = self.blocks.counts[-1] / self.blocks.width
        index = self.blocks.first + len(self.blocks.counts) - 1
        self.blocks.add(step, loss)
        return self._take(index, share) if closed else None

    def _take(self, index: int, share: float) -> Verdict | None:
        if len(self.values) < self.learn:
            self.values.append(share)
            if len(self.values) == self.learn:
                self.mean = float(np.mean(self.values))
                binomial = math.sqrt(0.25 / self.blocks.width)
                self.deviation = max(float(np.std(self.values, ddof=1)), binomial / 2)
            return None
        if self.total == 0:
            self.began, self.since, self.count = index, 0.0, 0
        self.total = max(0.0, self.total + (share - self.mean) / self.deviation - self.settings.slack)
        self.evidence = {"share": share, "cusum": self.total}
        self.since += share
        self.count += 1
        if self.total < self.settings.alarm or self.since / self.count - self.mean < self.settings.min_rise:
            return None
        at = self.began * self.blocks.width
        reason = (
            f"the critic's share of the batches rose from {self.mean:.0%} to {self.since / self.count:.0%} "
            f"from batch {at} on (CUSUM {self.total:.1f}, alarm at {self.settings.alarm:g})"
        )
        return self._verdict(at, reason, 1 - math.exp(-self.total / 2))
