"""Segments of a film on disk, and the state that an interrupted run needs to continue after the last whole one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nogan.colorize.composite import composite
from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.flicker import CDC_STEPS, FlickerMeter
from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.pictures import is_pattern, numbered
from nogan.colorize.film.reading import pts_of
from nogan.colorize.film.shots import FLASH_FRAMES, Kind, Scene
from nogan.colorize.film.stabilize import RADIUS, Smoothed, Stabilizer
from nogan.common.files import write_atomically
from nogan.common.lock import NAME as LOCK_NAME
from nogan.common.version import __version__

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Shown = Callable[["VideoFrame", np.ndarray | None], np.ndarray]

Colored = tuple["VideoFrame", np.ndarray | None]
"""A frame to encode, and the square with its chroma; None for its own."""
Files = Callable[[int, "Segment"], Sequence[Path]]

_STATE_NAME = "state.json"

CONTEXT = RADIUS + max(CDC_STEPS) + FLASH_FRAMES
"""Frames before a seam that are colored again when a run is continued: what is smoothed and measured behind it looks
back at most so far."""


@dataclass(frozen=True)
class SegmentEnd:
    """The end of a segment: what must be known to continue after it.

    Attributes:
        frames: number of frames up to here.
        last_duration: of the last frame, in ticks.
        recent: times of the last frames, no more than ``CONTEXT + 1``, in ticks.
        before: sums of the flicker before smoothing.
        after: and after it.
        damaged: number of frames whose picture was damaged.
    """

    frames: int
    last_duration: int
    recent: list[int]
    before: list[float]
    after: list[float]
    damaged: int


@dataclass(frozen=True)
class Segment:
    """A whole segment on disk.

    Attributes:
        reorder: the most places by which a packet of it is out of presentation order.
        first_pts: when its first frame is shown, in ticks.
        packets: how many it has.
        checksum: of the file.
        end: where the film stands behind it.
    """

    reorder: int
    first_pts: int
    packets: int
    checksum: str
    end: SegmentEnd


@dataclass
class State:
    """Progress of a film: the segments on disk, and everything that the next frame needs from the previous ones."""

    signature: str
    segments: list[Segment] = field(default_factory=list)
    stabilizer: Stabilizer[VideoFrame] | None = None
    scenes: Sequence[Scene] = ()
    frames: int = 0
    open_frames: int = 0
    damaged: int = 0
    torn: int = 0
    last_duration: int = 0
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=CONTEXT + 1))
    before: FlickerMeter = field(default_factory=FlickerMeter)
    after: FlickerMeter = field(default_factory=FlickerMeter)
    _shown: Shown | None = None
    _taken: int = 0
    _context: int = 0
    _scene: int = 0

    @classmethod
    def load(cls, work: Path, signature: str, files: Files | None = None) -> State:
        """The state in ``work`` if it has the same ``signature``; else a fresh one, and ``work`` is emptied.

        Segments are trusted as far as their files are the ones that were written; ``torn`` says how many are not.
        ``files`` gives the files of a segment, if that is not one in ``work``.
        """
        state = cls(signature)
        try:
            saved = json.loads((work / _STATE_NAME).read_text(encoding="utf-8"))
            if saved["signature"] == signature:
                segments = [Segment(**{**one, "end": SegmentEnd(**one["end"])}) for one in saved["segments"]]
                files = files or (lambda number, _: [segment_path(work, number)])
                whole = [number for number, one in enumerate(segments) if _is_whole(files(number, one), one)]
                kept = next((n for n in range(len(segments)) if n not in set(whole)), len(segments))
                state.segments, state.torn = segments[:kept], len(segments) - kept
                if state.segments:
                    end = state.segments[-1].end
                    state.frames, state.last_duration, state.damaged = end.frames, end.last_duration, end.damaged
                    state.recent.extend(end.recent)
                return state
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no state, or a damaged one: start again
        for path in work.glob("*"):
            if path.name != LOCK_NAME:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return cls(signature)

    def save(self, work: Path) -> None:
        """Record on disk that all segments are whole."""
        saved = {"signature": self.signature, "segments": [asdict(segment) for segment in self.segments]}
        write_atomically(work / _STATE_NAME, lambda path: path.write_text(json.dumps(saved), encoding="utf-8"))

    def start(
        self, stabilizer: Stabilizer[VideoFrame] | None, scenes: Sequence[Scene], shown: Shown
    ) -> tuple[int | None, int]:
        """Begin with the frames behind the segments; returns from where to decode.

        Args:
            stabilizer: smooths the frames; None for the network's own chroma.
            scenes: of the film.
            shown: gives what is measured of a frame with a square (:meth:`Encoding.shown`).

        Returns:
            The time in ticks behind which frames are wanted (None for all), and how many there are up to it. The first
            of them belong to the last segments; they are smoothed and measured again, and not written.
        """
        self.stabilizer, self.scenes, self._shown = stabilizer, scenes, shown
        wanted = CONTEXT if stabilizer is not None else max(CDC_STEPS)
        self._context = min(wanted, self.frames, max(len(self.recent) - 1, 0) if self.frames > CONTEXT else self.frames)
        self._taken = self.frames - self._context
        if self._taken == 0:
            return None, 0
        return self.recent[-1 - self._context], self._taken

    def take(self, frame: VideoFrame, gray: np.ndarray, square: np.ndarray) -> Iterator[Colored]:
        """Take the next frame; gives those to encode, each with its square, as far as they are done."""
        kind, begins = self._kind_of(self._taken)
        self._taken += 1
        if self.stabilizer is None:
            yield from self._done(Smoothed(frame, gray, square, square, None))
            return
        for smoothed in self.stabilizer.take(frame, gray, square, kind=kind, begins=begins):
            yield from self._done(smoothed)

    def keep(self, frame: VideoFrame) -> Iterator[Colored]:
        """Take the next frame, which stays as it is; gives those to encode, as :meth:`take` does."""
        self._taken += 1
        yield from self.finish()
        assert self._shown is not None
        shown = self._shown(frame, None)
        self.before.update(shown)
        if self.stabilizer is not None:
            self.after.update(shown)
        yield from self._counted(frame, None)

    def finish(self) -> Iterator[Colored]:
        """The frames to encode that were not done at the end of the film."""
        if self.stabilizer is not None:
            for smoothed in self.stabilizer.finish():
                yield from self._done(smoothed)

    def end_segment(self) -> SegmentEnd:
        """End the open segment after the last frame done."""
        self.open_frames = 0
        before, after = self.before.sums, self.after.sums
        return SegmentEnd(self.frames, self.last_duration, list(self.recent), before, after, self.damaged)

    def _done(self, smoothed: Smoothed[VideoFrame]) -> Iterator[Colored]:
        frame, motion = smoothed.tag, smoothed.motion
        assert self._shown is not None
        for meter, square in ((self.before, smoothed.square), (self.after, smoothed.smooth)):
            if self.stabilizer is not None:
                meter.update(self._shown(frame, square), motion, composite(square, smoothed.gray))
            elif meter is self.before:
                meter.update(self._shown(frame, square))
        yield from self._counted(frame, smoothed.smooth)

    def _counted(self, frame: VideoFrame, square: np.ndarray | None) -> Iterator[Colored]:
        """The frame, as one more that is done; nothing where it only gives the context of a run that goes on."""
        if self._context:
            self._context -= 1
            if not self._context:
                self.before.continue_from(self.segments[-1].end.before)
                self.after.continue_from(self.segments[-1].end.after)
            return
        self.frames, self.open_frames = self.frames + 1, self.open_frames + 1
        self.damaged += frame.is_corrupt
        self.last_duration = frame.duration
        self.recent.append(pts_of(frame))
        yield frame, square

    def _kind_of(self, number: int) -> tuple[Kind, bool]:
        """The kind of scene that frame ``number`` is in, and whether nothing before it counts."""
        while self._scene < len(self.scenes) and self.scenes[self._scene].end <= number:
            self._scene += 1
        if self._scene == len(self.scenes):
            return "shot", False
        scene = self.scenes[self._scene]
        before = self.scenes[self._scene - 1].kind if self._scene else "shot"
        return scene.kind, number == scene.first and "flash" not in (scene.kind, before)


class SegmentWriter:
    """Encodes the frames that it is called with into segments; a :class:`SegmentEnd` ends the open one."""

    def __init__(self, encoding: Encoding, state: State, work: Path) -> None:
        self._encoding, self._state, self._work = encoding, state, work
        self._open: tuple[OutputContainer, VideoStream] | None = None
        self._pts: list[int] = []
        self._first_pts = 0

    def __call__(self, item: Colored | SegmentEnd) -> None:
        """Take a frame with the square to encode it with, or the end of the segment."""
        if isinstance(item, SegmentEnd):
            self._mux(None)
            self.abandon()
            path = segment_path(self._work, len(self._state.segments))
            with path.open("rb+") as file:  # the state must not know of a segment that a power cut takes away
                os.fsync(file.fileno())
            order = {pts: rank for rank, pts in enumerate(sorted(self._pts))}
            reorder = max(place - order[pts] for place, pts in enumerate(self._pts))
            self._state.segments.append(Segment(reorder, self._first_pts, len(self._pts), checksum_of([path]), item))
            self._pts = []
            self._state.save(self._work)
            return
        if self._open is None:
            import av

            path = segment_path(self._work, len(self._state.segments))
            container = av.open(path, "w", format=segment_format(self._encoding.codec))
            self._open = container, self._encoding.add_stream(container)
            self._first_pts = pts_of(item[0])
        self._mux(self._encoding.colored(*item))

    def abandon(self) -> None:
        """Close the open segment as it is."""
        if self._open is not None:
            self._open[0].close()
            self._open = None

    def _mux(self, frame: VideoFrame | None) -> None:
        assert self._open is not None
        container, stream = self._open
        for packet in stream.encode(frame):
            self._pts.append(pts_of(packet))
            container.mux(packet)


def segment_path(work: Path, number: int) -> Path:
    """The file of segment ``number``, from 0."""
    return work / f"{number:05d}.segment"


def segment_format(codec: str) -> str:
    """The container of the segments: NUT, ffmpeg's own, which holds nearly all of its codecs; MOV for the others."""
    return "mov" if codec.startswith(("prores", "dnxhd")) else "nut"


def signature_of(source: Path, options: FilmOptions, scenes: Sequence[Scene], references: Sequence[str] = ()) -> str:
    """Source, settings and digests of references, by which a run knows whether it may continue an earlier one's."""
    files = numbered(source).files if is_pattern(source) else [source]
    states = [(status.st_size, status.st_mtime_ns) for status in (path.stat() for path in files)]
    left_out = ("batch_size", "segment_frames", "scenes", "audio", "reference")
    settings = {key: value for key, value in asdict(options).items() if key not in left_out}
    digest = hashlib.blake2b(repr(states).encode()).hexdigest()[:32]
    return json.dumps(
        [__version__, str(source.resolve()), digest, settings, [asdict(scene) for scene in scenes], list(references)],
        default=str,
    )


def _is_whole(files: Sequence[Path], segment: Segment) -> bool:
    try:
        return checksum_of(files) == segment.checksum
    except OSError:
        return False


def checksum_of(files: Sequence[Path]) -> str:
    """Of the content of all files, one behind the other."""
    digest = hashlib.blake2b()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()[:32]
