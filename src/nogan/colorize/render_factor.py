"""``--render-factor auto``: the colors of several render factors, weighted by how far neighboring factors agree.

The size at which the network sees a photograph changes its colors: in a small square it sees the whole and colors
boldly but coarsely; in a large one it sees the texture and loses the whole; in one smaller than its training pictures
it hardly colors at all. A color that appears at a single size is likely wrong; one that appears at neighboring sizes,
too, is likely right. So the photograph is colorized at each of :func:`factors`, and

1. the chroma planes are brought to one size;
2. each factor's disagreement at a pixel is its mean chroma distance to the next smaller and the next larger factor,
   averaged over the surroundings (a 12th of the side), and its weight there is ``exp(-disagreement / TOLERANCE)``;
3. weights are blurred, so that no seam shows where another factor takes over;
4. the result is the weighted mean. It is paler than each of them where they disagree: dull rather than wrong.

The constants were chosen by the quality that agrees with the eye (experiments/eye.md): ``benchmarks/render_factor.md``
has the figures, also those of bolder ones.
All frames of a shot of film get one factor, because a change would flicker: the one with the largest mean weight on its
keyframe.
"""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from nogan.colorize.square import MAX_RENDER_FACTOR, MIN_RENDER_FACTOR, PIXELS_PER_FACTOR


class Squares(Protocol):
    """What this module needs of a :class:`nogan.colorize.colorizer.Colorizer`."""

    trained_size: int

    def squares(self, batch: Sequence[np.ndarray], render_factor: int) -> list[np.ndarray]:
        """The network's pictures of a batch, RGB ``(S, S, 3)`` float32 in [0, 1]."""
        ...


STEPS = 4
"""Number of factors, each √2 times the one before; they show a model of 192 px 1.8 times the pixels of factor 35."""

TOLERANCE = 0.05
"""Chroma distance (U and V in [-0.5, 0.5]) at which a factor's weight falls to 1/e."""


def factors(trained_size: int) -> tuple[int, ...]:
    """The factors for a model trained at ``trained_size`` px, from that size upwards: 12, 17, 24, 34 for 192."""
    ladder = (round(trained_size / PIXELS_PER_FACTOR * 2 ** (step / 2)) for step in range(STEPS))
    return tuple(sorted({min(max(factor, MIN_RENDER_FACTOR), MAX_RENDER_FACTOR) for factor in ladder}))


def combined_squares(colorizer: Squares, pixels: np.ndarray) -> np.ndarray:
    """The network's picture of a photograph, combined from all factors.

    Args:
        colorizer: runs the network.
        pixels: ``(H, W)`` or ``(H, W, 3)``, as in :meth:`nogan.colorize.colorizer.Colorizer.colorize_pixels`.

    Returns:
        RGB ``(S, S, 3)`` float32, S that of the largest factor. Its luma is that of the largest factor.
    """
    luma, chroma = _chroma_of_all(colorizer, pixels)
    combined = (factor_weights(chroma) * chroma).sum(axis=0)
    yuv = np.dstack([luma, combined + np.float32(0.5)])
    return cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB).clip(0, 1)


def best_factor(colorizer: Squares, pictures: Sequence[np.ndarray]) -> int:
    """One factor for all ``pictures``: the one with the largest mean weight."""
    choice = factors(colorizer.trained_size)
    means = [factor_weights(_chroma_of_all(colorizer, picture)[1]).mean(axis=(1, 2, 3)) for picture in pictures]
    return choice[int(np.argmax(np.mean(means, axis=0)))] if means else choice[len(choice) // 2]


def factor_weights(chroma: np.ndarray) -> np.ndarray:
    """Weights ``(F, S, S, 1)`` of F rising factors with chroma ``(F, S, S, 2)``; they sum to 1 at each pixel."""
    if len(chroma) == 1:
        return np.ones((*chroma.shape[:3], 1), np.float32)
    apart = np.linalg.norm(np.diff(chroma, axis=0), axis=-1)
    window = max(3, chroma.shape[1] // 12)
    apart = np.stack([cv2.blur(distance, (window, window)) for distance in apart])
    disagreement = np.concatenate([apart[:1], (apart[1:] + apart[:-1]) / 2, apart[-1:]])
    # Relative to the least disagreement at each pixel, so that some factor has weight 1 even where none agree.
    weights = np.exp((disagreement.min(axis=0) - disagreement) / TOLERANCE)
    weights = np.stack([cv2.GaussianBlur(w, (0, 0), window / 4) for w in weights / weights.sum(axis=0)])
    return (weights / weights.sum(axis=0))[..., None].astype(np.float32)


def _chroma_of_all(colorizer: Squares, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Y of the largest factor ``(S, S)``, and U and V of all factors at its size ``(F, S, S, 2)``."""
    squares = (colorizer.squares([pixels], factor)[0] for factor in factors(colorizer.trained_size))
    yuv = [cv2.cvtColor(square, cv2.COLOR_RGB2YUV) for square in squares]
    side = yuv[-1].shape[0]
    chroma = [cv2.resize(picture[..., 1:] - 0.5, (side, side), interpolation=cv2.INTER_LINEAR) for picture in yuv]
    return yuv[-1][..., 0], np.stack(chroma)
