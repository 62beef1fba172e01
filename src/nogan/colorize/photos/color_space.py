"""The color spaces of photographs: what their values look like in sRGB, and sRGB's colors in their values.

Networks see and make sRGB. A photograph in another space (Adobe RGB, ProPhoto, a scanner's) is shown to them as sRGB
would hold it, and their colors are brought into its space before its own luma is joined with them. The color engine is
Little CMS, which imagecodecs brings; in floating point it is exact, while its tables for 16 bits are off by up to 150
of 65,535 in the shadows.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from nogan.colorize.pixels import strips, to_uint8

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_DATE = slice(24, 36)
_MADE = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)  # a fixed date, so that results are the same whenever they are made
SRGB = _SRGB.tobytes()[: _DATE.start] + _MADE + _SRGB.tobytes()[_DATE.stop :]

_SAME = 1.5 / 255  # profiles of sRGB itself differ by less, in any channel of any color


@dataclass(frozen=True)
class ColorSpace:
    """An RGB space other than sRGB.

    Attributes:
        profile: its ICC profile.
    """

    profile: bytes = field(repr=False)

    def shown(self, pixels: np.ndarray) -> np.ndarray:
        """What a network is to see of pixels in this space: gray ``(H, W)`` uint8, as sRGB would hold it.

        Args:
            pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16.
        """
        result = np.empty(pixels.shape[:2], np.uint8)
        source = ImageCms.ImageCmsProfile(io.BytesIO(self.profile))
        # 8 bits are enough for a network, and a tenth of the time.
        transform = ImageCms.buildTransform(source, _SRGB, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
        for rows in strips(pixels.shape):
            strip = Image.fromarray(to_uint8(pixels[rows])).convert("RGB")
            ImageCms.applyTransform(strip, transform, inPlace=True)
            result[rows] = np.asarray(strip.convert("L"))
        return result

    def from_srgb(self, rgb: np.ndarray) -> np.ndarray:
        """Colors ``(H, W, 3)`` float32 in [0, 1] of sRGB, in the values of this space."""
        return converted(rgb, SRGB, self.profile)


@lru_cache(maxsize=8)
def space_of(profile: bytes | None) -> ColorSpace | None:
    """The space of an RGB profile; None for sRGB, which is also what a photograph without a profile is in.

    Raises:
        ValueError: the profile is damaged, or leads only one way, as those of some scanners do.
    """
    if not profile:
        return None
    points = np.linspace(0, 1, 4, dtype=np.float32)
    colors = np.stack(np.meshgrid(points, points, points), axis=-1).reshape(1, -1, 3)
    found = converted(colors, SRGB, profile)
    back = converted(colors, profile, SRGB)
    if max(np.abs(found - colors).max(), np.abs(back - colors).max()) < _SAME:
        return None
    return ColorSpace(profile)


def gray_curve(profile: bytes, levels: int) -> np.ndarray:
    """What each of ``levels`` values of a gray profile is in sRGB: ``(levels,)`` floating-point in [0, 1].

    Raises:
        ValueError: the profile is damaged.
    """
    ramp = np.linspace(0, 1, levels, dtype=np.float32)[None]
    return converted(ramp, profile, SRGB, kind="gray")[0, :, 1]


def converted(values: np.ndarray, profile: bytes, into: bytes, *, kind: str = "rgb") -> np.ndarray:
    """Floating-point values in [0, 1] of one profile in those of another, which is one for RGB.

    Raises:
        ValueError: one of them is damaged, or does not lead that way.
    """
    import imagecodecs

    try:
        result = imagecodecs.cms_transform(
            np.ascontiguousarray(values),
            profile,
            into,
            colorspace=kind,
            outcolorspace="rgb",
            intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        )
    except (imagecodecs.CmsError, ValueError) as error:
        raise ValueError(f"the color profile cannot be used: {error}") from error
    return result.clip(0, 1)
