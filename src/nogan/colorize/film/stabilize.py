"""Steadier color in film: each frame's chroma is averaged with the past chroma, carried along by the motion.

The method is that of blind temporal consistency (Bonneel et al., "Blind Video Temporal Consistency", SIGGRAPH Asia
2015): the processed frame is pulled towards the previous *result*, warped by the motion of the unprocessed film, as far
as the warped unprocessed frame matches the current one. Here it acts on chroma alone and in closed form, as a recursive
average per pixel; the motion is that of :mod:`nogan.colorize.film.flicker`. Luma is never touched, so that nothing
gets soft.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nogan.colorize.film.flicker import Motion, measure_motion, warp

PAST_WEIGHT = 0.85
"""Share of the past where the motion is certain: an average over about 1 / (1 - 0.85), or 7, frames."""

MATCH_SIGMA = 8.0
"""Gray levels by which the surroundings of a warped pixel may differ before its past counts for little."""

GRAIN_BLUR = 1.5
"""Sigma in pixels of the local mean in which frames are compared, so that film grain is no mismatch."""

CUT_MATCH = 0.35
"""Below this mean match a new shot has begun, and nothing of the past is used."""


@dataclass
class Stabilizer:
    """Holds the past of a film: the last gray frame and the last smoothed chroma."""

    gray: np.ndarray | None = None
    chroma: np.ndarray | None = None

    def smooth(self, square: np.ndarray, gray: np.ndarray) -> tuple[np.ndarray, Motion | None]:
        """Smooth the next frame.

        Args:
            square: the network's picture, RGB ``(S, S, 3)`` float32.
            gray: what the network was shown, ``(S, S)`` uint8.

        Returns:
            The picture with smoothed chroma and its own luma (RGB, not clipped), and the motion since the frame before
            (None for the first frame).
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
        """The past, for :meth:`restore`."""
        return {} if self.gray is None else {"gray": self.gray, "chroma": self.chroma}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on where :meth:`state` was taken."""
        self.gray, self.chroma = state.get("gray"), state.get("chroma")


def _match(now: np.ndarray, before: np.ndarray, motion: Motion) -> np.ndarray:
    """How far each pixel's past can be trusted, in [0, 1]."""
    difference = now.astype(np.float32) - warp(before, motion.flow).astype(np.float32)
    # Grain is gone from a local mean; what moved otherwise than measured, or is new, is not.
    energy = cv2.blur(cv2.GaussianBlur(difference, (0, 0), GRAIN_BLUR) ** 2, (5, 5))
    match = np.where(motion.visible, np.exp(-energy / (2 * MATCH_SIGMA**2)), 0).astype(np.float32)
    return match if match.mean() >= CUT_MATCH else np.zeros_like(match)
