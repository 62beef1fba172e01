"""What a browser can show: it knows no TIFF and no HEIC, and needs no 50 megapixels."""

from pathlib import Path

import cv2
import numpy as np

from nogan.colorize.photos import Photo, read_photo, write_photo
from nogan.colorize.pixels import to_uint8

SIDE = 1600
"""Longer side of what is shown, px."""

QUALITY = 88


def show_photograph(source: Path, target: Path) -> Path:
    """Write a photograph as a JPEG that a browser shows, in its own color space, on white where it is transparent.

    Raises:
        UserError: it cannot be read.
    """
    photo = read_photo(source)
    pixels = _reduced(to_uint8(photo.pixels))
    if photo.alpha is not None:
        alpha = _reduced(to_uint8(photo.alpha)).astype(np.float32) / 255
        alpha = alpha if pixels.ndim == 2 else alpha[..., None]
        pixels = (pixels * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    profile = photo.metadata.get("icc_profile")
    write_photo(Photo(pixels, metadata={"icc_profile": profile} if profile else {}), target, quality=QUALITY)
    return target


def _reduced(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
