"""Segments of a film on disk, and the state that an interrupted run needs to continue after the last whole one."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nogan.colorize.composite import composite
from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.flicker import FlickerMeter
from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.reading import pts_of
from nogan.colorize.film.stabilize import Stabilizer
from nogan.common.files import write_atomically
from nogan.common.version import __version__

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_STATE_NAME = "state.npz"


@dataclass(frozen=True)
class SegmentEnd:
    """The end of a segment: what must be known to continue after it."""

    frames: int
    last_pts: int
    last_duration: int
    arrays: dict[str, np.ndarray]


class Segment(NamedTuple):
    """What joining needs to know of a segment."""

    reorder: int  # the most places by which a packet of it is out of presentation order
    first_pts: int


@dataclass
class State:
    """Progress of a film: the segments on disk, and everything that the next frame needs from the previous ones."""

    signature: str
    segments: list[Segment] = field(default_factory=list)
    frames: int = 0
    open_frames: int = 0
    last_pts: int | None = None
    last_duration: int = 0
    before: FlickerMeter = field(default_factory=FlickerMeter)
    after: FlickerMeter = field(default_factory=FlickerMeter)
    stabilizer: Stabilizer = field(default_factory=Stabilizer)

    @classmethod
    def load(cls, work: Path, signature: str) -> State:
        """The state in ``work`` if it has the same ``signature``; else a fresh one, and ``work`` is removed."""
        state = cls(signature)
        try:
            with np.load(work / _STATE_NAME) as stored:
                arrays = dict(stored)
            saved = json.loads(str(arrays.pop("json")))
            if saved["signature"] == signature:
                state.segments = [Segment(*segment) for segment in saved["segments"]]
                state.frames, state.last_pts = saved["frames"], saved["last_pts"]
                state.last_duration = saved["last_duration"]
                for name, part in state._parts().items():
                    part.restore({key.partition(".")[2]: a for key, a in arrays.items() if key.startswith(f"{name}.")})
                return state
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # no state, or a damaged one: start again
        shutil.rmtree(work, ignore_errors=True)
        return cls(signature)

    def save(self, work: Path, end: SegmentEnd) -> None:
        """Record on disk that all frames up to ``end`` are in whole segments."""
        saved = {
            "signature": self.signature,
            "segments": self.segments,
            "frames": end.frames,
            "last_pts": end.last_pts,
            "last_duration": end.last_duration,
        }
        arrays = {"json": np.array(json.dumps(saved)), **end.arrays}
        write_atomically(work / _STATE_NAME, lambda path: np.savez(path, allow_pickle=False, **arrays))

    def take(self, frame: VideoFrame, gray: np.ndarray, square: np.ndarray, stabilize: bool) -> np.ndarray:
        """Count, measure and (with ``stabilize``) smooth the next frame; returns the square to encode it with."""
        self.frames, self.open_frames = self.frames + 1, self.open_frames + 1
        self.last_pts, self.last_duration = pts_of(frame), frame.duration
        if not stabilize:
            self.before.update(composite(square, gray))
            return square
        smooth, motion = self.stabilizer.smooth(square, gray)
        self.before.update(composite(square, gray), motion)
        self.after.update(composite(smooth.clip(0, 1), gray), motion)
        return smooth

    def end_segment(self) -> SegmentEnd:
        """End the open segment after the last frame taken."""
        assert self.last_pts is not None  # a segment has at least one frame
        self.open_frames = 0
        parts = self._parts().items()
        arrays = {f"{name}.{key}": array for name, part in parts for key, array in part.state().items()}
        return SegmentEnd(self.frames, self.last_pts, self.last_duration, arrays)

    def _parts(self) -> dict[str, FlickerMeter | Stabilizer]:
        return {"before": self.before, "after": self.after, "stabilizer": self.stabilizer}


class SegmentWriter:
    """Encodes the frames that it is called with into segments; a :class:`SegmentEnd` ends the open one."""

    def __init__(self, encoding: Encoding, state: State, work: Path) -> None:
        self._encoding, self._state, self._work = encoding, state, work
        self._open: tuple[OutputContainer, VideoStream] | None = None
        self._pts: list[int] = []
        self._first_pts = 0

    def __call__(self, item: tuple[VideoFrame, np.ndarray] | SegmentEnd) -> None:
        """Take a frame with the square to encode it with, or the end of the segment."""
        if isinstance(item, SegmentEnd):
            self._mux(None)
            self.abandon()
            order = {pts: rank for rank, pts in enumerate(sorted(self._pts))}
            reorder = max(place - order[pts] for place, pts in enumerate(self._pts))
            self._state.segments.append(Segment(reorder, self._first_pts))
            self._pts = []
            self._state.save(self._work, item)
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


def signature_of(source: Path, options: FilmOptions) -> str:
    """Source and settings, which must be the same for a run to continue the segments of an earlier one."""
    status = source.stat()
    settings = {key: value for key, value in asdict(options).items() if key not in ("batch_size", "segment_frames")}
    return json.dumps([__version__, str(source.resolve()), status.st_size, status.st_mtime_ns, settings], default=str)
