"""Pixels of photographs: conversions between their types, and full-size work in strips."""

from collections.abc import Iterator

import numpy as np

STRIP_PIXELS = 1 << 16
"""Full-size work is done in strips of about this many pixels: memory is bounded, and a strip stays in the cache."""


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of a picture of ``shape`` ``(H, W, ...)``, top to bottom, one for each strip."""
    height, width = shape[:2]
    step = strip_rows(width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def strip_rows(width: int) -> int:
    """Rows of a strip, except the last one, of a picture of this width."""
    return max(1, STRIP_PIXELS // width)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """uint8, uint16, or floating-point in [0, 1], to uint8 of the same shape; uint8 is returned as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    result = np.empty(pixels.shape, np.uint8)
    for rows in strips(pixels.shape):
        result[rows] = pixels[rows] >> 8 if pixels.dtype == np.uint16 else np.round(pixels[rows].clip(0, 1) * 255)
    return result


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """uint16, or floating-point in [0, 1], to float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(65535 if pixels.dtype == np.uint16 else 1)


def from_unit(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Floats, clipped to [0, 1], to uint16 or to a floating-point ``dtype``."""
    pixels = pixels.clip(0, 1)
    return np.round(pixels * 65535).astype(np.uint16) if dtype == np.uint16 else pixels.astype(dtype)
