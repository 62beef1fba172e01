"""Colors of reference pictures, carried through their shot.

Two ways lead from a frame to a reference:

- *Motion*, for up to :data:`REACH` frames to both sides. The optical flow between neighbors
  (:mod:`nogan.colorize.film.flicker`) is composed to that to the reference, and what it has drifted is taken back at
  each frame, by the flow between the frame and the carried reference. It counts as far as the film looks the same
  there, once flicker of the light is taken out, and as the way there and back ends near the start.
- *Features* of the generator's own encoder, at any distance in the shot, where motion does not lead. Each cell of a
  frame takes the coarse chroma of the cells of the references that are most alike; the fine chroma stays the network's.
  It counts as far as the features are alike, the best cells agree in color, and the match is the best in both
  directions.

Where neither leads to a reference, the network's own color stays. Several references of a shot are weighted by
confidence and by distance in time. In a dissolve, motion leads to the references of both shots, each as far as the
mixture still looks like it.

Frames before a reference need the way back from it: :data:`REACH` frames at most are read ahead for that, and of each a
gray picture, its motion to the reference and a confidence are kept, 0.2 MB, so 33 MB in all, however long the shot is.
Likeness needs the features of two references before the frame and two behind it. That chroma is carried both by
motion and by matching features of a reference is the idea of Zhang et al., "Deep Exemplar-based Video Colorization",
arXiv:1906.09909, which matches features of a reference and carries chroma by both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.flicker import checked, optical_flow, warp
from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.reading import Film
from nogan.colorize.film.references import Reference, read_references
from nogan.colorize.film.stabilize import GRAIN_BLUR, enlarged_flow, similarity
from nogan.colorize.film.survey import Survey
from nogan.colorize.square import MIN_RENDER_FACTOR, network_size
from nogan.common.threads import read_ahead

if TYPE_CHECKING:
    from nogan.colorize.colorizer import Colorizer

SIDE = 192
"""Side in px at which motion is measured, or the network's if that is smaller."""

REACH = 150
"""Frames to each side of a reference through which motion is followed."""

NEAR = 12.0
"""Frames from a reference at which its weight against others is half of what it is beside it."""

LARGEST_DRIFT = 2.0
"""Pixels that the motion to a reference may be corrected by at one frame; more is no drift."""

FEATURE_SIDE = 256
"""Side in px of what the encoder is shown for its features, or the network's if that is smaller."""

NEIGHBORS = 4
SHARPNESS = 0.05
"""Nearest cells of the references that give a cell its color, and the likeness at which their weight falls to 1/e."""

UNLIKE, ALIKE = 0.45, 0.8
"""Likeness (cosine) of features at which matching begins to count, and at which it counts in full."""

AGREEMENT = 0.04
"""Deviation of U and V (in [0, 1]) among the nearest cells at which their weight falls to 0.6."""

MUTUAL = 2.0
"""Cells by which the way to the best match and back may end beside the start."""

AT_ONCE = 2
"""References before a frame, and behind it, whose colors it is given."""

_SURE = 0.98  # mean confidence of motion beyond which features change nothing that could be seen


@dataclass(frozen=True)
class Carried:
    """The way by motion from a frame to a reference.

    Attributes:
        reference: its place among the references.
        distance: in frames.
        flow: where each pixel of the frame is in the reference, ``(s, s, 2)`` float16.
        confidence: ``(s, s)`` uint8; 255 is sure.
    """

    reference: int
    distance: int
    flow: np.ndarray
    confidence: np.ndarray


class _Chain:
    """The motion from the frames that follow each other to a reference, where the chain begins."""

    def __init__(self, reference: int, gray: np.ndarray) -> None:
        self._reference, self._distance = reference, 0
        self._key, self._key_levels = _calm(gray)
        self._last = self._key_levels
        self._flow = np.zeros((*gray.shape, 2), np.float32)
        self._back = self._flow  # where each pixel of the reference is in the frame

    def here(self) -> Carried:
        """The reference itself."""
        return Carried(self._reference, 0, self._flow.astype(np.float16), np.full(self._key.shape, 255, np.uint8))

    def step(self, gray: np.ndarray) -> Carried:
        """Go on to the next frame, ``(s, s)`` uint8."""
        smooth, levels = _calm(gray)
        to_last, from_last = optical_flow(levels, self._last), optical_flow(self._last, levels)
        self._flow = _undrifted(levels, self._key_levels, to_last + warp(self._flow, to_last))
        self._back = _undrifted(self._key_levels, levels, self._back + warp(from_last, self._back))
        self._last, self._distance = levels, self._distance + 1
        motion = checked(self._flow, self._back, share=0.05, pixels=4.0, beyond=1.0)
        confidence = similarity(smooth, self._key, motion)
        return Carried(
            self._reference,
            self._distance,
            self._flow.astype(np.float16),
            (confidence * 255).round().astype(np.uint8),
        )


def _calm(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A gray picture without its grain, in float32 and in uint8."""
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), GRAIN_BLUR)
    return smooth, smooth.round().astype(np.uint8)


def _undrifted(now: np.ndarray, there: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``flow`` from one picture to another, corrected by that between the first and the second where it leads to."""
    rest = optical_flow(now, warp(there, flow))
    rest[np.hypot(rest[..., 0], rest[..., 1]) > LARGEST_DRIFT] = 0
    return rest + warp(flow, rest)


@dataclass(frozen=True)
class Key:
    """A reference and the frames that it may color.

    Attributes:
        place: of the reference among those of the film.
        frames: its shot and the dissolves beside it.
    """

    place: int
    frames: range


def follow(
    span: range, keys: Mapping[int, Key], flashes: Container[int], grays: Iterator[np.ndarray]
) -> Iterator[list[Carried] | None]:
    """The ways from each frame to the references before and behind it; None from a flash.

    Args:
        span: numbers of the frames.
        keys: references by the frames that they show.
        flashes: numbers of frames that no way leads through.
        grays: the frames, ``(s, s)`` uint8; more than one is taken before a reference, but no more than ``REACH``.
    """
    upcoming = deque(number for number in sorted(keys) if number in span)
    waiting: deque[np.ndarray] = deque()
    backward: dict[int, Carried] = {}
    forward: _Chain | None = None
    last = span.start
    for number in span:
        coming = upcoming[0] if upcoming else number
        if number < coming <= number + REACH and number in keys[coming].frames and not backward:
            waiting += islice(grays, coming - number + 1 - len(waiting))
            ahead = dict(enumerate(waiting, number))
            if coming in ahead:
                backward = _backward(keys[coming].place, coming, ahead, flashes)
        gray = waiting.popleft() if waiting else next(grays, None)
        if gray is None:
            return
        found = []
        if number in keys:
            forward, last = _Chain(keys[number].place, gray), number
            upcoming.popleft()
            found.append(forward.here())
        elif forward is not None and number - last <= REACH and number in keys[last].frames and number not in flashes:
            found.append(forward.step(gray))
        if number in backward:
            found.append(backward.pop(number))
        yield None if number in flashes else found


def _backward(place: int, key: int, grays: Mapping[int, np.ndarray], flashes: Container[int]) -> dict[int, Carried]:
    chain = _Chain(place, grays[key])
    numbers = (number for number in sorted(grays, reverse=True) if number < key and number not in flashes)
    return {number: chain.step(grays[number]) for number in numbers}


class Painter:
    """Gives the network's pictures the colors of references, frame by frame in the film's order."""

    def __init__(
        self,
        colorizer: Colorizer,
        film: Film,
        encoding: Encoding,
        survey: Survey,
        references: Sequence[Reference],
        side: int = SIDE,
    ) -> None:
        """Take the references of a film, which ``references`` names later.

        Args:
            colorizer: whose encoder gives the features, if it has one.
            film: is decoded once more, from the shot on in which the first frame is.
            encoding: gives the network's input.
            survey: of the film.
            references: in the film's order.
            side: of the pictures in which motion is measured, px.
        """
        self._colorizer, self._film, self._encoding, self._survey = colorizer, film, encoding, survey
        self.references, self._side = references, side
        self._ways: Generator[tuple[int, list[Carried] | None], None, None] | None = None
        self._keys = {one.frame: Key(place, survey.around(one.frame)) for place, one in enumerate(references)}
        self._shot: tuple[list[int], int] = [], 0  # the references that are in use, and the network's size
        self._colors: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of these: gray, and U and V
        self._features: Features | None = None

    @classmethod
    def of(
        cls,
        colorizer: Colorizer,
        film: Film,
        encoding: Encoding,
        survey: Survey,
        options: FilmOptions,
    ) -> Painter | None:
        """The painter for a run with ``options``; None without references.

        Remarks on ``film`` say what of the references a user should know.

        Raises:
            UserError: as :func:`~nogan.colorize.film.references.read_references`.
        """
        if options.reference is None:
            return None
        references = read_references(options.reference, film, survey, (encoding.width, encoding.height))
        if colorizer.features(np.zeros((network_size(MIN_RENDER_FACTOR),) * 2, np.uint8)) is None:
            film.remarks.append("the model gives no features: colors of references follow the motion only")
        side = SIDE if options.render_factor == "auto" else min(SIDE, network_size(options.render_factor))
        return cls(colorizer, film, encoding, survey, references, side)

    def close(self) -> None:
        """End the thread that reads ahead."""
        if self._ways is not None:
            self._ways.close()

    def paint(self, number: int, gray: np.ndarray, square: np.ndarray) -> np.ndarray:
        """The network's picture of frame ``number`` in the colors of its shot's references, if it has any.

        Args:
            number: rises from call to call.
            gray: what the network was shown, ``(S, S)`` uint8.
            square: the network's picture, RGB ``(S, S, 3)`` float32.

        Returns:
            RGB ``(S, S, 3)`` float32 with the network's luma; not clipped.
        """
        if self._ways is None:
            self._ways = read_ahead(self._all_ways(number), 4)
        ways: list[Carried] | None = None
        for reached, found in self._ways:
            if reached == number:
                ways = found
                break
        if ways is None:
            return square
        self._enter(number, len(square))
        yuv = cv2.cvtColor(np.ascontiguousarray(square, np.float32), cv2.COLOR_RGB2YUV)
        own = np.ascontiguousarray(yuv[..., 1:])
        carried, sure = self._by_motion(ways, len(square))
        dissolves = self._survey.stretches[self._survey.stretch_of(number)].dissolves
        if not dissolves and self._features is not None and sure.mean() < _SURE:
            features = self._features_of(gray)
            assert features is not None
            own = own + self._features.change(features, own)
        chroma = own + sure[..., None] * (carried - own)
        return cv2.cvtColor(np.dstack([yuv[..., :1], chroma]), cv2.COLOR_YUV2RGB)

    def _all_ways(self, number: int) -> Iterator[tuple[int, list[Carried] | None]]:
        """The ways from each frame to the references, from the shots of frame ``number`` on; None without any."""
        stretches = self._survey.stretches
        place = self._survey.joined(self._survey.stretch_of(number)).start
        frames = self._survey.frames_from(self._film, stretches[place].first)
        try:
            while place < len(stretches):
                joined = self._survey.joined(place)
                place = joined.stop
                span = range(stretches[joined.start].first, stretches[place - 1].end)
                own = islice(frames, len(span))
                if any(key in span for key in self._keys):
                    flashes = frozenset(number for one in joined for number in stretches[one].flashes)
                    grays = (self._encoding.gray(frame, self._side) for frame in own)
                    yield from enumerate(follow(span, self._keys, flashes, grays), span.start)
                else:
                    yield from ((reached, None) for reached, _ in enumerate(own, span.start))
        finally:
            frames.close()

    def _enter(self, number: int, size: int) -> None:
        """Read the references that may color frame ``number``, if they are others than before."""
        within = [(frame, key.place) for frame, key in self._keys.items() if number in key.frames]
        before = [place for frame, place in within if frame <= number]
        keys = before[-AT_ONCE:] + [place for frame, place in within if frame > number][:AT_ONCE]
        if self._shot == (keys, size):
            return
        self._shot = keys, size
        self._colors = {place: self.references[place].squares(size) for place in keys}
        found = [self._features_of(gray) for gray, _ in self._colors.values()]
        features = [one for one in found if one is not None]  # of all of them, or of none
        self._features = Features(features, [chroma for _, chroma in self._colors.values()]) if features else None

    def _features_of(self, gray: np.ndarray) -> np.ndarray | None:
        side = min(FEATURE_SIDE, len(gray))
        if side < len(gray):
            gray = cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
        return self._colorizer.features(gray)

    def _by_motion(self, ways: Sequence[Carried], size: int) -> tuple[np.ndarray, np.ndarray]:
        """U and V along the motion, ``(S, S, 2)``, and how sure they are, ``(S, S)`` in [0, 1]."""
        total = np.zeros((size, size, 2), np.float32)
        weights, unsure = np.zeros((size, size), np.float32), np.ones((size, size), np.float32)
        for way in ways:
            confidence = cv2.resize(way.confidence.astype(np.float32) / 255, (size, size))
            weight = confidence / (1 + way.distance / np.float32(NEAR))
            flow = enlarged_flow(way.flow.astype(np.float32), size)
            total += weight[..., None] * warp(self._colors[way.reference][1], flow)
            weights += weight
            unsure *= 1 - confidence
        return total / np.maximum(weights, 1e-6)[..., None], 1 - unsure


class Features:
    """The features of the references of a stretch, each cell with its chroma."""

    def __init__(self, features: Sequence[np.ndarray], chroma: Sequence[np.ndarray]) -> None:
        """Take features ``(h, w, C)`` of each reference, and its U and V ``(S, S, 2)``."""
        self._shape = features[0].shape[:2]
        cells = np.concatenate([one.reshape(-1, one.shape[-1]) for one in features])
        self._mean, self._scale = cells.mean(axis=0), cells.std(axis=0) + 1e-6
        self._cells = self._normalized(cells)
        self._chroma = np.concatenate([_cells_of(one, self._shape) for one in chroma])

    def change(self, features: np.ndarray, own: np.ndarray) -> np.ndarray:
        """What to add to U and V ``(S, S, 2)`` of a frame with ``features``: coarse, ``(S, S, 2)``."""
        likeness = self._normalized(features.reshape(-1, features.shape[-1])) @ self._cells.T
        best = np.argpartition(-likeness, NEIGHBORS, axis=1)[:, :NEIGHBORS]
        values = np.take_along_axis(likeness, best, axis=1)
        weights = np.exp((values - values.max(axis=1, keepdims=True)) / SHARPNESS)
        weights /= weights.sum(axis=1, keepdims=True)
        candidates = self._chroma[best]
        wanted = (weights[..., None] * candidates).sum(axis=1)
        spread = (weights[..., None] * (candidates - wanted[:, None]) ** 2).sum(axis=(1, 2))
        sure = ((values.max(axis=1) - UNLIKE) / (ALIKE - UNLIKE)).clip(0, 1)
        sure *= np.exp(-spread / (2 * AGREEMENT**2)) * self._is_mutual(likeness)
        change = sure[:, None] * (wanted - _cells_of(own, self._shape))
        return cv2.resize(change.reshape(*self._shape, 2).astype(np.float32), own.shape[1::-1])

    def _is_mutual(self, likeness: np.ndarray) -> np.ndarray:
        """Whether the best match of a cell's best match is that cell or near it."""
        back = likeness.argmax(axis=0)[likeness.argmax(axis=1)]
        width = self._shape[1]
        here = np.arange(len(likeness))
        return np.hypot(here % width - back % width, here // width - back // width) <= MUTUAL

    def _normalized(self, cells: np.ndarray) -> np.ndarray:
        cells = (cells - self._mean) / self._scale
        return cells / (np.linalg.norm(cells, axis=1, keepdims=True) + 1e-6)


def _cells_of(chroma: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mean of U and V ``(S, S, 2)`` in each cell, ``(h * w, 2)``."""
    return cv2.resize(chroma, shape[1::-1], interpolation=cv2.INTER_AREA).reshape(-1, 2)
