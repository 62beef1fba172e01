"""Segments of a film on disk, and what a run that was cut needs to go on behind the last whole one."""

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
from nogan.colorize.film.stabilize import Stabilizer
from nogan.common.files import write_atomically
from nogan.common.version import __version__

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame

_STATE_NAME = "state.npz"


@dataclass(frozen=True)
class Snapshot:
    """The end of a segment: what must be known to go on behind it."""

    frames: int
    last_pts: int
    last_duration: int
    arrays: dict[str, np.ndarray]


class Segment(NamedTuple):
    """What joining has to know of a segment: by how many places its packets are out of order, and where it begins."""

    reorder: int
    first_pts: int


@dataclass
class State:
    """Where a film stands: the segments on disk, and everything that the next frame needs of those before."""

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
        """The state that a run of the same ``signature`` left in ``work``, or a fresh one (and ``work`` is emptied)."""
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
            pass  # nothing there, or nothing whole: begin anew
        shutil.rmtree(work, ignore_errors=True)
        return cls(signature)

    def save(self, work: Path, snapshot: Snapshot) -> None:
        """Write down that everything up to ``snapshot`` is in whole segments."""
        saved = {
            "signature": self.signature,
            "segments": self.segments,
            "frames": snapshot.frames,
            "last_pts": snapshot.last_pts,
            "last_duration": snapshot.last_duration,
        }
        write_atomically(work / _STATE_NAME, lambda path: np.savez(path, json=json.dumps(saved), **snapshot.arrays))

    def take(self, frame: VideoFrame, gray: np.ndarray, square: np.ndarray, stabilize: bool) -> np.ndarray:
        """Count, measure and (if asked) smooth one frame; returns its final square."""
        self.frames, self.open_frames = self.frames + 1, self.open_frames + 1
        self.last_pts, self.last_duration = frame.pts, frame.duration
        if not stabilize:
            self.before.update(composite(square, gray))
            return square
        smooth, motion = self.stabilizer.smooth(square, gray)
        self.before.update(composite(square, gray), motion)
        self.after.update(composite(smooth.clip(0, 1), gray), motion)
        return smooth

    def snapshot(self) -> Snapshot:
        """End the open segment here."""
        self.open_frames = 0
        parts = self._parts().items()
        arrays = {f"{name}.{key}": array for name, part in parts for key, array in part.state().items()}
        return Snapshot(self.frames, self.last_pts, self.last_duration, arrays)

    def _parts(self) -> dict[str, FlickerMeter | Stabilizer]:
        return {"before": self.before, "after": self.after, "stabilizer": self.stabilizer}


class SegmentWriter:
    """Encodes what it is called with, in one segment until it is called with a snapshot, which ends it."""

    def __init__(self, encoding: Encoding, state: State, work: Path) -> None:
        self._encoding, self._state, self._work = encoding, state, work
        self._container: OutputContainer | None = None
        self._pts: list[int] = []

    def __call__(self, item: tuple[VideoFrame, np.ndarray] | Snapshot) -> None:
        """Take a frame and its final square, or the snapshot that ends the segment."""
        if isinstance(item, Snapshot):
            self._mux(None)
            self.abandon()
            order = {pts: rank for rank, pts in enumerate(sorted(self._pts))}
            reorder = max(place - order[pts] for place, pts in enumerate(self._pts))
            self._state.segments.append(Segment(reorder, self._first_pts))
            self._pts = []
            self._state.save(self._work, item)
            return
        if self._container is None:
            import av

            path = segment_path(self._work, len(self._state.segments))
            self._container = av.open(path, "w", format=segment_format(self._encoding.codec))
            self._stream = self._encoding.add_stream(self._container)
            self._first_pts = item[0].pts
        self._mux(self._encoding.colored(*item))

    def abandon(self) -> None:
        """Close the open segment as it is."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._pts.append(packet.pts)
            self._container.mux(packet)


def segment_path(work: Path, number: int) -> Path:
    """The file of segment ``number``, from 0."""
    return work / f"{number:05d}.segment"


def segment_format(codec: str) -> str:
    """The container of the segments: ffmpeg's own, which takes nearly all that its encoders give."""
    return "mov" if codec.startswith(("prores", "dnxhd")) else "nut"


def signature_of(source: Path, options: FilmOptions) -> str:
    """What must be the same for a run to go on with what an earlier one left."""
    status = source.stat()
    settings = {key: value for key, value in asdict(options).items() if key not in ("batch_size", "segment_frames")}
    return json.dumps([__version__, str(source.resolve()), status.st_size, status.st_mtime_ns, settings], default=str)
