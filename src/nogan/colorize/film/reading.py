"""Reading a film: its frames in order, from any position, with timestamps that rise even where the file's do not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nogan.colorize.film.clip import Clip, clock_time
from nogan.colorize.film.clock import Clock, Jump
from nogan.colorize.film.fields import deinterlaced
from nogan.colorize.film.pictures import DEFAULT_FPS, is_animated, is_pattern, numbered, unpacked_webp
from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MJPEG_SUFFIXES = frozenset({".mjpeg", ".mjpg"})

CLOCKLESS_SUFFIXES = _MJPEG_SUFFIXES | frozenset({".h264", ".264", ".hevc", ".h265", ".265"})
"""Files that do not know how many frames they have a second."""

END_TOLERANCE = Fraction(1, 2)
"""Seconds by which a film may be shorter than declared: headers count pauses of sound and subtitles differently."""

_CONTAINERS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf", "flv", "live_flv", "ogg", "mxf", "dv", "nut"),
    *("mpeg", "mpegts", "mpegvideo", "yuv4mpegpipe", "rm", "h264", "hevc", "mjpeg", "apng", "gif"),
)

ONLY = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "file"}
"""How a film is opened, whatever its name: to ffmpeg, playlists are films, too, and open other files and addresses."""

_DECLARING_FORMATS = frozenset({"matroska", "mov", "avi", "asf", "flv"})
"""Containers whose header declares a duration; elsewhere ffmpeg estimates it, from the file's end or its size."""


Told = Callable[[str, int, int | None], None]


def _tell_nobody(what: str, done: int, total: int | None) -> None:
    pass


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
        clip: the part of the film that is wanted, whose clock is that of all packets and frames; None for all of it.
        deinterlace: whether interlaced frames are made whole.
        told: called while the film is read before it is colored: with what is done, and how many frames of how many.
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
    clip: Clip | None = None
    deinterlace: bool = False
    told: Told = _tell_nobody
    remarks: list[str] = field(default_factory=list)
    _counted: bool = True  # whether `frames` is exact: packets without a time may be on either side of a clip's ends
    _unreliable: bool = False  # whether frames without a time were seen

    @property
    def first(self) -> VideoFrame:
        """The first frame, which shows size, pixel format and colors."""
        assert self.first_frame is not None
        return self.first_frame

    def opened(self) -> InputContainer:
        """The file, open for reading."""
        return open_container(self.path, self.fps)

    @property
    def origin(self) -> int:
        """When the film's first frame is shown, in ticks on the clock of its frames, also where a part begins later."""
        return pts_of(self.first) - self._shift

    @property
    def frame_ticks(self) -> int:
        """Usual duration of a frame in units of ``time_base``."""
        return max(1, round(1 / (self.rate * self.time_base)))

    @classmethod
    def open(
        cls,
        path: Path,
        fps: Fraction | None = None,
        *,
        start: Fraction | None = None,
        end: Fraction | None = None,
        deinterlace: bool = False,
    ) -> Film:
        """Read the header of a film, and decode its first frame.

        Args:
            path: a film, or numbered pictures (``frame_%04d.png``).
            fps: frames a second of numbered pictures and of files that do not know theirs.
            start: seconds since the first frame at which the part begins that is wanted; None for the beginning.
            end: and where it ends; None for the end.
            deinterlace: make interlaced frames whole.

        Raises:
            UserError: the file has no video, or cannot be read, or the part ends before it begins.
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
                origin = 0 if "matroska" in names else container.start_time or 0
                film.declared_end = Fraction(origin + container.duration, 1_000_000)
            others = [s for s in container.streams if s.index != stream.index]
            left_out = [s.type for s in others if not is_copied(s) and "timecode" not in s.metadata]
            if "mov" in names and container.chapters() and "data" in left_out:
                left_out.remove("data")  # QuickTime keeps chapters in a stream
            if left_out:
                film.remarks.append(f"not copied: {', '.join(sorted(set(left_out)))} streams")
            film.first_frame = next(film._frames(container), None)
        if film.first_frame is None:
            raise UserError(f"{path}: not one frame of its video could be decoded.")
        if start is not None or end is not None:
            film.clip = Clip(pts_of(film.first_frame) * time_base, start, end)
        film.look_for_fields(deinterlace)
        return film

    def look_for_fields(self, deinterlace: bool) -> None:
        """Say whether the film is interlaced, by its first frame, and what becomes of that.

        Args:
            deinterlace: make whole frames of interlaced ones.
        """
        self.deinterlace = deinterlace and self.first.interlaced_frame
        if self.deinterlace:
            self.remarks.append(
                "interlaced footage: each frame was made whole from its fields (bwdif), which changes its luma; "
                "--deinterlace off keeps it"
            )
        elif self.first.interlaced_frame:
            self.remarks.append(
                "interlaced footage, colored and encoded as whole frames; --deinterlace auto gives better colors"
            )

    def scanned(self, container: InputContainer) -> Iterator[Packet]:
        """The packets of all streams on one clock; what they tell of the whole film is known at the end.

        Afterwards ``frames`` is the number of packets with a picture, and ``jumps`` and ``even`` are set.

        Raises:
            UserError: at the end, if the part that is wanted goes beyond it.
        """
        clock = self._clock(container)
        times, count, until = [], 0, Fraction(0)
        for packet in clock.lifted(container.demux()):
            if self.clip is not None:
                until = max(until, _end_of(packet))
            if not self._takes(packet):
                continue
            if packet.stream.index == self.stream_index and packet.size and not packet.is_discard:
                count += 1
                self.told("reading", count, self.frames)
                if packet.pts is not None:
                    times.append(packet.pts)
            yield packet
        if self.clip is not None and until:
            self.clip.check(self.path, until, END_TOLERANCE)
        self.frames, self.jumps = count or self.frames, tuple(clock.jumps)
        self._counted = self.clip is None or len(times) == count
        steps = np.diff(np.unique(np.array(times, np.int64)))
        self.even = len(steps) == 0 or bool((abs(steps - np.median(steps)) <= 1).all())
        for jump in self.jumps:
            if self.clip is not None and not self.clip.has(jump.at):
                continue
            at = jump.at if self.clip is None else jump.at - self.clip.shift
            ways = ("restarts", "earlier") if jump.by < 0 else ("jumps", "later")
            self.remarks.append(
                f"its clock {ways[0]} at {clock_time(at)} ({abs(float(jump.by)):.1f} s {ways[1]}); all that comes "
                "behind was joined there, without a gap"
            )

    def scan(self) -> None:
        """Read the whole film without decoding it, for what :meth:`scanned` tells."""
        with self.opened() as container:
            deque(self.scanned(container), maxlen=0)

    def watched(self, what: str, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """All frames, while ``told`` hears of how many there were; ``what`` says what for."""
        for done, frame in enumerate(frames, 1):
            self.told(what, done, self.frames)
            yield frame

    def packets(self, container: InputContainer) -> Iterator[Packet]:
        """The packets of all streams, with timestamps on one clock."""
        return filter(self._takes, self._clock(container).lifted(container.demux()))

    def chapters(self, container: InputContainer) -> list[Any]:
        """The chapters, as PyAV has them."""
        return container.chapters() if self.clip is None else self.clip.chapters(container.chapters())

    def lost(self, frames: int) -> int:
        """How many frames of the file could not be decoded, where ``frames`` could.

        Codecs that keep invisible frames in packets of their own, and interlaced film with a packet for each field,
        have more packets than frames; of these 0 is said.
        """
        uncounted = self.first.interlaced_frame or self.codec_name in ("vp8", "vp9", "av1") or not self._counted
        if self.frames is None or uncounted:
            return 0
        return max(self.frames - frames, 0)

    def decode(self, *, after: int | None, done: int) -> Generator[VideoFrame, None, None]:
        """Frames with strictly rising ``pts``.

        Args:
            after: only frames with a larger ``pts``; None for all.
            done: number of frames up to ``after``.
        """
        with self.opened() as container:
            begins = None if self.clip is None or self.clip.begins is None else self._ticks(self.clip.begins)
            wanted = begins if after is None else after + self._shift
            if wanted is None:
                yield from self._clipped(self._without_combs(container))
                return
            if not self.jumps and self._sought(container, wanted):  # a clock that jumps cannot be sought by
                frames = self._without_combs(container)
                first = next(frames, None)
                if first is not None and pts_of(first) <= wanted and not self._unreliable:
                    clipped = self._clipped(chain([first], frames))
                    yield from (frame for frame in clipped if after is None or pts_of(frame) > after)
                    return
        # Seeking does not work in this container: decoding from the start is slower, but always right.
        with self.opened() as again:
            yield from islice(self._clipped(self._without_combs(again)), done, None)

    def check_end(self, end: Fraction) -> None:
        """Add a remark if the last packet ends, at ``end`` seconds, well before the end that the header declares."""
        declared = self.declared_end
        if declared is not None and self.clip is not None:
            declared = min(declared, declared if self.clip.ends is None else self.clip.ends) - self.clip.shift
        if declared is not None and end < declared - END_TOLERANCE:
            self.remarks.append(
                f"it ends at {float(end):.1f} s, and its header declares {float(declared):.1f} s: "
                "the file seems to be truncated"
            )

    def _stream(self, container: InputContainer) -> VideoStream:
        return next(stream for stream in container.streams.video if stream.index == self.stream_index)

    @property
    def _shift(self) -> int:
        """Ticks by which the clip's clock is behind the file's."""
        return 0 if self.clip is None else self._ticks(self.clip.shift)

    def _ticks(self, seconds: Fraction) -> int:
        return round(seconds / self.time_base)

    def _sought(self, container: InputContainer, ticks: int) -> bool:
        """Go to a key frame at ``ticks`` or before; False where the container cannot."""
        import av

        try:
            container.seek(ticks, stream=self._stream(container), backward=True, any_frame=False)
        except av.FFmpegError:
            return False
        return True

    def _takes(self, packet: Packet) -> bool:
        return self.clip is None or is_cover(packet.stream) or self.clip.takes(packet)

    def _clipped(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        return frames if self.clip is None else self.clip.frames(frames, self.time_base)

    def _without_combs(self, container: InputContainer) -> Iterator[VideoFrame]:
        """The frames of the file, without combs if ``deinterlace`` is set."""
        frames = self._frames(container)
        return deinterlaced(frames, self.time_base) if self.deinterlace else frames

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
        packets = self._clock(container).lifted(container.demux()) if self.jumps else container.demux(stream)
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


def _end_of(packet: Packet) -> Fraction:
    """When what is in a packet has been shown, in seconds; 0 where it has no time."""
    ticks = packet.dts if packet.pts is None else packet.pts
    if not packet.size or ticks is None or not packet.time_base:
        return Fraction(0)
    return (ticks + (packet.duration or 0)) * packet.time_base


def pts_of(item: VideoFrame | Packet) -> int:
    """The presentation time of a frame from :class:`Film`, or of an encoded packet; both always have one."""
    assert item.pts is not None
    return item.pts


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
        # JPEGs one behind the other are a single picture to ffmpeg, unless it is told.
        known = "mjpeg" if path.suffix.lower() in _MJPEG_SUFFIXES else None
        return av.open(path, format=known, metadata_errors="replace", options=ONLY | rate)
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
