"""Learning rates and Adam's betas as pure functions of the step.

The one-cycle policy is Smith & Topin's (https://arxiv.org/abs/1708.07120) in the cosine form that fastai v1 runs
(https://github.com/fastai/fastai1, ``OneCycleScheduler``), step for step: the first part lasts
``int(steps * pct_start)`` batches, but never fewer than one, so that ``pct_start=1e-8`` is one batch at ``max / div``
and then a pure decay.
"""

import math
from dataclasses import dataclass
from typing import Literal

DIV = 25.0  # the one-cycle schedule starts at max / DIV …
FINAL_DIV = 2.5e5  # … and ends at max / FINAL_DIV
BETA1_CYCLE = (0.95, 0.85)  # beta1 mirrors the learning rate: high where the rate is low

Kind = Literal["one_cycle", "constant"]


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


def one_cycle_hyper(step: int, steps: int, max_lr: tuple[float, ...], pct_start: float, beta2: float) -> Hyper:
    """Learning rate of each group and the betas at ``step`` of a one-cycle phase."""
    return Hyper(
        lr=tuple(one_cycle(step, steps, pct_start, lr / DIV, lr, lr / FINAL_DIV) for lr in max_lr),
        betas=(one_cycle(step, steps, pct_start, BETA1_CYCLE[0], BETA1_CYCLE[1], BETA1_CYCLE[0]), beta2),
    )


def layer_group_lr(lr: float | tuple[float, float]) -> tuple[float, float, float]:
    """The maximum rate of the three generator layer groups (encoder's lower half, its upper half, decoder).

    A lone ``lr`` gives the encoder a tenth of the decoder's; a pair ``(low, high)`` is spread geometrically.
    """
    if isinstance(lr, tuple | list):
        low, high = lr
        return low, math.sqrt(low * high), high
    return lr / 10, lr / 10, lr
