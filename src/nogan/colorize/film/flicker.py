"""How much a colorized film flickers: color distribution consistency (CDC) and warp error, in constant memory.

Motion is measured on the gray picture, which does not flicker, by Dense Inverse Search (Kroeger et al.,
"Fast Optical Flow using Dense Inverse Search", arXiv:1603.03590) as OpenCV implements it.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

CDC_STEPS = (1, 2, 4)
"""Distances in frames at which color distributions are compared."""

_BINS = 256


@dataclass(frozen=True)
class Flicker:
    """The flicker of a film. Lower is steadier; motion alone gives values above 0.

    Attributes:
        cdc: color distribution consistency for each step of :data:`CDC_STEPS` (a shorter film lacks it).
        warp_error: mean squared RGB difference (summed over the channels, RGB in [0, 1]) along the motion, or None
            where no motion was measured.
    """

    cdc: dict[int, float]
    warp_error: float | None


class FlickerMeter:
    """Measures a film frame by frame; keeps running sums and the last few frames only."""

    def __init__(self) -> None:
        self._histograms: deque[np.ndarray] = deque(maxlen=max(CDC_STEPS))
        self._before: np.ndarray | None = None
        self._divergence = np.zeros(len(CDC_STEPS))
        self._error, self._warped, self._frames = 0.0, 0, 0

    def update(self, rgb: np.ndarray, motion: "Motion | None" = None, moving: np.ndarray | None = None) -> None:
        """Add a frame.

        Args:
            rgb: ``(H, W, 3)`` uint8, always of one size.
            motion: from the previous frame to this one; without it the pair does not count in the warp error.
            moving: the same frame at the size of ``motion``, if that is another; each frame has one then.
        """
        histograms = channel_histograms(rgb)
        for index, step in enumerate(CDC_STEPS):
            if step <= len(self._histograms):
                self._divergence[index] += js_divergence(histograms, self._histograms[-step]).mean()
        self._histograms.append(histograms)
        moving = rgb if moving is None else moving
        if motion is not None and self._before is not None:
            self._error += warp_error(moving, self._before, motion)
            self._warped += 1
        self._before = moving
        self._frames += 1

    def result(self) -> Flicker:
        """The flicker of all frames so far."""
        pairs = [self._frames - step for step in CDC_STEPS]
        sums = zip(CDC_STEPS, self._divergence, pairs, strict=True)
        cdc = {step: float(total / count) for step, total, count in sums if count > 0}
        return Flicker(cdc, self._error / self._warped if self._warped else None)

    @property
    def sums(self) -> list[float]:
        """All that :meth:`result` needs, for :meth:`continue_from`."""
        return [*map(float, self._divergence), self._error, float(self._warped), float(self._frames)]

    def continue_from(self, sums: list[float]) -> None:
        """Take the sums of an earlier run; its last frames must have been added here before."""
        self._divergence = np.array(sums[: len(CDC_STEPS)])
        self._error, *counts = sums[len(CDC_STEPS) :]
        self._warped, self._frames = map(int, counts)


@dataclass(frozen=True)
class Motion:
    """Where each pixel of a frame was in the previous frame.

    Attributes:
        flow: ``(H, W, 2)`` float32, x and y in pixels: the pixel at p was at p + flow.
        visible: ``(H, W)`` bool: whether the pixel was inside the previous frame and not hidden there.
    """

    flow: np.ndarray
    visible: np.ndarray


def measure_motion(now: np.ndarray, before: np.ndarray) -> Motion:
    """Optical flow between two gray frames ``(H, W)`` uint8, checked in both directions.

    A pixel counts as visible where going there and back ends near the start, the test of Sundaram et al. ("Dense point
    trajectories by GPU-accelerated large displacement optical flow", ECCV 2010), and where it was inside the picture.
    """
    flow, there = optical_flow(now, before), optical_flow(before, now)
    return checked(flow, there, share=0.01, pixels=0.5, beyond=0)


def optical_flow(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Where each pixel of ``now`` was in ``before``, ``(H, W, 2)`` float32, not checked."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return search.calc(now, before, None)  # type: ignore[call-overload]  # None is missing in OpenCV's stubs


def checked(flow: np.ndarray, there: np.ndarray, *, share: float, pixels: float, beyond: float) -> Motion:
    """``flow`` with what it shows of; ``there`` is the flow in the other direction.

    A pixel is visible where going there and back ends within ``pixels``, and ``share`` of the way, both squared, and
    where it was no more than ``beyond`` pixels outside of the picture.
    """
    back = warp(there, flow)
    mismatch = np.sum((flow + back) ** 2, axis=-1)
    allowed = share * (np.sum(flow**2, axis=-1) + np.sum(back**2, axis=-1)) + pixels
    x, y = _positions(flow)
    height, width = flow.shape[:2]
    inside = (x >= -beyond) & (x <= width - 1 + beyond) & (y >= -beyond) & (y <= height - 1 + beyond)
    return Motion(flow, (mismatch < allowed) & inside)


def warp(before: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Move the pixels of the previous frame, ``(H, W)`` or ``(H, W, C)``, to where they are now (edges replicated)."""
    return cv2.remap(before, *_positions(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def warp_error(now: np.ndarray, before: np.ndarray, motion: Motion) -> float:
    """Mean over the visible pixels of the squared RGB difference along the motion; frames ``(H, W, 3)`` uint8.

    Source: Lai et al., "Learning Blind Video Temporal Consistency", arXiv:1808.00449 (flow there by FlowNet2).
    """
    if not motion.visible.any():
        return 0.0
    difference = now.astype(np.float32) - warp(before.astype(np.float32), motion.flow)
    return float(np.sum((difference[motion.visible] / 255) ** 2) / motion.visible.sum())


def channel_histograms(rgb: np.ndarray) -> np.ndarray:
    """Share of the pixels at each level: ``(H, W, 3)`` uint8 to ``(3, 256)``."""
    counts = [np.bincount(rgb[..., channel].ravel(), minlength=_BINS) for channel in range(3)]
    return np.array(counts, np.float64) / (rgb.shape[0] * rgb.shape[1])


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen–Shannon divergence in nats along the last axis; between 0 and log 2."""
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / middle), 0) + np.where(q > 0, q * np.log(q / middle), 0)
    return terms.sum(axis=-1) / 2


def flicker(frames: Iterable[np.ndarray]) -> Flicker:
    """CDC and warp error of a film given as RGB frames ``(H, W, 3)`` uint8.

    CDC is the mean over the channels, and over all pairs of frames ``step`` apart, of the Jensen–Shannon divergence of
    their histograms: Liu et al., "Temporally Consistent Video Colorization with Deep Feature Propagation and
    Self-regularization Learning", arXiv:2110.04562.
    """
    meter, gray_before = FlickerMeter(), None
    for frame in frames:
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        meter.update(frame, None if gray_before is None else measure_motion(gray, gray_before))
        gray_before = gray
    return meter.result()


def _positions(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]
