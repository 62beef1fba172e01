"""How certain a mean over images is, and whether two colorizers can be told apart."""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
"""Bootstrap samples. Their number moves the ends of an interval by some percent of its width."""

LEVEL = 0.95
"""Of all intervals."""

SIGNIFICANCE = 0.05
"""A sign test with a p below this tells two colorizers apart."""

_BLOCK = 100  # samples at a time, so that memory stays small for many images


def bootstrap_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means of bootstrap samples of the images.

    Samples are drawn with replacement (Efron 1979), the same ones for every call with as many images, so that what
    several columns are combined to keeps their correlation.

    Args:
        values: ``(N, ...)``, a row for each image.
        seed: of the samples.

    Returns:
        ``(RESAMPLES, ...)``.
    """
    count, flat = len(values), values.reshape(len(values), -1)
    rng = np.random.default_rng(seed)
    means = np.empty((RESAMPLES, flat.shape[1]))
    for start in range(0, RESAMPLES, _BLOCK):
        times = rng.multinomial(count, np.full(count, 1 / count), size=_BLOCK)
        means[start : start + _BLOCK] = times @ flat / count
    return means.reshape(RESAMPLES, *values.shape[1:])


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The ends of the percentile interval of bootstrap ``samples`` ``(R,)``."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The bootstrap interval of the mean of ``values`` ``(N,)``."""
    return interval(bootstrap_means(values))


@dataclass(frozen=True)
class SignTest:
    """On how many images either of two is better.

    Attributes:
        first: where the first is better.
        second: where the second is.
        ties: where neither is.
        p: probability of a split at least as uneven if neither were better; ties do not count.
    """

    first: int
    second: int
    ties: int
    p: float


def sign_test(first: np.ndarray, second: np.ndarray) -> SignTest:
    """The two-sided sign test of paired badness ``(N,)`` (lower is better)."""
    from scipy.stats import binomtest

    wins, losses = int((first < second).sum()), int((second < first).sum())
    decided = wins + losses
    p = float(binomtest(wins, decided).pvalue) if decided else 1.0
    return SignTest(wins, losses, len(first) - decided, p)
