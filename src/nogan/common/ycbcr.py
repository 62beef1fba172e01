"""Y'CbCr, full range: the weights and formulas, spelled once for NumPy arrays and torch tensors alike.

Source: ITU-R BT.601, BT.709 and BT.2020. Nothing here imports torch.
"""

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Plane = TypeVar("Plane", np.ndarray, "Tensor")
"""One channel of one image or of a batch, floating-point, of any shape."""


class Matrix(NamedTuple):
    """The weights of red, green and blue in luma, which define a Y'CbCr space; they sum to 1.

    RGB and Y are in [0, 1], Cb and Cr in [-0.5, 0.5].
    """

    red: float
    green: float
    blue: float

    def luma(self, red: Plane, green: Plane, blue: Plane) -> Plane:
        """Y of RGB."""
        return self.red * red + self.green * green + self.blue * blue

    def chroma(self, luma: Plane, red: Plane, blue: Plane) -> tuple[Plane, Plane]:
        """Cb and Cr of RGB, given its luma."""
        return (blue - luma) / (2 * (1 - self.blue)), (red - luma) / (2 * (1 - self.red))

    def rgb(self, luma: Plane, cb: Plane, cr: Plane) -> tuple[Plane, Plane, Plane]:
        """Red, green and blue; outside [0, 1] where the chroma is too strong for its luma."""
        red, blue = luma + 2 * (1 - self.red) * cr, luma + 2 * (1 - self.blue) * cb
        return red, (luma - self.red * red - self.blue * blue) / self.green, blue


REC601 = Matrix(0.299, 0.587, 0.114)
"""Photographs (JPEG), standard-definition film, and what the networks take for gray."""

REC709 = Matrix(0.2126, 0.7152, 0.0722)
"""High-definition film."""

REC2020 = Matrix(0.2627, 0.678, 0.0593)
"""Ultra-high-definition film."""
