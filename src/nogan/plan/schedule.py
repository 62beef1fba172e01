"""Learning rates and Adam's betas as pure functions of the step.

The one-cycle policy is Smith & Topin's (https://arxiv.org/abs/1708.07120) in the cosine form that fastai v1 runs
(https://github.com/fastai/fastai1, ``OneCycleScheduler``), step for step: the first part lasts
``int(steps * pct_start)`` batches, but never fewer than one, so that ``pct_start=1e-8`` is one batch at ``max / div``
and then a pure decay.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class OneCycle:
    """The shape of the one-cycle schedule: ``nogan.one_cycle``."""

    div: float  # the rate starts at max / div …
    final_div: float  # … and ends at max / final_div
    beta1: tuple[float, float]  # mirrors the rate: the first where the rate is low, the second at its maximum


@dataclass(frozen=True)
class Hyper:
    """What the optimizer of the network that trains uses at one step."""

    lr: tuple[float, ...]  # one value for each parameter group
    betas: tuple[float, float]


def cosine(start: float, end: float, fraction: float) -> float:
    """Half a cosine from ``start`` (fraction 0) to ``end`` (fraction 1)."""
    return end + (start - end) / 2 * (math.cos(math.pi * fraction) + 1)


def one_cycle(step: int, steps: int, pct_start: float, low: float, high: float, final: float) -> float:
    """The value at ``step`` (from 0) of a cycle of ``steps``: low → high over the first part, then high → final."""
    rise = int(steps * pct_start)
    warm = max(rise, 1)
    if step < warm:
        return cosine(low, high, step / warm)
    return cosine(high, final, (step - warm) / (steps - rise))


def one_cycle_hyper(
    step: int, steps: int, max_lr: tuple[float, ...], pct_start: float, beta2: float, shape: OneCycle
) -> Hyper:
    """Learning rate of each group and the betas at ``step`` of a one-cycle phase of ``steps``."""
    high, low = shape.beta1
    return Hyper(
        lr=tuple(one_cycle(step, steps, pct_start, lr / shape.div, lr, lr / shape.final_div) for lr in max_lr),
        betas=(one_cycle(step, steps, pct_start, high, low, high), beta2),
    )


def layer_group_lr(lr: float | tuple[float, float]) -> tuple[float, float, float]:
    """The maximum rate of the three generator layer groups (encoder's lower half, its upper half, decoder).

    A lone ``lr`` gives the encoder a tenth of the decoder's; a pair ``(low, high)`` is spread geometrically.
    """
    if isinstance(lr, tuple | list):
        low, high = lr
        return low, math.sqrt(low * high), high
    return lr / 10, lr / 10, lr
