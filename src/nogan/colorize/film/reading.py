"""Reading a film: its frames in order, from any position, with timestamps that rise even where the file's do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nogan.colorize.film.clock import Clock, Jump
from nogan.colorize.film.pictures import DEFAULT_FPS, is_animated, is_pattern, numbered, unpacked_webp
from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CLOCKLESS_SUFFIXES = frozenset({".h264", ".264", ".mjpeg", ".mjpg"})
"""Files that do not know how many frames they have a second."""

END_TOLERANCE = Fraction(1, 2)
"""Seconds by which a film may be shorter than declared: headers count pauses of sound and subtitles differently."""

_CONTAINERS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf", "flv", "live_flv", "ogg", "mxf", "dv", "nut"),
    *("mpeg", "mpegts", "mpegvideo", "yuv4mpegpipe", "rm", "h264", "mjpeg", "apng", "gif"),
)

ONLY = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "file"}
"""How a film is opened, whatever its name: to ffmpeg, playlists are films, too, and open other files and addresses."""

_DECLARING_FORMATS = frozenset({"matroska", "mov", "avi", "asf", "flv"})
"""Containers whose header declares a duration; elsewhere ffmpeg estimates it, from the file's end or its size."""


@dataclass
class Film:
    """A source film, and the decoding of its video stream.

    Attributes:
        path: the file.
        stream_index: number of the video stream in it.
        frames: number of frames, from the header or else from duration and rate; None where both are missing.
        rate: frames a second.
        time_base: unit of timestamps in seconds.
        first_frame: the first frame; None only until :meth:`open` has decoded it.
        aspect: of a pixel, width to height; None where the file does not say.
        codec_name: ffmpeg's name of its codec.
        declared_end: seconds at which the header says that the film ends.
        jumps: where the file's clock restarts or jumps; known after :meth:`scanned`.
        even: whether all frames last equally long; known after :meth:`scanned`.
        fps: what the user says of its frames a second, where the file does not know.
        remarks: what a user should know.
    """

    path: Path
    stream_index: int
    frames: int | None
    rate: Fraction
    time_base: Fraction
    first_frame: VideoFrame | None
    aspect: Fraction | None
    codec_name: str = ""
    declared_end: Fraction | None = None
    jumps: tuple[Jump, ...] = ()
    even: bool = True
    fps: Fraction | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def first(self) -> VideoFrame:
        """The first frame, which shows size, pixel format and colors."""
        assert self.first_frame is not None
        return self.first_frame

    def opened(self) -> InputContainer:
        """The file, open for reading."""
        return open_container(self.path, self.fps)

    @property
    def frame_ticks(self) -> int:
        """Usual duration of a frame in units of ``time_base``."""
        return max(1, round(1 / (self.rate * self.time_base)))

    @classmethod
    def open(cls, path: Path, fps: Fraction | None = None) -> Film:
        """Read the header of a film, and decode its first frame.

        Args:
            path: a film, or numbered pictures (``frame_%04d.png``).
            fps: frames a second of numbered pictures and of files that do not know theirs.

        Raises:
            UserError: the file has no video, or cannot be read.
        """
        with open_container(path, fps) as container:
            stream = _video_stream(container, path)
            rate = _frame_rate(stream)
            time_base = stream.time_base or 1 / rate
            frames = stream.frames or None
            if frames is None and (stream.duration or container.duration):
                ticks, microseconds = stream.duration, container.duration or 0
                seconds = ticks * time_base if ticks else Fraction(microseconds, 1_000_000)
                frames = round(seconds * rate) or None
            film = cls(path, stream.index, frames, rate, time_base, None, stream.sample_aspect_ratio, fps=fps)
            film.codec_name = stream.codec_context.codec.canonical_name
            names = container.format.name.split(",")
            if container.duration and _DECLARING_FORMATS.intersection(names):
                # Matroska's duration counts from 0; the others' from the first packet.
                start = 0 if "matroska" in names else container.start_time or 0
                film.declared_end = Fraction(start + container.duration, 1_000_000)
            others = [s for s in container.streams if s.index != stream.index]
            left_out = [s.type for s in others if not is_copied(s) and "timecode" not in s.metadata]
            if "mov" in names and container.chapters() and "data" in left_out:
                left_out.remove("data")  # QuickTime keeps chapters in a stream
            if left_out:
                film.remarks.append(f"not copied: {', '.join(sorted(set(left_out)))} streams")
            film.first_frame = next(film._frames(container), None)
        if film.first_frame is None:
            raise UserError(f"{path}: not one frame of its video could be decoded.")
        if film.first_frame.interlaced_frame:
            film.remarks.append(
                "interlaced footage, colored and encoded as whole frames; deinterlacing it first "
                "(ffmpeg -vf bwdif) gives better colors"
            )
        return film

    def scanned(self, container: InputContainer) -> Iterator[Packet]:
        """The packets of all streams on one clock; what they tell of the whole film is known at the end.

        Afterwards ``frames`` is the number of packets with a picture, and ``jumps`` and ``even`` are set.
        """
        clock = self._clock(container)
        times, count = [], 0
        for packet in clock.lifted(container.demux()):
            if packet.stream.index == self.stream_index and packet.size and not packet.is_discard:
                count += 1
                if packet.pts is not None:
                    times.append(packet.pts)
            yield packet
        self.frames, self.jumps = count or self.frames, tuple(clock.jumps)
        steps = np.diff(np.unique(np.array(times, np.int64)))
        self.even = len(steps) == 0 or bool((abs(steps - np.median(steps)) <= 1).all())
        for jump in self.jumps:
            ways = ("restarts", "earlier") if jump.by < 0 else ("jumps", "later")
            self.remarks.append(
                f"its clock {ways[0]} at {clock_time(jump.at)} ({abs(float(jump.by)):.1f} s {ways[1]}); all that comes "
                "behind was joined there, without a gap"
            )

    def packets(self, container: InputContainer) -> Iterator[Packet]:
        """The packets of all streams, with timestamps on one clock."""
        return self._clock(container).lifted(container.demux())

    def lost(self, frames: int) -> int:
        """How many frames of the file could not be decoded, where ``frames`` could.

        Codecs that keep invisible frames in packets of their own, and interlaced film with a packet for each field,
        have more packets than frames; of these 0 is said.
        """
        if self.frames is None or self.first.interlaced_frame or self.codec_name in ("vp8", "vp9", "av1"):
            return 0
        return max(self.frames - frames, 0)

    def decode(self, *, after: int | None, done: int) -> Iterator[VideoFrame]:
        """Frames with strictly rising ``pts``.

        Args:
            after: only frames with a larger ``pts``; None for all.
            done: number of frames up to ``after``.
        """
        with self.opened() as container:
            if after is None:
                yield from self._frames(container)
                return
            if not self.jumps:  # otherwise the file's clock cannot be sought by
                container.seek(after, stream=self._stream(container), backward=True, any_frame=False)
                frames = self._frames(container)
                first = next(frames, None)
                if first is not None and pts_of(first) <= after and not self._unreliable:
                    yield from (frame for frame in frames if pts_of(frame) > after)
                    return
        # Seeking does not work in this container: decoding from the start is slower, but always right.
        with self.opened() as again:
            yield from islice(self._frames(again), done, None)

    def samples(self, count: int = 5) -> list[np.ndarray]:
        """Gray pictures ``(H, W)`` uint8, evenly spaced over the film."""
        with self.opened() as container:
            if self.jumps:
                return self._samples_by_number(container, count)
            stream = self._stream(container)
            length = stream.duration or round(Fraction(container.duration or 0, 1_000_000) / self.time_base)
            pictures = []
            for part in range(count if length else 1):
                wanted = (stream.start_time or 0) + length * (2 * part + 1) // (2 * count)
                if length:
                    container.seek(wanted, stream=stream)
                frame = None
                for frame in self._frames(container):  # seeking stops at the key frame before, if not earlier
                    if pts_of(frame) >= wanted or self._unreliable:
                        break
                if frame is not None:
                    pictures.append(_upright_gray(frame))
        return pictures

    def _samples_by_number(self, container: InputContainer, count: int) -> list[np.ndarray]:
        wanted = {(self.frames or 1) * (2 * part + 1) // (2 * count) for part in range(count)}
        frames = enumerate(self._frames(container))
        return [_upright_gray(frame) for number, frame in frames if number in wanted]

    def check_end(self, end: Fraction) -> None:
        """Add a remark if the last packet ends, at ``end`` seconds, well before the end that the header declares."""
        if self.declared_end is not None and end < self.declared_end - END_TOLERANCE:
            self.remarks.append(
                f"it ends at {float(end):.1f} s, and its header declares {float(self.declared_end):.1f} s: "
                "the file seems to be truncated"
            )

    def _stream(self, container: InputContainer) -> VideoStream:
        return next(stream for stream in container.streams.video if stream.index == self.stream_index)

    def _clock(self, container: InputContainer) -> Clock:
        import av

        return Clock(may_jump=bool(av.format.Flags(container.format.flags) & av.format.Flags.ts_discont))

    def _frames(self, container: InputContainer) -> Iterator[VideoFrame]:
        import av

        stream = self._stream(container)
        if not stream.codec_context.is_open:
            stream.thread_type = "AUTO"
        last: int | None = None
        damaged = 0
        self._unreliable = False
        packets = self.packets(container) if self.jumps else container.demux(stream)
        for packet in packets:
            if packet.stream.index != stream.index:
                continue
            try:
                frames = stream.decode(packet)
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


def pts_of(item: VideoFrame | Packet) -> int:
    """The presentation time of a frame from :class:`Film`, or of an encoded packet; both always have one."""
    assert item.pts is not None
    return item.pts


def clock_time(seconds: Fraction) -> str:
    """A time as a player shows it, such as 1:02:03.4."""
    tenths = round(float(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest // 10:02d}.{rest % 10}"


def _upright_gray(frame: VideoFrame) -> np.ndarray:
    return np.rot90(frame.to_ndarray(format="gray"), quarter_turns(frame)).copy()


def open_container(path: Path, fps: Fraction | None = None) -> InputContainer:
    """Open a film with PyAV.

    Args:
        path: a film, or numbered pictures (``frame_%04d.png``).
        fps: frames a second of numbered pictures, and of files that do not know theirs; None is 24, or ffmpeg's 25.

    Raises:
        UserError: the file is missing, empty, or not a film.
    """
    import av

    try:
        if is_pattern(path):
            options = {"framerate": str(fps or DEFAULT_FPS), "start_number": str(numbered(path).first)}
            return av.open(str(path), "r", format="image2", options=options | {"protocol_whitelist": "file"})
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes).")
        if is_animated(path) and path.suffix.lower() == ".webp":
            return av.open(unpacked_webp(path), "r", metadata_errors="replace")
        rate = {"framerate": str(fps)} if fps and path.suffix.lower() in CLOCKLESS_SUFFIXES else {}
        return av.open(path, metadata_errors="replace", options=ONLY | rate)
    except (av.error.InvalidDataError, av.error.ArgumentError) as error:
        raise UserError(f"{path}: not a film that can be read (truncated, damaged, or of another kind).") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from error


def is_cover(stream: Stream) -> bool:
    """Whether a stream is cover art: a single picture attached to the film."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def is_copied(stream: Stream) -> bool:
    """Whether a stream besides the video can be copied without encoding."""
    return stream.type == "attachment" or (stream.type in ("audio", "subtitle", "video") and bool(stream.codec_context))


def _frame_rate(stream: VideoStream) -> Fraction:
    """Frames a second. Some Matroska files give the ticks of their clock as the rate; such a rate is ignored."""
    average = stream.average_rate
    if average and stream.time_base and average * stream.time_base > Fraction(9, 10):
        average = None
    return average or stream.guessed_rate or Fraction(25)


def quarter_turns(frame: VideoFrame) -> int:
    """Counterclockwise quarter turns that bring a frame upright."""
    return round(frame.rotation / 90) % 4


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    pictures = [stream for stream in container.streams.video if not is_cover(stream)]
    if not pictures:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UserError(f"{path}: no video stream in it (found: {found}).")
    if pictures[0].codec_context is None:
        raise UserError(f"{path}: its video is in a format that this ffmpeg cannot decode.")
    return pictures[0]
