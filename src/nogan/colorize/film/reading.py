"""Reading a film: its frames in order, from any place, whatever the file says of its times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

END_TOLERANCE = Fraction(1, 2)
"""Seconds by which a film may be shorter than declared: headers count pauses of sound and subtitles differently."""

_DECLARING_FORMATS = frozenset({"matroska", "mov", "avi", "asf", "flv"})
"""Containers whose header declares a duration; elsewhere ffmpeg estimates it, from the file's end or its size."""


@dataclass
class Film:
    """A source film: its video stream, and decoding it."""

    path: Path
    stream_index: int
    frames: int | None
    rate: Fraction
    time_base: Fraction
    first: VideoFrame
    aspect: Fraction | None
    declared_end: Fraction | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def frame_ticks(self) -> int:
        """Usual duration of a frame in units of ``time_base``."""
        return max(1, round(1 / (self.rate * self.time_base)))

    @classmethod
    def open(cls, path: Path) -> Film:
        """Look at a film and decode its first frame.

        Raises:
            UserError: for a source without video, or that cannot be read.
        """
        with open_container(path) as container:
            stream = _video_stream(container, path)
            rate = _frame_rate(stream)
            time_base = stream.time_base or 1 / rate
            frames = stream.frames or None
            if frames is None and (stream.duration or container.duration):
                seconds = stream.duration * time_base if stream.duration else Fraction(container.duration, 1_000_000)
                frames = round(seconds * rate) or None
            film = cls(path, stream.index, frames, rate, time_base, None, stream.sample_aspect_ratio)
            if container.duration and _DECLARING_FORMATS.intersection(container.format.name.split(",")):
                film.declared_end = Fraction((container.start_time or 0) + container.duration, 1_000_000)
            others = [s for s in container.streams if s.index != stream.index]
            left_out = [s.type for s in others if not is_copied(s)]
            if left_out:
                film.remarks.append(f"not copied: {', '.join(sorted(set(left_out)))} streams")
            film.first = next(film._frames(container), None)
        if film.first is None:
            raise UserError(f"{path}: not one frame of its video could be decoded.")
        if film.first.interlaced_frame:
            film.remarks.append(
                "interlaced footage, colored and encoded as whole frames; deinterlacing it first "
                "(ffmpeg -vf bwdif) gives better colors"
            )
        return film

    def decode(self, *, after: int | None, done: int) -> Iterator[VideoFrame]:
        """Frames with strictly rising ``pts``; behind ``after``, if that is given (``done`` frames came before)."""
        with open_container(self.path) as container:
            frames = self._frames(container)
            if after is not None:
                container.seek(after, stream=container.streams[self.stream_index], backward=True, any_frame=False)
                frames = self._frames(container)
                first = next(frames, None)
                if first is None or first.pts > after or self._unreliable:
                    # This container cannot be searched: decoding from the start is slower, and always right.
                    container.close()
                    with open_container(self.path) as again:
                        yield from islice(self._frames(again), done, None)
                    return
                yield from (frame for frame in frames if frame.pts > after)
                return
            yield from frames

    def samples(self, count: int = 5) -> list[np.ndarray]:
        """Gray pictures ``(H, W)`` uint8 from all over the film."""
        with open_container(self.path) as container:
            stream = container.streams[self.stream_index]
            length = stream.duration or round(Fraction(container.duration or 0, 1_000_000) / self.time_base)
            pictures = []
            for part in range(count if length else 1):
                wanted = (stream.start_time or 0) + length * (2 * part + 1) // (2 * count)
                if length:
                    container.seek(wanted, stream=stream)
                frame = None
                for frame in self._frames(container):  # a seek ends at the key frame before, or where it can
                    if frame.pts >= wanted or self._unreliable:
                        break
                if frame is not None:
                    gray = frame.to_ndarray(format="gray")
                    pictures.append(np.rot90(gray, quarter_turns(frame)).copy())
        return pictures

    def check_end(self, end: Fraction) -> None:
        """Remark it if everything in the film ends, at ``end`` seconds, well before what its header declares."""
        if self.declared_end is not None and end < self.declared_end - END_TOLERANCE:
            self.remarks.append(
                f"it ends at {float(end):.1f} s, and its header declares {float(self.declared_end):.1f} s: "
                "the file seems to be truncated"
            )

    def _frames(self, container: InputContainer) -> Iterator[VideoFrame]:
        import av

        stream = container.streams[self.stream_index]
        if not stream.codec_context.is_open:
            stream.thread_type = "AUTO"
        last, damaged = None, 0
        self._unreliable = False
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                damaged += 1
                continue
            for frame in frames:
                if frame.pts is None:
                    self._unreliable = True
                    frame.pts = 0 if last is None else last + self.frame_ticks
                elif last is not None and frame.pts <= last:
                    frame.pts = last + 1
                last = frame.pts
                frame.time_base = self.time_base
                yield frame
        if damaged:
            self.remarks.append(f"{damaged} damaged packets were skipped")


def open_container(path: Path) -> InputContainer:
    """Open a film with PyAV.

    Raises:
        UserError: for a file that is missing, empty, or no film.
    """
    import av

    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes).")
        return av.open(path, metadata_errors="replace")
    except av.error.InvalidDataError as error:
        raise UserError(f"{path}: no film that can be read (truncated, damaged, or something else).") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from error


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a picture that stands for the film, not the film."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def is_copied(stream: Stream) -> bool:
    """Whether a stream beside the video can go along as it is."""
    return stream.type == "attachment" or (stream.type in ("audio", "subtitle", "video") and bool(stream.codec_context))


def _frame_rate(stream: VideoStream) -> Fraction:
    """Frames a second; a rate that is no more than the clock's ticks, as some Matroska files have it, is none."""
    average = stream.average_rate
    if average and stream.time_base and average * stream.time_base > Fraction(9, 10):
        average = None
    return average or stream.guessed_rate or Fraction(25)


def quarter_turns(frame: VideoFrame) -> int:
    """Counter-clockwise quarter turns that bring a frame upright."""
    return round(frame.rotation / 90) % 4


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    pictures = [stream for stream in container.streams.video if not is_cover(stream)]
    if not pictures:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UserError(f"{path}: no video stream in it (found: {found}).")
    if pictures[0].codec_context is None:
        raise UserError(f"{path}: its video is in a format that this ffmpeg cannot decode.")
    return pictures[0]
