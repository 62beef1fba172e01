"""Simulated critic-loss curves whose inflection point is known.

A curve has a mean, which its family sets (one of :data:`ALL`), and noise around it. It may have a dip at the start, and
the adaptive switch may pin it near its threshold. The loss is seen at every batch, or at critic batches only.
Everything is drawn from ``(split, family, index)``. Times are shares of the phase until :func:`draw` turns them into
GAN batches.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from nogan.common.rng import numpy_rng

THRESHOLD = 0.65  # raw critic loss below which a critic batch hands over to the generator
MAX_CRITIC_RUN = 20  # critic batches in a row, at most; then the generator has one

S_SHAPED = ("logistic", "gompertz", "smoothstep")
KNEED = ("saturation", "ramp")
WITHOUT = ("constant", "drift", "oscillation")
FAMILIES = (*S_SHAPED, *KNEED, *WITHOUT)
# Harder ones: an S-shape with heavy tails, a slow one that is barely over, and noise with a long memory, in which a
# saturation has to be told from a constant and from a drift.
AR = 0.9  # coefficient of AR(1) noise from one batch to the next, in the families whose name ends in "-ar"
HARD = ("arctan", "slow", "saturation-ar", "constant-ar", "drift-ar")
HARD_WITHOUT = ("constant-ar", "drift-ar")
# Families that the detectors were not made for. The first three contain a logistic rise and its inflection point.
BEYOND = ("spikes", "sag", "tremor", "swell", "slowing", "fall", "walk")
BEYOND_WITHOUT = ("swell", "slowing", "fall", "walk")
ALL = (*FAMILIES, *HARD, *BEYOND)


class Traits(TypedDict):
    """What was drawn for a curve, beside its family."""

    noise: float  # standard deviation
    autocorrelation: float
    rise: float
    pinned: bool
    dip: bool
    critic_only: bool


@dataclass(frozen=True)
class Curve:
    """One simulated GAN phase.

    Attributes:
        family: one of :data:`ALL`.
        total: GAN batches in the phase.
        truth: the inflection point in GAN batches; None where there is none.
        steps: the batches at which the loss is seen, ascending.
        losses: the loss at each of them.
        mean: the curve without noise at every batch, for pictures.
        traits: what was drawn for it.
    """

    family: str
    total: int
    truth: float | None
    steps: np.ndarray
    losses: np.ndarray
    mean: np.ndarray
    traits: Traits


def draw(split: str, family: str, index: int) -> Curve:
    """Curve number ``index`` of ``family``; ``split`` is "tune" for setting parameters or "test" for the report."""
    rng = numpy_rng("inflection-curves", split, family, index)
    total = round(math.exp(rng.uniform(math.log(200), math.log(10_000))))
    pinned, dip, correlated, critic_only = (bool(rng.random() < 0.5) for _ in range(4))
    start, end = rng.uniform(0.05, 0.5), rng.uniform(0.6, 0.7)
    if pinned:
        end = THRESHOLD
    x = np.arange(total) / total
    shape, truth = _SHAPES[family](rng, x)
    mean = _LEVELS.get(family, _climb)(rng, start, end, shape)
    if dip:
        mean = mean + _dip(rng, x, mean[0])
    sd = math.exp(rng.uniform(math.log(0.01), math.log(0.06)))
    phi = rng.uniform(0.3, 0.9) if correlated else 0.0
    if family.endswith("-ar"):
        phi = AR
    noise = sd * _ar1(rng, total, phi)
    if family == "spikes":
        noise += np.where(rng.random(total) < 0.02, rng.uniform(0.5, 3.0, total), 0)
    effort = np.clip(shape, 0, 1) if pinned and truth is not None else np.zeros(total)
    losses, is_critic = _play(rng, mean + noise, effort)
    seen = np.flatnonzero(is_critic) if critic_only else np.arange(total)
    traits: Traits = {
        "noise": sd,
        "autocorrelation": phi,
        "rise": end - start,
        "pinned": pinned,
        "dip": dip,
        "critic_only": critic_only,
    }
    return Curve(family, total, None if truth is None else truth * total, seen, losses[seen], mean, traits)


Window = tuple[float, float]  # begin and duration of an S-shaped rise
Shape = tuple[np.ndarray, float | None]  # the curve at each batch, from 0 to 1 if it rises; its inflection point


def _logistic(rng: np.random.Generator, x: np.ndarray, window: Window | None = None) -> Shape:
    begin, duration = window or _window(rng)
    scale = duration / (2 * math.log(19))  # from 5 % to 95 % of the rise
    center = begin + duration / 2
    return 1 / (1 + np.exp(-(x - center) / scale)), center


def _gompertz(rng: np.random.Generator, x: np.ndarray, window: Window | None = None) -> Shape:
    begin, duration = window or _window(rng)
    low, high = -math.log(-math.log(0.05)), -math.log(-math.log(0.95))
    scale = duration / (high - low)
    center = begin - low * scale  # at 1/e of the rise
    return np.exp(-np.exp(-np.maximum((x - center) / scale, -50))), center


def _smoothstep(rng: np.random.Generator, x: np.ndarray, window: Window | None = None) -> Shape:
    begin, duration = window or _window(rng)
    u = np.clip((x - begin) / duration, 0, 1)
    return u * u * (3 - 2 * u), begin + duration / 2


def _saturation(rng: np.random.Generator, x: np.ndarray) -> Shape:
    knee = rng.uniform(0.15, 0.8)
    return 1 - np.exp(-3 * x / knee), knee


def _ramp(rng: np.random.Generator, x: np.ndarray) -> Shape:
    corner = rng.uniform(0.15, 0.8)
    return np.minimum(x / corner, 1), corner


def _constant(rng: np.random.Generator, x: np.ndarray) -> Shape:
    return np.zeros_like(x), None


def _drift(rng: np.random.Generator, x: np.ndarray) -> Shape:
    return rng.uniform(0.2, 1.0) * x, None


def _oscillation(rng: np.random.Generator, x: np.ndarray) -> Shape:
    return np.sin(2 * math.pi * (rng.uniform(3, 20) * x + rng.random())), None


def _arctan(rng: np.random.Generator, x: np.ndarray) -> Shape:
    """A rise whose middle half takes as long as that of a logistic one, with far more of it before and after.

    Within the phase it climbs 85–96 % of its height.
    """
    begin, duration = _window(rng)
    center = begin + duration / 2
    quartile = duration / 2 * math.log(3) / math.log(19)  # from 25 % of the rise to its middle
    return 0.5 + np.arctan((x - center) / quartile) / math.pi, center


def _slow(rng: np.random.Generator, x: np.ndarray) -> Shape:
    """An S-shape that takes 50–85 % of the phase and is at 95 % of its rise (``smoothstep``: at its end) by 85–100 %.

    Logistic, Gompertz or smoothstep, with equal odds.
    """
    duration = rng.uniform(0.5, 0.85)
    begin = rng.uniform(max(0.85 - duration, 0), 1 - duration)
    return (_logistic, _gompertz, _smoothstep)[rng.integers(3)](rng, x, (begin, duration))


def _sag(rng: np.random.Generator, x: np.ndarray) -> Shape:
    """A logistic rise that then loses 20–40 % of its height, in a straight line from 95 % of the rise to the end."""
    rise, center = _logistic(rng, x)
    top = x[np.searchsorted(rise, 0.95)]
    return rise - rng.uniform(0.2, 0.4) * np.maximum(x - top, 0) / (1 - top), center


def _tremor(rng: np.random.Generator, x: np.ndarray) -> Shape:
    """A logistic rise plus an oscillation of 10–25 % of its height."""
    rise, center = _logistic(rng, x)
    return rise + rng.uniform(0.1, 0.25) * _oscillation(rng, x)[0], center


def _swell(rng: np.random.Generator, x: np.ndarray) -> Shape:
    """A rise that becomes steeper to the end of the phase."""
    begin, power = rng.uniform(0, 0.4), rng.uniform(1.2, 4)
    return (np.maximum(x - begin, 0) / (1 - begin)) ** power, None


def _slowing(rng: np.random.Generator, x: np.ndarray) -> Shape:
    """A rise that slows down throughout and reaches no plateau."""
    return x ** rng.uniform(0.3, 0.8), None


def _fall(rng: np.random.Generator, x: np.ndarray) -> Shape:
    return 1 - _logistic(rng, x)[0], None


def _walk(rng: np.random.Generator, x: np.ndarray) -> Shape:
    """A random walk with a standard deviation of 1 at its end."""
    return np.cumsum(rng.standard_normal(len(x))) / math.sqrt(len(x)), None


_SHAPES: dict[str, Callable[[np.random.Generator, np.ndarray], Shape]] = {
    "logistic": _logistic,
    "gompertz": _gompertz,
    "smoothstep": _smoothstep,
    "saturation": _saturation,
    "ramp": _ramp,
    "constant": _constant,
    "drift": _drift,
    "oscillation": _oscillation,
    "arctan": _arctan,
    "slow": _slow,
    "saturation-ar": _saturation,
    "constant-ar": _constant,
    "drift-ar": _drift,
    "spikes": _logistic,
    "sag": _sag,
    "tremor": _tremor,
    "swell": _swell,
    "slowing": _slowing,
    "fall": _fall,
    "walk": _walk,
}


def _climb(rng: np.random.Generator, start: float, end: float, shape: np.ndarray) -> np.ndarray:
    return start + (end - start) * shape


def _flat(rng: np.random.Generator, start: float, end: float, shape: np.ndarray) -> np.ndarray:
    return np.full(len(shape), rng.uniform(0.05, 0.7))


_LEVELS: dict[str, Callable[[np.random.Generator, float, float, np.ndarray], np.ndarray]] = {
    "constant": _flat,
    "constant-ar": _flat,
    "oscillation": lambda rng, start, end, shape: rng.uniform(0.2, 0.6) + rng.uniform(0.02, 0.15) * shape,
    "walk": lambda rng, start, end, shape: rng.uniform(0.2, 0.6) + rng.uniform(0.02, 0.1) * shape,
}


def _window(rng: np.random.Generator) -> Window:
    """A rise that ends within 85 % of the phase."""
    while True:
        begin, duration = rng.uniform(0, 0.5), rng.uniform(0.15, 0.6)
        if begin + duration <= 0.85:
            return begin, duration


def _dip(rng: np.random.Generator, x: np.ndarray, level: float) -> np.ndarray:
    """A dip at the start: the loss falls from above to the curve, or from the curve and back to it."""
    u = x / rng.uniform(0.01, 0.03)
    depth = min(rng.uniform(0.02, 0.1), 0.6 * max(level, 0))
    return depth * np.exp(-u) if rng.random() < 0.5 else -depth * u * np.exp(1 - u)


def _ar1(rng: np.random.Generator, count: int, phi: float) -> np.ndarray:
    """AR(1) noise of unit variance."""
    shocks = rng.standard_normal(count)
    if phi == 0:
        return shocks
    shocks[1:] *= math.sqrt(1 - phi * phi)
    values = shocks.tolist()
    for i in range(1, count):
        values[i] += phi * values[i - 1]
    return np.array(values)


def _play(rng: np.random.Generator, free: np.ndarray, effort: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The adaptive switch: the loss at every batch, and whether the batch was the critic's.

    Where the loss is pinned (``effort`` > 0), each generator batch raises it by up to 0.03–0.1 and each critic batch
    takes back a part of that. So the critic needs more and more batches before the loss falls below the threshold.
    """
    lift, keep = rng.uniform(0.03, 0.1), rng.uniform(0.5, 0.85)
    losses, is_critic = np.empty(len(free)), np.empty(len(free), dtype=bool)
    lifts = (lift * effort).tolist()
    offset, run, critic = 0.0, 0, True
    for step, value in enumerate(free.tolist()):
        loss = max(value + offset, 0.0)
        losses[step], is_critic[step] = loss, critic
        if critic:
            offset *= keep
            run += 1
            critic = loss >= THRESHOLD and run < MAX_CRITIC_RUN
        else:
            offset, run, critic = lifts[step], 0, True
    return losses, is_critic
