"""What a user may change about the network's colors: saturation, tint, ranges of hues, and colors in the dark.

All of it acts on the chroma of the network's own picture, before that is brought to full size, and so costs nothing and
holds for photographs and film alike. Luma stays. Hues are angles of the color circle that image editors show: 0 is red,
60 yellow, 120 green, 180 cyan, 240 blue, 300 magenta.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from nogan.colorize.composite import room_for_chroma
from nogan.common.errors import UserError
from nogan.common.ycbcr import REC601

SOFT_EDGE = 15.0
"""Degrees outside a range of hues over which its factor fades out, so that no seam shows."""

SHADOWS_END = 1 / 3
"""Luma from which colors are as strong as the network made them, whatever ``shadows`` says."""


class HueLimit(NamedTuple):
    """A factor for the chroma of a range of hues, in degrees from ``low`` up to ``high``; 330 to 30 is around red."""

    low: float
    high: float
    factor: float


class Tint(NamedTuple):
    """A shift of all colors towards a hue in degrees, by ``amount`` levels of 255."""

    hue: float
    amount: float


@dataclass(frozen=True)
class Adjustments:
    """Changes to the network's colors; the default changes nothing.

    Attributes:
        saturation: factor of all chroma.
        tint: a shift of all colors, or None; black and white stay.
        hue_limits: factors for ranges of hues, which multiply where ranges overlap.
        shadows: factor of chroma in black, which rises to 1 at a third of white.

    Raises:
        UserError: a factor below 0, or an angle outside 0 to 360.
    """

    saturation: float = 1.0
    tint: Tint | None = None
    hue_limits: tuple[HueLimit, ...] = ()
    shadows: float = 1.0

    def __post_init__(self) -> None:
        angles = [angle for limit in self.hue_limits for angle in limit[:2]] + ([self.tint.hue] if self.tint else [])
        for angle in angles:
            if not 0 <= angle <= 360:
                raise UserError(f"a hue of {angle:g}: expected 0 to 360 degrees (--hue-limit, --tint).")
        for flag, factor in (
            ("--saturation", self.saturation),
            ("--shadows", self.shadows),
            *(("--hue-limit", limit.factor) for limit in self.hue_limits),
            *([("--tint", self.tint.amount)] if self.tint else []),
        ):
            if not 0 <= factor < math.inf:
                raise UserError(f"{flag} {factor:g}: expected 0 or more.")

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Change the network's pictures ``(B, S, S, 3)`` float32 in [0, 1]; the result is in [0, 1], too."""
        return rgb if self == Adjustments() else np.stack([self._changed(picture) for picture in rgb])

    def _changed(self, rgb: np.ndarray) -> np.ndarray:
        luma = REC601.luma(rgb[..., 0], rgb[..., 1], rgb[..., 2])
        cb, cr = REC601.chroma(luma, rgb[..., 0], rgb[..., 2])
        factor = self.saturation * _dark(luma, self.shadows)
        if self.hue_limits:
            hue = cv2.cvtColor(np.ascontiguousarray(rgb, np.float32), cv2.COLOR_RGB2HSV)[..., 0]
            for limit in self.hue_limits:
                factor = factor * (1 + (limit.factor - 1) * _within(hue, limit))
        cb, cr = cb * factor, cr * factor
        if self.tint:
            strength = self.tint.amount / 255 * 4 * luma * (1 - luma)  # all in middle gray, none in black and white
            to_cb, to_cr = _direction(self.tint.hue)
            cb, cr = cb + strength * to_cb, cr + strength * to_cr
        room = room_for_chroma((cb, cr), (luma, luma), REC601)
        return np.stack(REC601.rgb(luma, room * cb, room * cr), axis=-1).clip(0, 1).astype(np.float32)


def _dark(luma: np.ndarray, factor: float) -> np.ndarray | float:
    """The factor of chroma at each luma, a smooth step from ``factor`` to 1."""
    if factor == 1:
        return 1.0
    step = (luma / SHADOWS_END).clip(0, 1)
    return factor + (1 - factor) * step**2 * (3 - 2 * step)


def _within(hue: np.ndarray, limit: HueLimit) -> np.ndarray:
    """1 for hues in the range, and less just outside it, down to 0."""
    width = (limit.high - limit.low) % 360 if limit.high - limit.low != 360 else 360
    middle = limit.low + width / 2
    apart = np.abs((hue - middle + 180) % 360 - 180) - width / 2
    return (1 - apart / SOFT_EDGE).clip(0, 1)


def _direction(hue: float) -> tuple[float, float]:
    """Cb and Cr, of length 1, in which the pure color of a hue lies."""
    red, green, blue = (np.array(value) for value in colorsys.hsv_to_rgb(hue / 360, 1, 1))
    cb, cr = (float(value) for value in REC601.chroma(REC601.luma(red, green, blue), red, blue))
    length = math.hypot(cb, cr)
    return cb / length, cr / length
