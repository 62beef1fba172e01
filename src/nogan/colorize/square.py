"""The square that the network sees: its size, which the render factor sets, and the gray picture in it."""

from typing import Literal

import numpy as np
from PIL import Image

from nogan.colorize.pixels import strips, to_uint8
from nogan.common.errors import UserError

RenderFactor = int | Literal["auto"]

PIXELS_PER_FACTOR = 16
MIN_RENDER_FACTOR, MAX_RENDER_FACTOR = 4, 100
PHOTO_RENDER_FACTOR, FILM_RENDER_FACTOR = 35, 21


def network_size(render_factor: RenderFactor) -> int:
    """Side of the network's square in pixels, 16 times the render factor.

    Raises:
        UserError: no whole number from 4 to 100.
    """
    if isinstance(render_factor, bool) or not isinstance(render_factor, int | np.integer):
        raise UserError(f"--render-factor {render_factor!r}: expected a whole number or 'auto'.")
    if not MIN_RENDER_FACTOR <= render_factor <= MAX_RENDER_FACTOR:
        raise UserError(
            f"--render-factor {render_factor}: expected {MIN_RENDER_FACTOR} to {MAX_RENDER_FACTOR} "
            f"(the network sees {PIXELS_PER_FACTOR} x this many pixels a side)."
        )
    return int(render_factor) * PIXELS_PER_FACTOR


def gray_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The network's input: ``(H, W)`` or ``(H, W, 3)`` of any type, stretched to ``(size, size)`` uint8 gray."""
    # Pillow gives the same result channel by channel, which saves a copy of the whole photograph.
    if pixels.ndim == 3 and _is_gray(pixels):
        pixels = pixels[..., 0]
    planes = [pixels] if pixels.ndim == 2 else [pixels[..., channel] for channel in range(3)]
    small = [
        Image.fromarray(np.ascontiguousarray(to_uint8(plane))).resize((size, size), Image.Resampling.BILINEAR)
        for plane in planes
    ]
    return np.asarray(small[0] if len(small) == 1 else Image.merge("RGB", small).convert("L"))


def _is_gray(pixels: np.ndarray) -> bool:
    """Whether the three channels are the same, as in most scans; of a photograph with colors one strip is looked at."""
    return all(
        np.array_equal(pixels[rows, :, 0], pixels[rows, :, 1])
        and np.array_equal(pixels[rows, :, 0], pixels[rows, :, 2])
        for rows in strips(pixels.shape)
    )
