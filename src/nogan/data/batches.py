"""What a batch is: photographs for the generator, labeled pictures for the critic."""

from typing import NamedTuple

from torch import Tensor


class Pair(NamedTuple):
    """A batch for the generator.

    Attributes:
        gray: ``(B, 3, H, W)`` in model space.
        color: of the same shape.
        vividness: ``(B,)`` in [0, 1], where the generator is told one.
        moved_gray: a moved and noisy ``gray``, where the generator has to be consistent.
        movement: ``(B, 2, 3)``, how it was moved: see :mod:`nogan.networks.movement`.
    """

    gray: Tensor
    color: Tensor
    vividness: Tensor | None = None
    moved_gray: Tensor | None = None
    movement: Tensor | None = None


class Labeled(NamedTuple):
    """A batch for the critic: pictures ``(B, 3, H, W)`` in model space, and which ``(B,)`` of them are photographs."""

    images: Tensor
    is_real: Tensor
