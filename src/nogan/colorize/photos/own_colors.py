"""Whether a photograph has colors already."""

import cv2
import numpy as np

from nogan.colorize.pixels import to_uint8

SPREAD = 4.0
"""Root mean square, in levels of 255, of chroma about its tone's mean, from which a photograph counts as colored.

Of 246 color photographs 95 % have more; faded sepia prints (drawn: uneven fading, grain, JPEG) have up to 2.9.
"""

_SIDE, _TONES = 128, 12


def has_colors(pixels: np.ndarray) -> bool:
    """Whether ``(H, W)`` or ``(H, W, 3)`` has colors of its own, beyond the tint of sepia, toning and yellowed paper.

    A tint depends on the tone alone: so chroma is compared with the mean chroma of pixels that are as light.
    """
    if pixels.ndim == 2:
        return False
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # which averages grain and the noise of JPEG
    ycc = cv2.cvtColor(to_uint8(small).astype(np.float32), cv2.COLOR_RGB2YCrCb).reshape(-1, 3)
    tone = np.minimum((ycc[:, 0] * (_TONES / 256)).astype(int), _TONES - 1)
    count = np.maximum(np.bincount(tone, minlength=_TONES), 1)
    spread = 0.0
    for chroma in (ycc[:, 1], ycc[:, 2]):
        means = np.bincount(tone, chroma, minlength=_TONES) / count
        spread += float(np.mean((chroma - means[tone]) ** 2))
    return spread**0.5 > SPREAD
