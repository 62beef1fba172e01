"""Films that are written as numbered pictures, each whole or not at all."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.pictures import is_pattern, numbered, numbers_of
from nogan.colorize.film.reading import Film, pts_of
from nogan.colorize.film.segments import Colored, Segment, SegmentEnd, State, checksum_of
from nogan.common.files import write_atomically

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame


class Picture(NamedTuple):
    """How a kind of picture is written: ffmpeg's encoder, and its formats at 8 bits a channel and at more."""

    encoder: str
    usual: str
    deep: str


PICTURES = {
    ".png": Picture("png", "rgb24", "rgb48be"),
    ".tif": Picture("tiff", "rgb24", "rgb48le"),
    ".tiff": Picture("tiff", "rgb24", "rgb48le"),
    ".dpx": Picture("dpx", "gbrp10be", "gbrp10be"),
    ".jpg": Picture("mjpeg", "yuvj444p", "yuvj444p"),
    ".jpeg": Picture("mjpeg", "yuvj444p", "yuvj444p"),
}
"""Kinds of numbered pictures that films become, by suffix."""

SEGMENT_PICTURES = 25
"""Pictures after which the state is saved: what is done again after an interruption."""


class Sequence(NamedTuple):
    """Numbered pictures to write.

    Attributes:
        pattern: of their names.
        first: the number of the first.
    """

    pattern: Path
    first: int

    @classmethod
    def of(cls, film: Film, pattern: Path) -> Sequence:
        """For a film; numbered pictures keep their numbers, and others begin at 1."""
        if not is_pattern(film.path):
            return cls(pattern, 1)
        start = film.clip.start if film.clip is not None and film.clip.start else Fraction(0)
        return cls(pattern, numbered(film.path).first + ceil(start * film.rate))

    def path(self, place: int) -> Path:
        """The picture of frame ``place``, counted from 0."""
        return self.pattern.parent / (self.pattern.name % (self.first + place))

    def files(self, number: int, segment: Segment) -> list[Path]:
        """The pictures of a segment."""
        return [self.path(place) for place in range(segment.end.frames - segment.packets, segment.end.frames)]

    def left_over(self, frames: int) -> int:
        """How many pictures there are with other numbers than those of ``frames`` frames."""
        return sum(not self.first <= number < self.first + frames for number in numbers_of(self.pattern))


class PictureWriter:
    """Writes the frames that it is called with as pictures; a :class:`SegmentEnd` saves the state."""

    def __init__(self, encoding: Encoding, state: State, work: Path, sequence: Sequence) -> None:
        self._encoding, self._state, self._work, self._sequence = encoding, state, work, sequence
        self._place = state.frames
        self._open: list[Path] = []
        self._first_pts = 0
        self._encoder = encoding.picture_encoder()

    def __call__(self, item: Colored | SegmentEnd) -> None:
        """Take a frame with the square to encode it with, or the end of the segment."""
        if isinstance(item, SegmentEnd):
            segment = Segment(0, self._first_pts, len(self._open), checksum_of(self._open), item)
            self._state.segments.append(segment)
            self._open = []
            self._state.save(self._work)
            return
        if not self._open:
            self._first_pts = pts_of(item[0])
        path = self._sequence.path(self._place)
        content = encoded(self._encoder, self._encoding.colored(*item))
        write_atomically(path, lambda temporary: temporary.write_bytes(content), needed=len(content))
        self._open.append(path)
        self._place += 1

    def abandon(self) -> None:
        """Nothing is open."""


def encoded(encoder: VideoCodecContext, frame: VideoFrame) -> bytes:
    """A frame as a picture file."""
    return b"".join(bytes(packet) for packet in encoder.encode(frame))
