"""Words on a picture: which half of a comparison is which."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ORIGINAL, COLORED = "original", "colorized"

_SHARE, _SMALLEST = 1 / 30, 10  # height of the words, of the picture's height, and the least one in px
_SHADE = 0.6  # of the box behind them


def label(pixels: np.ndarray, text: str) -> None:
    """Write ``text`` in white on a dark box into the lower left corner of ``pixels``, in place.

    Nothing is written where there is no room.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, integers or floating-point in [0, 1].
        text: a word or two.
    """
    words = _words(text, max(_SMALLEST, round(pixels.shape[0] * _SHARE)))
    height, width = words.shape
    if height > pixels.shape[0] // 6 or width > pixels.shape[1]:
        return
    top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    corner = pixels[-height:, :width]
    words = words if pixels.ndim == 2 else words[..., None]
    mixed = words * top + (1 - words) * (1 - _SHADE) * corner
    corner[...] = mixed.round() if top > 1 else mixed


def _words(text: str, size: int) -> np.ndarray:
    """The words as shares of white, ``(h, w)`` in [0, 1]."""
    font = ImageFont.load_default(size)
    _, top, _, bottom = font.getbbox("Hg" + text)  # with all heights and depths of letters
    margin = size // 3
    width = round(font.getlength(text)) + 2 * margin
    image = Image.new("L", (width, round(bottom - top) + 2 * margin))
    ImageDraw.Draw(image).text((margin, margin - top), text, fill=255, font=font)
    return np.asarray(image, np.float32) / 255
