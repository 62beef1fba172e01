"""``--render-factor auto``: several factors looked at, and combined by how far neighboring factors agree.

What a network makes of a photograph changes with the size it is shown: small, it sees the whole and colors boldly but
coarsely; large, it sees the texture and loses the whole; smaller than what it was trained on, it has little to say at
all. A color that it gives at one size only is a whim; one that it gives at neighboring sizes too is a finding. So the
photograph is colored at each of :func:`factors`, and

1. the chroma planes are brought to one size;
2. each factor's disagreement at a pixel is its mean chroma distance to the next smaller and the next larger factor,
   averaged over the surroundings (a 12th of the side), and its weight there is ``exp(-disagreement / TOLERANCE)``;
3. weights also grow with the factor's colorfulness relative to the most colorful one: pale agreement is cheap; and
   they are blurred, so that no seam shows where another factor takes over;
4. the result is the weighted mean, as saturated as the most colorful factor: an average of colors that differ is
   grayer than any of them, and which hue it is has been settled by then.

The constants were chosen on 46 photographs that its model was not trained on; ``benchmarks/render_factor.md`` has 20
others. A film keeps one factor, lest it flicker: the one with the largest mean weight over frames from all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from nogan.colorize.colorizer import MAX_RENDER_FACTOR, MIN_RENDER_FACTOR, PIXELS_PER_FACTOR

if TYPE_CHECKING:
    from nogan.colorize.colorizer import Colorizer

STEPS = 5
"""Factors looked at, each √2 times the one before; for a model of 192 px 3.6 times the pixels of factor 35."""

TOLERANCE = 0.002
"""Chroma distance (U and V in [-0.5, 0.5]) at which a factor's weight falls to 1/e."""

COLORFULNESS_POWER = 0.5
"""Exponent of the relative colorfulness in a factor's weight."""

MAX_GAIN = 1.5
"""Limit on the saturation that is given back."""


def factors(trained_size: int) -> tuple[int, ...]:
    """The factors for a model trained at ``trained_size`` px, rising from that size on: 12, 17, 24, 34, 48 for 192."""
    ladder = (round(trained_size / PIXELS_PER_FACTOR * 2 ** (step / 2)) for step in range(STEPS))
    return tuple(sorted({min(max(factor, MIN_RENDER_FACTOR), MAX_RENDER_FACTOR) for factor in ladder}))


def combined_squares(colorizer: Colorizer, pixels: np.ndarray) -> np.ndarray:
    """The network's picture of a photograph, combined from all factors.

    Args:
        colorizer: what colors.
        pixels: ``(H, W)`` or ``(H, W, 3)``, as in :meth:`nogan.colorize.colorizer.Colorizer.colorize_pixels`.

    Returns:
        RGB ``(S, S, 3)`` float32, S that of the largest factor. Its luma is that of the largest factor.
    """
    luma, chroma = _chroma_of_all(colorizer, pixels)
    combined = (factor_weights(chroma) * chroma).sum(axis=0)
    gain = np.clip(_saturation(chroma).max() / max(_saturation(combined), 1e-6), 1, MAX_GAIN)
    yuv = np.dstack([luma, combined * np.float32(gain) + np.float32(0.5)])
    return cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB).clip(0, 1)


def best_factor(colorizer: Colorizer, pictures: Sequence[np.ndarray]) -> int:
    """The one factor for all ``pictures``: that with the largest mean weight."""
    choice = factors(colorizer.trained_size)
    means = [factor_weights(_chroma_of_all(colorizer, picture)[1]).mean(axis=(1, 2, 3)) for picture in pictures]
    return choice[int(np.argmax(np.mean(means, axis=0)))] if means else choice[len(choice) // 2]


def factor_weights(chroma: np.ndarray) -> np.ndarray:
    """Chroma ``(F, S, S, 2)`` of F rising factors to their weights ``(F, S, S, 1)``, which sum to 1 at each pixel."""
    if len(chroma) == 1:
        return np.ones((*chroma.shape[:3], 1), np.float32)
    apart = np.linalg.norm(np.diff(chroma, axis=0), axis=-1)
    window = max(3, chroma.shape[1] // 12)
    apart = np.stack([cv2.blur(distance, (window, window)) for distance in apart])
    disagreement = np.concatenate([apart[:1], (apart[1:] + apart[:-1]) / 2, apart[-1:]])
    saturation = _saturation(chroma)
    colorfulness = (saturation / max(saturation.max(), 1e-6)) ** COLORFULNESS_POWER
    # The most agreed one has weight 1 at every place, however far from each other all of them are.
    weights = np.exp((disagreement.min(axis=0) - disagreement) / TOLERANCE) * colorfulness[:, None, None] + 1e-6
    weights = np.stack([cv2.GaussianBlur(w, (0, 0), window / 4) for w in weights / weights.sum(axis=0)])
    return (weights / weights.sum(axis=0))[..., None].astype(np.float32)


def _saturation(chroma: np.ndarray) -> np.ndarray:
    """The mean saturation of chroma ``(..., S, S, 2)``."""
    return np.linalg.norm(chroma, axis=-1).mean(axis=(-2, -1))


def _chroma_of_all(colorizer: Colorizer, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Y of the largest factor ``(S, S)``, and U and V of all factors at its size ``(F, S, S, 2)``."""
    squares = (colorizer.squares([pixels], factor)[0] for factor in factors(colorizer.trained_size))
    yuv = [cv2.cvtColor(square, cv2.COLOR_RGB2YUV) for square in squares]
    side = yuv[-1].shape[0]
    chroma = [cv2.resize(picture[..., 1:] - 0.5, (side, side), interpolation=cv2.INTER_LINEAR) for picture in yuv]
    return yuv[-1][..., 0], np.stack(chroma)
