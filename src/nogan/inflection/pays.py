"""Ends a GAN phase when what the rest of it is expected to gain is no longer worth its batches."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from pydantic import Field

from nogan.inflection.base import DetectorSettings, Verdict, correlation_inflation
from nogan.inflection.combined import ShapeWithoutPictures
from nogan.inflection.merit import merit
from nogan.inflection.paired import difference, expected_excess
from nogan.inflection.probe import BestSnapshot

AHEAD = 0.1
"""The stretch that ``worth`` is for, as a share of the phase."""
BACK = 0.25
"""The stretch whose trend is taken for the next, as a share of the phase."""
GRIP = 0.4
"""Share of the phase in which colors may get worse before they get better: until then no phase is without gain."""
LEAST, MOST = 5, 14
"""Snapshots that the trend is taken of."""
HELD = 2
"""Snapshots in a row at which the expected gain must be too small."""


class PaysSettings(DetectorSettings):
    """``worth``: what a tenth of the phase must be expected to gain for the phase to go on, as a share of what is at
    stake: 0.02 ends it when the next tenth of the batches promises less than 2 % of the way from the lowest merit so
    far to the best."""

    worth: float = Field(default=0.02, gt=0, lt=1)


class Pays(ShapeWithoutPictures):
    """Fires when the next tenth of the phase is expected to gain too little; names the best snapshot so far.

    Assumes that the trend of merit over the last snapshots goes on. The expected gain is that of a straight line
    through them, a tenth of the phase ahead, over the best snapshot; picture by picture, so that what makes a picture
    hard for every generator cancels out. Its uncertainty, from the scatter over the pictures and about the line, counts
    as a chance: what may be gained can be kept, and what may be lost can be left. So noise makes it wait, and the
    steadier snapshots are (``nogan.inflection.average``) and the more pictures there are (``probe.images``), the sooner
    it knows. What is at stake, of which ``worth`` is a share, is the distance of the best snapshot to the lowest.

    Colors get worse before they get better when the critic first acts on them, and a chance gain in its first batches
    is not what the phase is for. So until the phase has gained something, it waits for two fifths of the phase, and
    follows the line to the end of the phase, not for a tenth of it; if that promises nothing either, the best snapshot
    is kept, and often that is the generator before the phase. Something is gained when the best snapshot is told apart
    from that generator, by a confidence sequence (:mod:`nogan.inflection.paired`), and more than half of what is at
    stake lies above it.

    Also says whether the last snapshot is better than the best so far, worse, or not told apart.

    If no snapshot has been measured, as in a training loop without held-out pictures, it does what `shape` does.
    """

    name = "pays"
    Settings = PaysSettings
    settings: PaysSettings
    STATE = (*BestSnapshot.STATE, "before", "top_pictures", "steps", "rows", "lowest", "looks", "held")

    def __init__(self, settings: PaysSettings):
        super().__init__(settings)
        self.before: list[float] = []  # the merit of each picture before the phase
        self.top_pictures: list[float] = []  # that of each picture in the best snapshot
        self.steps: list[int] = []  # of the last snapshots …
        self.rows: list[list[float]] = []  # … and the merit of each picture in them
        self.lowest = 0.0
        self.looks = self.held = 0
        self._pictures: list[float] = []  # of the snapshot whose metrics come next

    def pictured(self, step: int, merits: Sequence[float]) -> None:
        """Take in the merit of each held-out picture."""
        self._pictures = [float(value) for value in merits]

    def measured(self, step: int, metrics: Mapping[str, float]) -> Verdict | None:
        """Take in the metrics of snapshot ``step``; a verdict if what may still be gained is too little."""
        pictures, self._pictures = self._pictures or [merit(metrics)], []
        if self.fired or not np.isfinite([*pictures, merit(metrics)]).all():
            return None
        if self.before and len(pictures) != len(self.before):
            pictures = [merit(metrics)]
            self._compare_means()
        self._remember(step, pictures, merit(metrics))
        return super().measured(step, metrics)

    def _compare_means(self) -> None:
        """From now on, since the pictures are others than before: of a run that was resumed on other data."""
        self.before, self.top_pictures = [fmean(self.before)], [fmean(self.top_pictures)]
        self.rows = [[fmean(row)] for row in self.rows]

    def _remember(self, step: int, pictures: list[float], value: float) -> None:
        self.lowest = min(self.lowest, value) if self.steps else value
        self.looks += 1
        self.before = self.before or pictures
        if not self.best_seen or value > self.best.merit:
            self.top_pictures = pictures
        back = BACK * self.settings.total_steps
        if not self.steps or step - self.steps[-1] >= back / MOST:
            self.steps, self.rows = [*self.steps, step], [*self.rows, pictures]
        while len(self.steps) > LEAST and (len(self.steps) > MOST or step - self.steps[0] > back):
            del self.steps[0], self.rows[0]

    def _is_over(self, step: int) -> bool:
        now = difference(self.rows[-1], self.top_pictures, self.looks)
        stake = self.best.merit - self.lowest
        gained = self._has_gained(stake)
        ahead = AHEAD if gained else max(0.0, 1 - step / self.settings.total_steps)
        expected = self._expected_gain(step, ahead) if len(self.steps) >= LEAST else math.inf
        self.evidence |= {"low": now.low, "high": now.high, "expected": expected, "stake": stake, "ahead": ahead}
        self.held = self.held + 1 if expected < self.settings.worth * stake else 0
        return self.held >= HELD and (gained or step >= GRIP * self.settings.total_steps)

    def _has_gained(self, stake: float) -> bool:
        gain = difference(self.top_pictures, self.before, self.looks)
        return gain.verdict == "better" and gain.mean > stake / 2

    def _expected_gain(self, step: int, ahead: float) -> float:
        """What is gained on average, over the best snapshot, by going on for ``ahead``, a share of the phase."""
        times = (np.array(self.steps) - step) / self.settings.total_steps
        design = np.stack([np.ones_like(times), times], axis=1)
        solve = np.linalg.pinv(design)
        weights = np.array([1.0, ahead]) @ solve  # of the snapshots, in the line's value a little ahead
        rows = np.array(self.rows)
        gains = weights @ rows - np.array(self.top_pictures)
        means = rows.mean(axis=1)
        residuals = means - design @ (solve @ means)
        scatter = float(residuals @ residuals) / (len(times) - 2)
        scatter *= correlation_inflation(residuals, np.ones(len(times)), 2) * float(weights @ weights)
        over_pictures = float(gains.var(ddof=1)) / len(gains) if len(gains) > 1 else 0.0
        return expected_excess(float(gains.mean()), (scatter + over_pictures) ** 0.5)

    def _what_stands(self, step: int) -> str:
        last = difference(self.rows[-1], self.top_pictures, self.looks).verdict
        told = f"the last snapshot is {last if last != 'not told apart' else 'not told apart from it'}"
        return (
            f"another {self.evidence['ahead']:.0%} of the phase promises {self.evidence['expected']:.3f}, less than "
            f"{100 * self.settings.worth:g}% of the {self.evidence['stake']:.2f} between the best and the lowest; "
            f"{told}"
        )
