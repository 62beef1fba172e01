"""What a photograph is between its reading and its writing."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Photo:
    """A photograph, upright.

    Attributes:
        pixels: ``(H, W)`` gray or ``(H, W, 3)`` RGB, uint8 or uint16.
        alpha: ``(H, W)`` of the same type, or None.
        metadata: what goes along: ``icc_profile``, ``exif``, ``xmp``, ``iptc``, ``photoshop``, ``comment``, ``text``,
            ``dpi``, ``tiff_compression``.
        remarks: what a user should know about how it was read.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def with_pixels(self, pixels: np.ndarray) -> "Photo":
        """The same photograph with other pixels of the same size."""
        return replace(self, pixels=pixels)
