"""Words on a picture: which half of a comparison is which."""

from functools import lru_cache

import numpy as np
from PIL import Image

ORIGINAL, COLORED = "original", "colorized"

_SHARE, _SMALLEST = 1 / 30, 10  # height of the words, of the picture's height, and the least one in px
_SHADE = 0.6  # of the box behind them


def label(pixels: np.ndarray, text: str, *, black: float = 0, white: float | None = None) -> tuple[int, int]:
    """Write ``text`` in white on a dark box into the lower left corner of ``pixels``, in place.

    Nothing is written where there is no room.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, integers or floating-point in [0, 1].
        text: a word or two.
        black: its level, 0 but for the luma of film.
        white: likewise; None is the largest value of the type.

    Returns:
        Height and width of the box in px; 0 and 0 without one.
    """
    words = _words(text, max(_SMALLEST, round(pixels.shape[0] * _SHARE)))
    height, width = words.shape
    if height > pixels.shape[0] // 6 or width > pixels.shape[1]:
        return 0, 0
    whole = np.issubdtype(pixels.dtype, np.integer)
    if white is None:
        white = np.iinfo(pixels.dtype).max if whole else 1
    corner = pixels[-height:, :width]
    words = words if pixels.ndim == 2 else words[..., None]
    mixed = words * white + (1 - words) * (black + (1 - _SHADE) * (corner - np.float32(black)))
    corner[...] = mixed.round() if whole else mixed
    return height, width


@lru_cache(maxsize=8)
def _words(text: str, size: int) -> np.ndarray:
    """The words as shares of white, ``(h, w)`` in [0, 1]."""
    from PIL import ImageDraw, ImageFont  # most results have no words on them

    font = ImageFont.load_default(size)
    _, top, _, bottom = font.getbbox("Hg" + text)  # with all heights and depths of letters
    margin = size // 3
    width = round(font.getlength(text)) + 2 * margin
    image = Image.new("L", (width, round(bottom - top) + 2 * margin))
    ImageDraw.Draw(image).text((margin, margin - top), text, fill=255, font=font)
    return np.asarray(image, np.float32) / 255
