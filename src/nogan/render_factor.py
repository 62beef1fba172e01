"""``--render-factor auto``: several factors looked at, and combined by how far neighbouring factors agree.

What a network makes of a photograph changes with the size it is shown: small, it sees the whole and colours boldly but
coarsely; large, it sees the texture and loses the whole. A colour that it gives at one size only is a whim; one that it
gives at neighbouring sizes too is a finding. So the photograph is coloured at each of :data:`FACTORS`, and

1. the chroma planes are brought to one size;
2. each factor's disagreement at a pixel is its mean chroma distance to the next smaller and the next larger factor,
   averaged over the surroundings (a 24th of the side), and its weight there is ``exp(-disagreement / TOLERANCE)``;
3. weights also grow with the factor's colourfulness relative to the most colourful one: pale agreement is cheap;
4. the result is the weighted mean, its saturation brought back to the weighted mean saturation of its parts, for an
   average of colours that differ is grayer than any of them.

A film keeps one factor, lest it flicker: the one with the largest mean weight over frames from all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from nogan.colorizer import Colorizer

FACTORS = (8, 12, 18, 26, 38)
"""Each about 1.45 times the one before; together they take about twice the time of factor 35 alone."""

TOLERANCE = 0.03
"""Chroma distance (U and V in [-0.5, 0.5]) at which a factor's weight falls to 1/e."""

COLOURFULNESS_POWER = 0.5
"""Exponent of the relative colourfulness in a factor's weight."""

MAX_GAIN = 1.5
"""Limit on the saturation that is given back."""


def combined_squares(colorizer: Colorizer, pixels: np.ndarray) -> np.ndarray:
    """The network's picture of a photograph, combined from all factors.

    Args:
        colorizer: what colours.
        pixels: ``(H, W)`` or ``(H, W, 3)``, as in :meth:`nogan.colorizer.Colorizer.colorize_pixels`.

    Returns:
        RGB ``(S, S, 3)`` float32, S that of the largest factor. Its luma is that of the largest factor.
    """
    luma, chroma = _chroma_of_all(colorizer, pixels)
    weights = factor_weights(chroma)
    combined = (weights * chroma).sum(axis=0)
    wanted = (weights * np.linalg.norm(chroma, axis=-1, keepdims=True)).sum(axis=0).mean()
    gain = np.clip(wanted / max(np.linalg.norm(combined, axis=-1).mean(), 1e-6), 1, MAX_GAIN)
    yuv = np.dstack([luma, combined * np.float32(gain) + np.float32(0.5)])
    return cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB).clip(0, 1)


def best_factor(colorizer: Colorizer, pictures: Sequence[np.ndarray]) -> int:
    """The one factor for all ``pictures``: that with the largest mean weight."""
    means = [factor_weights(_chroma_of_all(colorizer, picture)[1]).mean(axis=(1, 2, 3)) for picture in pictures]
    return FACTORS[int(np.argmax(np.mean(means, axis=0)))] if means else FACTORS[len(FACTORS) // 2]


def factor_weights(chroma: np.ndarray) -> np.ndarray:
    """Chroma ``(F, S, S, 2)`` of F rising factors to their weights ``(F, S, S, 1)``, which sum to 1 at each pixel."""
    apart = np.linalg.norm(np.diff(chroma, axis=0), axis=-1)
    window = max(3, chroma.shape[1] // 24)
    apart = np.stack([cv2.blur(distance, (window, window)) for distance in apart])
    disagreement = np.concatenate([apart[:1], (apart[1:] + apart[:-1]) / 2, apart[-1:]])
    saturation = np.linalg.norm(chroma, axis=-1).mean(axis=(1, 2))
    colourfulness = (saturation / max(saturation.max(), 1e-6)) ** COLOURFULNESS_POWER
    weights = np.exp(-disagreement / TOLERANCE) * colourfulness[:, None, None] + 1e-6
    return (weights / weights.sum(axis=0))[..., None].astype(np.float32)


def _chroma_of_all(colorizer: Colorizer, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Y of the largest factor ``(S, S)``, and U and V of all factors at its size ``(F, S, S, 2)``."""
    yuv = [cv2.cvtColor(colorizer.squares([pixels], factor)[0], cv2.COLOR_RGB2YUV) for factor in FACTORS]
    side = yuv[-1].shape[0]
    chroma = [cv2.resize(picture[..., 1:] - 0.5, (side, side), interpolation=cv2.INTER_LINEAR) for picture in yuv]
    return yuv[-1][..., 0], np.stack(chroma)
