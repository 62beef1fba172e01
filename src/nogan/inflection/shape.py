"""Compares all shapes that the critic loss may have, and waits until a rise that ends clearly fits best."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from nogan.inflection.base import Blocks, Detector, DetectorSettings, Verdict, correlation_inflation

BLOCKS = 512  # block means over the planned phase; bounds memory and the cost of a look
S_SHAPED = ("logistic", "Gompertz", "smoothstep")
KNEED = ("saturation", "ramp")
# The last two have no inflection point: powers and exponentials; a straight line.
RISES = (*S_SHAPED, *KNEED, "unending", "drift")
ODDS = {
    "constant": 0.15,
    "oscillation": 0.25,
    "drift": 0.15,
    "unending": 0.07,
    "logistic": 0.06,
    "Gompertz": 0.06,
    "smoothstep": 0.06,
    "saturation": 0.12,
    "ramp": 0.08,
}
"""Probability of each explanation before a loss is seen.

A drift has its own, since it is one line: in noise with a long memory, one of a thousand S-shapes fits a little better.
"""
SATURATED = 0.85
"""Share of the time to a saturation's point after which it counts as passed: 92 % of the rise instead of 95 %."""


class Shapes(NamedTuple):
    """Curves from 0 to 1 on the blocks of a phase; time in shares of the phase.

    Attributes:
        rises: (BLOCKS, G) rising shapes, one a column.
        family: (G,) index into ``RISES``.
        point: (G,) the inflection point of each: the sign change of curvature, three time constants, the corner, or
            inf.
        turned: (G,) when it has visibly been passed: for an S-shape, after another quarter of its rise; for a
            saturation, which bends from the start on, a little before (``SATURATED``).
        log_prior: (G,) log probability of the column.
        dips: (BLOCKS, J) what may happen at the very start, beside any shape; column 0 is "nothing".
        waves: (2, BLOCKS, F) cosine and sine of F frequencies.
    """

    rises: np.ndarray
    family: np.ndarray
    point: np.ndarray
    turned: np.ndarray
    log_prior: np.ndarray
    dips: np.ndarray
    waves: np.ndarray


@lru_cache(maxsize=2)
def shapes(block_share: float) -> Shapes:
    """The grid of shapes, for blocks that are ``block_share`` of the phase wide."""
    x = np.minimum((np.arange(BLOCKS) + 0.5) * block_share, 2)[:, None]  # past 1 in the shortest phases only
    points, durations = np.arange(0.04, 1.25, 0.025), np.geomspace(0.06, 0.9, 9)
    point, duration = (grid.ravel() for grid in np.meshgrid(points, durations, indexing="ij"))
    low, high = -math.log(-math.log(0.05)), -math.log(-math.log(0.95))
    tails = {"logistic": 0.5, "Gompertz": -low / (high - low), "smoothstep": 0.5}
    columns, family, at, turned = [], [], [], []
    for index, name in enumerate(S_SHAPED):
        # An S whose lower bend lies before the phase is not seen as one: it is a rise that only slows down.
        keep = point - tails[name] * duration >= -0.01
        u = (x - point[keep]) / duration[keep]  # one unit: from 5 % to 95 % of the rise
        if name == "logistic":
            curve = 1 / (1 + np.exp(-np.clip(u * 2 * math.log(19), -50, 50)))
        elif name == "Gompertz":
            curve = np.exp(-np.exp(-np.clip(u * (high - low), -6, 50)))
        else:
            step = np.clip(u * 0.729 + 0.5, 0, 1)
            curve = step * step * (3 - 2 * step)
        columns.append(curve)
        family += [index] * curve.shape[1]
        at.append(point[keep])
        turned.append((point + duration / 4)[keep])
    knees = np.arange(0.04, 1.5, 0.02)
    rates = np.geomspace(0.5, 20, 20)
    onset, power = (
        grid.ravel() for grid in np.meshgrid(np.arange(0, 0.9, 0.1), [1, 1.25, 1.5, 2, 2.5, 3, 4.5], indexing="ij")
    )
    unending = [
        np.exp(rates * (x - 1)),
        x ** np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.85]),
        np.maximum(x - onset, 0) ** power,
    ]
    columns += [1 - np.exp(-3 * x / knees), np.minimum(x / knees, 1), *unending, x]
    endless = sum(curve.shape[1] for curve in unending)
    for name, count in zip(RISES[len(S_SHAPED) :], (len(knees), len(knees), endless, 1), strict=True):
        family += [RISES.index(name)] * count
    never = np.full(endless + 1, np.inf)
    at += [knees, knees, never]
    turned += [SATURATED * knees, knees, never]
    families = np.array(family)
    log_prior = np.log(np.array([ODDS[name] for name in RISES]) / np.bincount(families))[families]
    u = x / np.array([0.01, 0.015, 0.02, 0.03])
    dips = np.concatenate([np.zeros_like(x), np.exp(-u), u * np.exp(1 - u)], axis=1)
    angle = 2 * math.pi * x * np.arange(1, 25, 0.25)
    waves = np.stack([np.cos(angle), np.sin(angle)])
    return Shapes(
        np.concatenate(columns, axis=1), families, np.concatenate(at), np.concatenate(turned), log_prior, dips, waves
    )


class ShapeSettings(DetectorSettings):
    """Parameters of `shape`.

    Attributes:
        sure: probability, against every other shape, that the inflection point has been passed.
        spread: largest width of the interval that holds the point with 80 % probability; a share of the phase.
        min_rise: loss that the curve must climb in all.
        patience: how long both must hold before it fires, unless the phase ends; a share of the phase.
        first: share of the phase before it first looks.
    """

    sure: float = Field(default=0.8, gt=0.5, lt=1)
    spread: float = Field(default=0.5, gt=0, le=1)
    min_rise: float = Field(default=0.05, gt=0, le=1)
    patience: float = Field(default=0.02, ge=0, le=0.5)
    first: float = Field(default=0.08, ge=0.02, le=0.9)


class Shape(Detector):
    """Fires when an S-shape or a knee, with its inflection point in the past, outweighs all other explanations.

    Assumes that the loss is one of: an S-shaped rise (logistic, Gompertz, smoothstep), a rise that only slows down, a
    ramp that ends in a plateau; or none of these: a constant, a drift, a fall, an oscillation, a rise whose turn is
    still to come, or that never ends; each with or without a dip or a jump in the first few hundredths of the
    phase, in AR(1) noise.

    All of some thousand such curves are fitted by least squares to the block means of the whole past, from running
    sums, so that a look costs the same at every batch. Their likelihoods (Gaussian, at the effective number of blocks
    that the autocorrelation of the best one's residuals leaves) with BIC's price for each linear parameter and the odds
    of each family (``ODDS``) give the probability that the point has been passed; its posterior median is the answer.

    Source: Bayesian model averaging with the BIC approximation (Raftery 1995; Kass & Raftery 1995) over a grid.
    """

    name = "shape"
    Settings = ShapeSettings
    settings: ShapeSettings
    STATE = ("blocks", "taken", "held_since")
    EVERY = 4  # blocks between two looks

    def __init__(self, settings: ShapeSettings):
        super().__init__(settings)
        self.blocks = Blocks(math.ceil(settings.total_steps / BLOCKS), BLOCKS + 1, doubling=False)
        self.taken = 0  # blocks that are in the sums
        self.held_since = -1
        self.shapes = shapes(self.blocks.width / settings.total_steps)
        self._reset_sums()

    def _observe(self, step: int, loss: float) -> Verdict | None:
        if not self.blocks.add(step, loss) or self.blocks.first > 0:  # past the planned end nothing new is learned
            return None
        _, means, counts = self.blocks.closed()
        looked = self.taken // self.EVERY
        self._take(means, counts)
        if self.taken // self.EVERY == looked or step < self.settings.first * self.settings.total_steps:
            return None
        return self._look(step, means, counts)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` to the bit; the running sums are computed again from the block means."""
        super().load_state_dict(saved)
        _, means, counts = self.blocks.closed()
        taken, self.taken = self.taken, 0
        self._reset_sums()
        self._take(means[:taken], counts[:taken])

    def _reset_sums(self) -> None:
        rises, dips, waves = self.shapes.rises.shape[1], self.shapes.dips.shape[1], self.shapes.waves.shape[2]
        self._one = np.zeros(3)  # of 1, y, y²
        self._rise = np.zeros((3, rises))  # of T, T², Ty
        self._dip = np.zeros((3, dips))
        self._wave = np.zeros((7, waves))  # of C, S, C², S², CS, Cy, Sy
        self._dip_rise = np.zeros((dips, rises))
        self._dip_wave = np.zeros((2, dips, waves))

    def _take(self, means: np.ndarray, counts: np.ndarray) -> None:
        """Add the blocks from ``taken`` on to the running sums."""
        for i in range(self.taken, len(means)):
            weight, y = counts[i], means[i] - 0.5
            if weight:
                rise, dip, (cos, sin) = self.shapes.rises[i], self.shapes.dips[i], self.shapes.waves[:, i]
                self._one += (weight, weight * y, weight * y * y)
                self._rise += np.stack([rise, rise * rise, y * rise]) * weight
                self._dip += np.stack([dip, dip * dip, y * dip]) * weight
                self._wave += np.stack([cos, sin, cos * cos, sin * sin, cos * sin, y * cos, y * sin]) * weight
                self._dip_rise += (weight * dip)[:, None] * rise
                self._dip_wave += (weight * dip)[:, None] * self.shapes.waves[:, i, None, :]
        self.taken = len(means)

    def _fits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Residual sums of squares of all fits, and the rises' heights: (J,), (J, G), (J, G), (J, F). Dip 0 is none."""
        n, y1, yy = self._one
        d1, dd, dy = self._dip
        dd, dy, yy = dd - d1 * d1 / n, dy - d1 * y1 / n, yy - y1 * y1 / n
        usable = dd > 1e-9 * n
        share = np.where(usable, 1 / np.where(usable, dd, 1), 0)  # 1 / dd, where there is a dip
        constant = np.maximum(yy - dy * dy * share, 1e-12 * n)

        t1, tt, ty = self._rise
        dt = self._dip_rise - d1[:, None] * (t1 / n)
        tt = (tt - t1 * t1 / n) - dt * dt * share[:, None]
        ty = (ty - t1 * (y1 / n)) - dt * (dy * share)[:, None]
        seen = tt > 1e-7 * n
        height = np.where(seen, ty / np.where(seen, tt, 1), 0)
        rise = np.maximum(constant[:, None] - height * ty, 1e-12 * n)

        c1, s1, cc, ss, cs, cy, sy = self._wave
        dc, ds = self._dip_wave - d1[:, None] * (np.stack([c1, s1]) / n)[:, None]
        per = share[:, None]
        cc, ss, cs = (
            cc - c1 * c1 / n - dc * dc * per,
            ss - s1 * s1 / n - ds * ds * per,
            cs - c1 * s1 / n - dc * ds * per,
        )
        cy = cy - c1 * y1 / n - dc * (dy * share)[:, None]
        sy = sy - s1 * y1 / n - ds * (dy * share)[:, None]
        det = cc * ss - cs * cs
        seen = det > 1e-6 * n * n
        explained = np.where(seen, (ss * cy * cy - 2 * cs * cy * sy + cc * sy * sy) / np.where(seen, det, 1), 0)
        wave = np.maximum(constant[:, None] - explained, 1e-12 * n)
        return constant, rise, height, wave

    def _look(self, step: int, means: np.ndarray, counts: np.ndarray) -> Verdict | None:
        grid, settings = self.shapes, self.settings
        blocks = int(np.count_nonzero(counts))
        if blocks < 16:
            return None
        constant, rise, height, wave = self._fits()
        dip_prior = np.full(len(constant), math.log(0.5 / (len(constant) - 1)))
        dip_prior[0] = math.log(0.5)
        possible = np.abs(height) <= 1  # a critic loss does not climb or fall by more

        def weigh(effective: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            price = 0.5 * math.log(effective)
            dips = dip_prior - price * (np.arange(len(constant)) > 0)
            half = -0.5 * effective
            log_constant = half * np.log(constant) + dips + math.log(ODDS["constant"])
            log_rise = half * np.log(rise) + dips[:, None] + (grid.log_prior - price)
            log_wave = half * np.log(wave) + dips[:, None] + (math.log(ODDS["oscillation"] / wave.shape[1]) - 2 * price)
            return log_constant, np.where(possible, log_rise, -np.inf), log_wave

        residuals = self._residuals(weigh(blocks), means, counts)
        inflation = correlation_inflation(residuals, counts[counts > 0], 4)
        log_constant, log_rise, log_wave = weigh(max(blocks / inflation, 4.0))
        top = max(log_constant.max(), log_rise.max(), log_wave.max())
        p_rise = np.exp(log_rise - top)
        total = np.exp(log_constant - top).sum() + p_rise.sum() + np.exp(log_wave - top).sum()
        now = (step + 1) / settings.total_steps
        p_rise = np.where((height >= settings.min_rise) & (grid.turned <= now), p_rise, 0).sum(axis=0) / total
        passed = float(p_rise.sum())
        self.evidence = {"passed": passed}
        if passed < settings.sure:
            self.held_since = -1
            return None
        # An S-shape and a knee place the point differently: take the likelier place, not one between the two.
        s_shaped = float(p_rise[grid.family < len(S_SHAPED)].sum()) / passed
        kind = (grid.family < len(S_SHAPED)) == (s_shaped > 0.5)
        order = np.flatnonzero(kind)[np.argsort(grid.point[kind], kind="stable")]
        mass = np.cumsum(p_rise[order])
        low, middle, high = np.interp([0.1, 0.5, 0.9], mass / mass[-1], grid.point[order])
        self.evidence |= {"point": float(middle) * settings.total_steps, "spread": float(high - low)}
        if high - low > settings.spread:
            self.held_since = -1
            return None
        if self.held_since < 0:
            self.held_since = step
        is_last_look = step + self.EVERY * self.blocks.width >= settings.total_steps
        if step - self.held_since < settings.patience * settings.total_steps and not is_last_look:
            return None
        return self._fire(passed, p_rise, (low, middle, high))

    def _residuals(self, weights: tuple, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Residuals of the most probable fit, at the blocks where a loss was seen."""
        log_constant, log_rise, log_wave = weights
        best = max((log_constant.max(), 0), (log_rise.max(), 1), (log_wave.max(), 2))[1]
        dip, column = np.unravel_index(
            np.argmax(weights[best]), weights[best].shape if best else (len(log_constant), 1)
        )
        m = len(means)
        columns = [np.ones(m)]
        if dip:
            columns.append(self.shapes.dips[:m, dip])
        if best == 1:
            columns.append(self.shapes.rises[:m, column])
        if best == 2:
            columns += [self.shapes.waves[0, :m, column], self.shapes.waves[1, :m, column]]
        seen = counts > 0
        design, root = np.stack(columns, axis=1)[seen], np.sqrt(counts[seen])
        beta = np.linalg.lstsq(design * root[:, None], means[seen] * root, rcond=None)[0]
        return means[seen] - design @ beta

    def _fire(self, passed: float, p_rise: np.ndarray, interval: tuple[float, float, float]) -> Verdict:
        total = self.settings.total_steps
        low, middle, high = (max(0, round(share * total)) for share in interval)
        by_family = np.bincount(self.shapes.family, p_rise, minlength=len(RISES)) / passed
        family = RISES[int(by_family.argmax())]
        s_shaped = by_family[: len(S_SHAPED)].sum() > 0.5
        kind = "an S-shaped rise" if s_shaped else "a rise that ends in a plateau"
        reason = (
            f"the critic loss made {kind} ({family} {by_family.max():.0%}), its inflection point at batch {middle} "
            f"(80 % between {low} and {high}); probability that it is past {passed:.3f}"
        )
        return self._verdict(middle, reason, passed)
