"""Steadier color in film: the chroma of each frame is averaged with that of earlier frames, moved along the motion.

The method is that of blind temporal consistency (Bonneel et al., "Blind Video Temporal Consistency", SIGGRAPH Asia
2015): each processed frame is pulled towards the previous *result*, warped by the motion of the unprocessed film, where
the warped unprocessed frame matches the current one. Here it acts on chroma alone and in closed form, as a recursive
average for each pixel; the motion is that of :mod:`nogan.colorize.film.flicker`. Luma stays as it is, so that the
picture stays sharp.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nogan.colorize.film.flicker import Motion, measure_motion, warp

PAST_WEIGHT = 0.85
"""Weight of the past where the motion is certain: an average over about 1 / (1 - 0.85), or 7, frames."""

MATCH_SIGMA = 8.0
"""Difference in gray levels, around a warped pixel, at which the weight of its past falls to 0.6 of the full one."""

GRAIN_BLUR = 1.5
"""Sigma in pixels of the blur under which frames are compared, so that film grain does not count as a mismatch."""

CUT_MATCH = 0.35
"""Mean match below which a new shot is assumed to begin, and the past is not used."""


@dataclass
class Stabilizer:
    """Smooths a film frame by frame; holds the previous gray frame and the previous smoothed chroma."""

    gray: np.ndarray | None = None
    chroma: np.ndarray | None = None

    def smooth(self, square: np.ndarray, gray: np.ndarray) -> tuple[np.ndarray, Motion | None]:
        """Smooth the next frame.

        Args:
            square: the network's picture, RGB ``(S, S, 3)`` float32.
            gray: what the network was shown, ``(S, S)`` uint8.

        Returns:
            The picture with smoothed chroma and its own luma (RGB, not clipped), and the motion since the previous
            frame (None for the first one).
        """
        yuv = cv2.cvtColor(np.ascontiguousarray(square, np.float32), cv2.COLOR_RGB2YUV)
        chroma, motion = yuv[..., 1:], None
        if self.gray is not None and self.chroma is not None:
            motion = measure_motion(gray, self.gray)
            weight = PAST_WEIGHT * _match(gray, self.gray, motion)[..., None]
            chroma = chroma + weight * (warp(self.chroma, motion.flow) - chroma)
        self.gray, self.chroma = gray, np.ascontiguousarray(chroma)
        return cv2.cvtColor(np.dstack([yuv[..., :1], self.chroma]), cv2.COLOR_YUV2RGB), motion

    def state(self) -> dict[str, np.ndarray]:
        """The previous frame and chroma, for :meth:`restore`."""
        return {} if self.gray is None or self.chroma is None else {"gray": self.gray, "chroma": self.chroma}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue where :meth:`state` was taken."""
        self.gray, self.chroma = state.get("gray"), state.get("chroma")


def _match(now: np.ndarray, before: np.ndarray, motion: Motion) -> np.ndarray:
    """How far the past of each pixel can be trusted, ``(H, W)`` in [0, 1]."""
    difference = now.astype(np.float32) - warp(before, motion.flow).astype(np.float32)
    # The blur removes grain, but not what is new or moved differently than measured.
    energy = cv2.blur(cv2.GaussianBlur(difference, (0, 0), GRAIN_BLUR) ** 2, (5, 5))
    match = np.where(motion.visible, np.exp(-energy / (2 * MATCH_SIGMA**2)), 0).astype(np.float32)
    return match if match.mean() >= CUT_MATCH else np.zeros_like(match)
