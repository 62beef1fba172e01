"""Steadier color in film: the chroma of each frame is averaged with that of the frames around it, along the motion.

The idea is that of blind temporal consistency (Bonneel et al., "Blind Video Temporal Consistency", SIGGRAPH Asia 2015):
processed frames are pulled together along the motion of the *unprocessed* film, where that matches. Here it acts on
chroma alone, and in both directions: within a shot, a window of :data:`RADIUS` frames to each side is carried to the
frame in the middle. The motion between neighbors (:mod:`nogan.colorize.film.flicker`) is composed to that across the
window. Each pixel counts as far as the film itself looks the same there, once flicker of the light is taken out. Luma
stays as it is, so that the picture stays sharp.

A flash is left as it is and leads over: the frames on both sides are neighbors. In a dissolve the window is short, as
two pictures with two motions are mixed there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import cv2
import numpy as np

from nogan.colorize.film.flicker import Motion, checked, optical_flow, warp
from nogan.colorize.film.shots import Kind

Tag = TypeVar("Tag")

RADIUS = 14
"""Frames to each side that a frame is averaged with."""

DISSOLVE_RADIUS = 2

MATCH_SIGMA = 6.0
"""Difference in gray levels, around a pixel that was carried, at which its weight falls to 0.6 of the full one."""

GRAIN_BLUR = 1.5
"""Sigma in pixels of the blur under which frames are compared, so that film grain does not count as a mismatch."""

FINEST = 256
"""Side in px above which motion is measured at half the size: chroma has no finer detail."""


@dataclass
class _Entry(Generic[Tag]):
    """A frame in the window: what the network was shown and gave, and the motion to its neighbors."""

    tag: Tag
    gray: np.ndarray
    square: np.ndarray
    chroma: np.ndarray
    calm: np.ndarray  # gray without its grain, at the size of the motion
    smooth: np.ndarray  # the same in float32
    kind: Kind
    to_next: Motion | None = None  # where each of its pixels is in the next frame of the shot
    to_previous: Motion | None = None


@dataclass
class Smoothed(Generic[Tag]):
    """A frame that left the window.

    Attributes:
        tag: what it was handed in with.
        gray: what the network was shown.
        square: the network's picture.
        smooth: the same with smoothed chroma, RGB ``(S, S, 3)`` float32, not clipped.
        motion: from the previous frame of the shot, at the full size; None for the first one.
    """

    tag: Tag
    gray: np.ndarray
    square: np.ndarray
    smooth: np.ndarray
    motion: Motion | None


@dataclass
class Stabilizer(Generic[Tag]):
    """Smooths a film frame by frame, ``RADIUS`` frames behind; holds no more than two windows of frames.

    Attributes:
        strength: from 0, the network's own chroma, to 1, the average.
    """

    strength: float = 1.0
    _window: deque[_Entry[Tag]] = field(default_factory=deque)
    _emitted: int = 0  # how many at the left end of the window are done

    def take(self, tag: Tag, gray: np.ndarray, square: np.ndarray, *, kind: Kind, begins: bool) -> Iterator[Smoothed]:
        """Take the next frame; gives those that are done.

        Args:
            tag: comes back with the smoothed frame.
            gray: what the network was shown, ``(S, S)`` uint8.
            square: the network's picture, RGB ``(S, S, 3)`` float32.
            kind: of the scene that the frame is in.
            begins: whether a shot or a dissolve begins with it, and nothing before it counts.
        """
        if begins:
            yield from self.finish()
        entry = _entry(tag, gray, square, kind)
        previous = next((other for other in reversed(self._window) if other.kind != "flash"), None)
        if kind != "flash" and previous is not None:
            entry.to_previous, previous.to_next = _motions(entry.calm, previous.calm)
        self._window.append(entry)
        while len(self._window) - self._emitted > RADIUS:
            yield self._emit()

    def finish(self) -> Iterator[Smoothed]:
        """The frames that are still in the window; the next one begins a shot."""
        while self._emitted < len(self._window):
            yield self._emit()
        self._window.clear()
        self._emitted = 0

    def _emit(self) -> Smoothed:
        place = self._emitted
        entry = self._window[place]
        chroma = self._averaged(place) if self.strength and entry.kind != "flash" else entry.chroma
        luma = cv2.cvtColor(entry.square, cv2.COLOR_RGB2YUV)[..., :1]
        smooth = cv2.cvtColor(np.dstack([luma, chroma]), cv2.COLOR_YUV2RGB)
        motion = None if entry.to_previous is None else _enlarged(entry.to_previous, entry.gray.shape[0])
        self._emitted += 1
        if self._emitted > RADIUS:
            self._window.popleft()
            self._emitted -= 1
        return Smoothed(entry.tag, entry.gray, entry.square, smooth, motion)

    def _averaged(self, place: int) -> np.ndarray:
        entry = self._window[place]
        total = entry.chroma.copy()
        side = entry.gray.shape[0]
        weights = np.ones((side, side), np.float32)
        radius = DISSOLVE_RADIUS if entry.kind == "dissolve" else RADIUS
        for direction in (-1, 1):
            for other, motion in self._along(place, direction, radius):
                match = cv2.resize(similarity(entry.smooth, other.smooth, motion), (side, side))
                carried = warp(other.chroma, enlarged_flow(motion.flow, side))
                total += match[..., None] * carried
                weights += match
        average = total / weights[..., None]
        return entry.chroma + np.float32(self.strength) * (average - entry.chroma)

    def _along(self, place: int, direction: int, radius: int) -> Iterator[tuple[_Entry[Tag], Motion]]:
        """The frames to one side, each with the motion from the frame at ``place`` to it."""
        motion: Motion | None = None
        here, steps = self._window[place], 0
        while steps < radius:
            place += direction
            if not 0 <= place < len(self._window):
                return
            other = self._window[place]
            if other.kind == "flash":
                continue
            step = here.to_next if direction > 0 else here.to_previous
            if step is None:
                return
            motion = step if motion is None else _composed(motion, step)
            yield other, motion
            here, steps = other, steps + 1


def _entry(tag: Tag, gray: np.ndarray, square: np.ndarray, kind: Kind) -> _Entry[Tag]:
    square = np.ascontiguousarray(square, np.float32)
    side = gray.shape[0] // 2 if gray.shape[0] > FINEST else gray.shape[0]
    small = gray if side == gray.shape[0] else cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
    chroma = np.ascontiguousarray(cv2.cvtColor(square, cv2.COLOR_RGB2YUV)[..., 1:])
    smooth = cv2.GaussianBlur(small.astype(np.float32), (0, 0), GRAIN_BLUR)
    return _Entry(tag, gray, square, chroma, smooth.round().astype(np.uint8), smooth, kind)


def _motions(now: np.ndarray, before: np.ndarray) -> tuple[Motion, ...]:
    """The motion from ``now`` to ``before``, and the one from there to here; both frames without their grain.

    The test of the way there and back is a loose one: over many steps a strict one leaves nothing visible, and the
    match of the pictures decides anyway.
    """
    flow, there = optical_flow(now, before), optical_flow(before, now)
    return tuple(checked(*pair, share=0.05, pixels=4.0, beyond=1.0) for pair in ((flow, there), (there, flow)))


def _composed(first: Motion, second: Motion) -> Motion:
    """The motion along ``first`` and then along ``second``."""
    flow = first.flow + warp(second.flow, first.flow)
    visible = warp(second.visible.astype(np.float32), first.flow) > 0.99
    return Motion(flow, first.visible & visible)


def enlarged_flow(flow: np.ndarray, side: int) -> np.ndarray:
    """A flow ``(s, s, 2)`` at another size, ``(side, side, 2)``."""
    if flow.shape[0] == side:
        return flow
    return cv2.resize(flow, (side, side)) * np.float32(side / flow.shape[0])


def _enlarged(motion: Motion, side: int) -> Motion:
    if motion.flow.shape[0] == side:
        return motion
    visible = cv2.resize(motion.visible.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    return Motion(enlarged_flow(motion.flow, side), visible.astype(bool))


def similarity(now: np.ndarray, there: np.ndarray, motion: Motion) -> np.ndarray:
    """How far each pixel of another frame is the same as here, ``(H, W)`` in [0, 1]; the frames without grain."""
    carried = warp(there, motion.flow)
    difference = now - _relit(carried, now, motion.visible)
    energy = cv2.blur(difference * difference, (5, 5))
    return np.where(motion.visible, np.exp(energy * np.float32(-1 / (2 * MATCH_SIGMA**2))), 0).astype(np.float32)


def _relit(carried: np.ndarray, now: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """``carried`` in the light of ``now``: a gain and an offset for the whole frame, fitted where both agree best."""
    a, b, seen = carried[::4, ::4].ravel(), now[::4, ::4].ravel(), visible[::4, ::4].ravel()
    a, b = a[seen], b[seen]
    gain, offset = np.float32(1), np.float32(0)
    for _ in range(2):
        if len(a) < 32:
            break
        spread = float(a.var())
        gain = np.float32(np.clip(((a - a.mean()) * (b - b.mean())).mean() / spread if spread > 1 else 1, 0.6, 1.6))
        offset = np.float32(b.mean() - gain * a.mean())
        rest = np.abs(b - gain * a - offset)
        near = rest <= np.median(rest) * 2 + 1  # what moved by itself or was hidden tells nothing of the light
        a, b = a[near], b[near]
    return carried * gain + offset
