"""Whether one generator is better than another on the same pictures, at any number of looks."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

ERROR = 0.05
"""Probability of ever telling two generators apart that are equally good, over all looks of a phase together."""

_NORMAL = NormalDist()


class Difference(NamedTuple):
    """The mean difference in merit of a generator to another one, on the pictures of the probe.

    Attributes:
        mean: above 0 where the generator is better.
        error: standard error of the mean, over pictures; 0 where there is one picture or no scatter.
        low, high: a confidence interval, which holds at all looks together.
    """

    mean: float
    error: float
    low: float
    high: float

    @property
    def verdict(self) -> Literal["better", "worse", "not told apart"]:
        """What the interval says."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not told apart"


def difference(own: Sequence[float], other: Sequence[float], look: int) -> Difference:
    """The difference of ``own`` to ``other``, the merits of the same pictures, at look number ``look`` (from 1).

    The pictures are a sample, and the same one at each look, so looks are neither independent nor few. Look k is given
    the share 1 / (k (k + 1)) of the error, which add up to 1 however many there are: a confidence sequence by the
    union bound (Darling & Robbins, "Confidence sequences for mean, variance, and median", 1967), with Student's t.
    """
    values = np.asarray(own, dtype=float) - np.asarray(other, dtype=float)
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    reach = error * _quantile(1 - ERROR / (2 * look * (look + 1)), len(values) - 1)
    return Difference(mean, error, mean - reach, mean + reach)


def _quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t, from the normal one: Abramowitz & Stegun 26.7.5, to the second order."""
    z, n = _NORMAL.inv_cdf(probability), max(freedom, 1)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n * n)


def expected_excess(mean: float, deviation: float) -> float:
    """Expectation of the positive part of a normal variable: what is gained on average, if losses can be declined."""
    if deviation <= 0:
        return max(mean, 0.0)
    z = mean / deviation
    return deviation * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) + z * _NORMAL.cdf(z))
