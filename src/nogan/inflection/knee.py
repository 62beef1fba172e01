"""Finds the corner where the rise of the critic loss ends in a plateau."""

import math

import numpy as np
from pydantic import Field

from nogan.inflection.base import Blocks, Detector, DetectorSettings, Verdict, correlation_inflation


class KneeSettings(DetectorSettings):
    """Parameters of `knee`.

    Attributes:
        evidence: difference of BIC by which two segments must beat one (10 is "very strong", Kass & Raftery 1995).
        flat: largest slope of the second segment, as a share of the first one's.
        min_rise: loss that the first segment must climb.
        plateau: shortest second segment, as a share of the phase.
        skip: share of the phase, at its start (the first dip), that is left out.
    """

    evidence: float = Field(default=10.0, gt=0)
    flat: float = Field(default=0.2, ge=0, lt=1)
    min_rise: float = Field(default=0.05, gt=0)
    plateau: float = Field(default=0.08, gt=0, lt=1)
    skip: float = Field(default=0.05, ge=0, lt=1)


class Knee(Detector):
    """Fires when a rise with a corner and a plateau after it explains the loss clearly better than a straight line.

    Assumes a roughly straight rise from the start of the phase on, then a plateau. A continuous two-segment line is
    fitted by least squares to the block means of the whole past, its corner anywhere between them, and compared with
    one segment by BIC at the effective number of blocks (the residuals are taken as AR(1)). An exponential saturation
    is given a corner well before its three time constants; an S-shape, one near the end of its rise.

    Source: two-phase regression (Hinkley 1971), with BIC in place of the likelihood ratio's unwieldy distribution.
    """

    name = "knee"
    Settings = KneeSettings
    settings: KneeSettings
    STATE = ("blocks",)
    CAPACITY = 128

    def __init__(self, settings: KneeSettings):
        super().__init__(settings)
        self.blocks = Blocks(math.ceil(settings.total_steps / 512), self.CAPACITY, doubling=True)

    def _observe(self, step: int, loss: float) -> Verdict | None:
        settings = self.settings
        if not self.blocks.add(step, loss):
            return None
        centers, means, counts = self.blocks.closed()
        keep = (counts > 0) & (centers >= settings.skip * settings.total_steps)
        if np.count_nonzero(keep) < 16:
            return None
        t, y, weights = centers[keep] / settings.total_steps, means[keep], counts[keep]
        candidates = t[(t > t[3]) & (t <= t[-1] - settings.plateau)]
        if not len(candidates):
            return None
        corner, before, after, gain = two_segments(t, y, weights, candidates)
        rise = float(before * (corner - t[0]))
        self.evidence = {"bic": gain, "rise": rise, "corner": corner * settings.total_steps}
        if gain < settings.evidence or rise < settings.min_rise or abs(after) > settings.flat * before:
            return None
        at = corner * settings.total_steps
        reason = (
            f"the critic loss climbed {rise:.3f} to a corner at batch {at:.0f}, then went on at {after / before:.0%} "
            f"of that slope; two segments beat one by {gain:.1f} in BIC"
        )
        return self._verdict(at, reason, 1 / (1 + math.exp(-min(gain, 700) / 2)))


def two_segments(
    t: np.ndarray, y: np.ndarray, weights: np.ndarray, candidates: np.ndarray
) -> tuple[float, float, float, float]:
    """The best corner among ``candidates`` for a continuous two-segment fit of ``y`` over ``t``.

    Returns:
        The corner, the slopes before and after it, and the BIC of one segment less that of two.
    """
    root = np.sqrt(weights)
    basis, _ = np.linalg.qr(np.stack([root, t * root], axis=1))
    hinges = np.maximum(t[:, None] - candidates, 0) * root[:, None]
    target = y * root
    hinges_left = hinges - basis @ (basis.T @ hinges)
    left = target - basis @ (basis.T @ target)
    power = np.maximum((hinges_left**2).sum(axis=0), 1e-300)
    bends = hinges_left.T @ left / power
    best = int(np.argmax(bends**2 * power))
    one = float(left @ left)
    residuals = left - bends[best] * hinges_left[:, best]
    two = float(residuals @ residuals)
    slope = np.polyfit(t, y - bends[best] * hinges[:, best] / root, 1, w=root)[0]
    floor = 1e-12 * float(weights.sum())
    effective = len(t) / correlation_inflation(residuals / root, weights, 4)
    gain = effective * math.log(max(one, floor) / max(two, floor)) - 2 * math.log(effective)
    return float(candidates[best]), float(slope), float(slope + bends[best]), gain
