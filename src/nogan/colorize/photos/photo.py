"""A photograph in memory, and turning it upright."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nogan.colorize.photos.color_space import ColorSpace, space_of


@dataclass(frozen=True)
class Photo:
    """A photograph, upright.

    Attributes:
        pixels: ``(H, W)`` gray or ``(H, W, 3)`` RGB, uint8 or uint16.
        alpha: ``(H, W)`` of the same type, or None.
        metadata: ``icc_profile``, ``exif`` (with its prefix, upright, without a thumbnail), ``xmp``, ``photoshop`` (its
            resources, IPTC among them), ``comment``, ``text``, ``dpi``, ``tiff_compression``, ``lossless`` (of a WebP);
            any may be missing.
        remarks: what a user should know about how it was read.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def space(self) -> ColorSpace | None:
        """The color space of the pixels; None for sRGB, and where the profile cannot be used."""
        try:
            return space_of(self.metadata.get("icc_profile"))
        except ValueError:  # for which reading adds a remark
            return None

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and of alpha."""
        return self.pixels.nbytes + (0 if self.alpha is None else self.alpha.nbytes)

    def with_pixels(self, pixels: np.ndarray) -> "Photo":
        """The same photograph with other pixels of the same size."""
        return replace(self, pixels=pixels)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels ``(H, W, ...)`` turned upright by an EXIF orientation (1 to 8; anything else counts as 1)."""
    turned = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }.get(orientation, lambda a: a)(array)
    return np.ascontiguousarray(turned)
