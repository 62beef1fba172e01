"""What a batch is: photographs for the generator, labeled pictures for the critic."""

from typing import NamedTuple

from torch import Tensor


class Pair(NamedTuple):
    """A batch for the generator: both ``(B, 3, H, W)`` in model space."""

    gray: Tensor
    color: Tensor


class Labeled(NamedTuple):
    """A batch for the critic: pictures ``(B, 3, H, W)`` in model space, and which ``(B,)`` of them are photographs."""

    images: Tensor
    is_real: Tensor
