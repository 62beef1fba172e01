"""Finds the sign change of the second derivative of the smoothed critic loss."""

import math

import numpy as np
from pydantic import Field

from nogan.inflection.base import Blocks, Detector, DetectorSettings, Verdict, correlation_inflation


class CurvatureSettings(DetectorSettings):
    """Parameters of `curvature`.

    Attributes:
        window: trailing window of the local regression, as a share of the phase's GAN batches.
        z: standard errors by which the curvature must differ from zero, on either side of the sign change.
        min_rise: loss by which the curve must have risen over the window of the sign change.
    """

    window: float = Field(default=0.2, ge=0.02, le=1)
    z: float = Field(default=2.5, gt=0)
    min_rise: float = Field(default=0.03, ge=0)


class Curvature(Detector):
    """Fires when the critic loss, having bent upwards, significantly bends downwards; names the batch between the two.

    Assumes an S-shaped rise, slow compared with the window: the loss first speeds up, then slows down. A local
    quadratic is fitted by weighted least squares to 32 block means over a trailing window, at each new block. The
    standard error of its second-order term is widened for the autocorrelation of the residuals (lag one, as of an AR(1)
    process), so that wandering noise does not fire it. The inflection point is where the term, read at the window's
    center, crosses zero. A rise that only slows down (exponential, ramp) has no such point: use `knee` or `shape`.

    Source: local polynomial regression (Savitzky & Golay 1964; Cleveland 1979), here one-sided and with a test.
    """

    name = "curvature"
    Settings = CurvatureSettings
    settings: CurvatureSettings
    STATE = ("blocks", "armed", "last_center", "last_bend", "crossing", "crossing_rise")
    POINTS = 32

    def __init__(self, settings: CurvatureSettings):
        super().__init__(settings)
        self.blocks = Blocks(math.ceil(settings.window * settings.total_steps / self.POINTS), self.POINTS + 1, False)
        self.armed = 0.0  # the strongest upward bend so far, in standard errors; 0 until it is significant
        self.last_center = self.last_bend = 0.0
        self.crossing, self.crossing_rise = -1.0, 0.0

    def _observe(self, step: int, loss: float) -> Verdict | None:
        if not self.blocks.add(step, loss):
            return None
        centers, means, counts = self.blocks.closed()
        if len(centers) < self.POINTS or np.count_nonzero(counts) < self.POINTS // 2:
            return None
        rise, bend, error = local_quadratic(means, counts)
        center = float(centers[0] + centers[-1]) / 2
        self.evidence = {"rise": rise, "bend": bend, "z": bend / error}
        if self.armed and self.last_bend > 0 >= bend:
            self.crossing = self.last_center + (center - self.last_center) * self.last_bend / (self.last_bend - bend)
            self.crossing_rise = rise
        self.last_center, self.last_bend = center, bend
        if bend > self.settings.z * error:
            self.armed, self.crossing = max(self.armed, bend / error), -1.0
        elif self.crossing >= 0 and -bend > self.settings.z * error:
            if self.crossing_rise >= self.settings.min_rise:
                return self._fire(-bend / error)
            self.armed, self.crossing = 0.0, -1.0  # a bend without a rise: noise, or the end of a fall
        return None

    def _fire(self, z: float) -> Verdict:
        reason = (
            f"the critic loss bent upwards (z = {self.armed:.1f}), then downwards (z = {z:.1f}); its curvature changed "
            f"sign at batch {self.crossing:.0f}, amid a rise of {self.crossing_rise:.3f}"
        )
        return self._verdict(self.crossing, reason, math.erf(min(z, self.armed) / math.sqrt(2)))


def local_quadratic(means: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    """Fit a quadratic to equally spaced block means, weighted by their counts.

    Returns:
        The slope at the center as the rise over the whole span, the second-order coefficient (span scaled to [-1, 1])
        and its standard error, widened for autocorrelated residuals. A perfect fit has error 1e-12, so that constants
        are no signal.
    """
    u = np.linspace(-1, 1, len(means))
    design = np.stack([np.ones_like(u), u, u * u - 1 / 3], axis=1)
    weighted = design * counts[:, None]
    inverse = np.linalg.inv(design.T @ weighted)
    beta = inverse @ (weighted.T @ means)
    residuals = (means - design @ beta)[counts > 0]
    weights = counts[counts > 0]
    free = max(1, len(weights) - 3)
    variance = float(weights @ residuals**2) / free
    error = math.sqrt(max(0.0, variance * inverse[2, 2]) * correlation_inflation(residuals, weights, 3))
    return 2 * float(beta[1]), float(beta[2]), max(error, 1e-12)
