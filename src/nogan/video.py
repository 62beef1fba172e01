"""Film to colour with PyAV: decode, colour in batches and encode at once, nothing but packets ever on disk.

Frames stay in the film's own Y'CbCr: the luma plane goes through untouched, and only the chroma planes are written,
with the film's matrix and range. Encoding goes in segments of a few seconds (files of their own, in ``OUT.parts``), so
that a run that was cut goes on behind the last whole one; at the end the segments are joined without encoding again,
together with the sound, subtitles and chapters of the original.
"""

from __future__ import annotations

import heapq
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from nogan import __version__
from nogan.colorizer import FILM_RENDER_FACTOR, Colorizer, RenderFactor, gray_square, join_luma, network_size
from nogan.errors import UserError
from nogan.files import write_atomically
from nogan.flicker import Flicker, FlickerMeter
from nogan.pipeline import WriteBehind, read_ahead
from nogan.stabilize import Stabilizer

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

KEPT_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".ts", ".m2ts", ".mts"})
"""Containers that a film in a folder keeps; from the others it goes to ``.mkv``, which holds everything."""

FILM_SUFFIXES = KEPT_SUFFIXES | frozenset(
    {".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".mxf", ".vob", ".3gp", ".dv", ".m2v", ".asf", ".divx"}
)

SEGMENT_FRAMES = 250
SEGMENT_SECONDS = 120.0
"""A segment ends after so many frames (x264's own distance between key frames) or so much work, whichever is first."""

_KR_KB = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""Weights of red and blue in luma by ffmpeg's colour space number (ITU-T H.273); Rec. 601 for all others."""

_CONTAINER_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
_STREAM_TAGS = frozenset(
    {"encoder", "vendor_id", "handler_name", "duration", "bps", "number_of_frames", "number_of_bytes"}
)
"""Tags that describe the file they came from, not the film."""

_STATE_NAME = "state.npz"

_BT709, _SMPTE170M, _FULL_RANGE, _UNSPECIFIED = 1, 6, 2, (0, 2)


@dataclass(frozen=True)
class FilmOptions:
    """How a film is coloured and encoded.

    Attributes:
        render_factor: the network sees 16 x this many pixels a side; "auto" settles on one for the whole film.
        batch_size: frames in one pass of the network.
        codec: name of an ffmpeg encoder.
        crf: its constant quality; encoders without one ignore it.
        stabilize: smooth the chroma along the motion (:mod:`nogan.stabilize`).
        compare: original and result side by side.
        raw: the network's own picture, luma too.
        model: names what coloured the film, so that a resumed run is sure to go on with the same.
        segment_frames: frames in a segment.
    """

    render_factor: RenderFactor = FILM_RENDER_FACTOR
    batch_size: int = 1
    codec: str = "libx264"
    crf: int = 17
    stabilize: bool = False
    compare: bool = False
    raw: bool = False
    model: Any = None
    segment_frames: int = SEGMENT_FRAMES


@dataclass(frozen=True)
class FilmReport:
    """What came of a film.

    Attributes:
        target: the file written.
        frames: frames in it.
        resumed_at: frames that an earlier run had done.
        seconds: what this run took.
        remarks: what a user should know.
        before: flicker as the network coloured it, at the network's size.
        after: flicker after smoothing; None without it.
    """

    target: Path
    frames: int
    resumed_at: int
    seconds: float
    remarks: tuple[str, ...]
    before: Flicker
    after: Flicker | None

    def lines(self) -> list[str]:
        """The report as a user reads it."""
        rate = (self.frames - self.resumed_at) / max(self.seconds, 1e-9)
        resumed = f", {self.resumed_at} of them by an earlier run" if self.resumed_at else ""
        lines = [f"{self.target}: {self.frames} frames{resumed}, {rate:.1f} frames/s"]
        lines += [f"  note: {remark}" for remark in self.remarks]
        lines.append(f"  flicker of the colours: {_flicker_text(self.before)}")
        if self.after is not None:
            lines.append(f"  after smoothing:        {_flicker_text(self.after)}")
        return lines


def colorize_film(
    colorizer: Colorizer,
    source: Path,
    target: Path,
    options: FilmOptions | None = None,
    *,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> FilmReport:
    """Colour a film; run again after an interruption, it goes on behind the last whole segment.

    Args:
        colorizer: what colours it.
        source: any film that ffmpeg reads.
        target: its suffix names the container.
        options: see :class:`FilmOptions`.
        progress: called with frames done and frames in all (None if the film does not say).

    Raises:
        UserError: in one line, for a source without video or that cannot be read, a codec or container that does not
            do, or a place that cannot be written to.
    """
    import av

    options = options or FilmOptions()
    start = time.perf_counter()
    work = target.with_name(f"{target.name}.parts")
    try:
        film = _Film.open(source)
        if options.render_factor == "auto":
            from nogan.render_factor import best_factor

            options = replace(options, render_factor=best_factor(colorizer, film.samples()))
        network_size(options.render_factor)
        encoding = _Encoding.of(film, options)
        _check_container(film, encoding, target)
        state = _State.load(work, _signature(source, options))
        resumed_at = state.frames
        _colour_frames(colorizer, film, encoding, options, state, work, lambda done: progress(done, film.frames))
        if not state.segments:
            raise UserError(f"{source}: not one frame of its video could be decoded.")
        write_atomically(target, lambda temporary: _join(film, encoding, state, work, temporary))
    except av.FFmpegError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{error.filename or source}: {reason}.") from error
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}.") from error
    shutil.rmtree(work)
    return FilmReport(
        target,
        state.frames,
        resumed_at,
        time.perf_counter() - start,
        tuple(dict.fromkeys(film.remarks)),
        state.before.result(),
        state.after.result() if options.stabilize else None,
    )


def _colour_frames(
    colorizer: Colorizer,
    film: _Film,
    encoding: _Encoding,
    options: FilmOptions,
    state: _State,
    work: Path,
    progress: Callable[[int], None],
) -> None:
    """The pipeline: a thread decodes, this one runs the network and smooths, a third fills in chroma and encodes."""
    size = network_size(options.render_factor)
    work.mkdir(parents=True, exist_ok=True)
    writer = _SegmentWriter(encoding, state, work)
    deadline = time.monotonic() + SEGMENT_SECONDS
    frames = read_ahead(film.decode(after=state.last_pts, done=state.frames), 2 * options.batch_size)
    progress(state.frames)
    try:
        with WriteBehind(writer, 2 * options.batch_size) as output:
            while batch := list(islice(frames, options.batch_size)):
                grays = [encoding.gray(frame, size) for frame in batch]
                for frame, gray, square in zip(batch, grays, colorizer.predict(np.stack(grays)), strict=True):
                    output.put((frame, state.take(frame, gray, square, options.stabilize)))
                    if state.open_frames >= options.segment_frames or time.monotonic() > deadline:
                        deadline = time.monotonic() + SEGMENT_SECONDS
                        output.put(state.snapshot())
                progress(state.frames)
            if state.open_frames:
                output.put(state.snapshot())
    finally:
        frames.close()
        writer.abandon()


@dataclass
class _Film:
    """A source film: its video stream, and decoding it."""

    path: Path
    stream_index: int
    frames: int | None
    rate: Fraction
    time_base: Fraction
    first: VideoFrame
    aspect: Fraction | None
    remarks: list[str] = field(default_factory=list)

    @property
    def frame_ticks(self) -> int:
        """Usual duration of a frame in units of ``time_base``."""
        return max(1, round(1 / (self.rate * self.time_base)))

    @classmethod
    def open(cls, path: Path) -> _Film:
        with _open(path) as container:
            stream = _video_stream(container, path)
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            time_base = stream.time_base or 1 / rate
            frames = stream.frames or None
            if frames is None and (stream.duration or container.duration):
                seconds = stream.duration * time_base if stream.duration else Fraction(container.duration, 1_000_000)
                frames = int(seconds * rate) or None
            film = cls(path, stream.index, frames, rate, time_base, None, stream.sample_aspect_ratio)
            others = [s for s in container.streams if s.index != stream.index]
            left_out = [s.type for s in others if not _is_copied(s)]
            if left_out:
                film.remarks.append(f"not copied: {', '.join(sorted(set(left_out)))} streams")
            film.first = next(film._frames(container), None)
        if film.first is None:
            raise UserError(f"{path}: not one frame of its video could be decoded.")
        if film.first.interlaced_frame:
            film.remarks.append(
                "interlaced footage, coloured and encoded as whole frames; deinterlacing it first "
                "(ffmpeg -vf bwdif) gives better colours"
            )
        return film

    def decode(self, *, after: int | None, done: int) -> Iterator[VideoFrame]:
        """Frames with strictly rising ``pts``; behind ``after``, if that is given (``done`` frames came before)."""
        with _open(self.path) as container:
            frames = self._frames(container)
            if after is not None:
                container.seek(after, stream=container.streams[self.stream_index], backward=True, any_frame=False)
                frames = self._frames(container)
                first = next(frames, None)
                if first is None or first.pts > after or self._unreliable:
                    # This container cannot be searched: decoding from the start is slower, and always right.
                    container.close()
                    with _open(self.path) as again:
                        yield from islice(self._frames(again), done, None)
                    return
                yield from (frame for frame in frames if frame.pts > after)
                return
            yield from frames

    def samples(self, count: int = 5) -> list[np.ndarray]:
        """Gray pictures ``(H, W)`` uint8 from all over the film."""
        with _open(self.path) as container:
            stream = container.streams[self.stream_index]
            pictures = []
            for part in range(count):
                if stream.duration:
                    position = (stream.start_time or 0) + stream.duration * (2 * part + 1) // (2 * count)
                    container.seek(position, stream=stream)
                frame = next(self._frames(container), None)
                if frame is not None:
                    rgb = frame.to_ndarray(format="gray")
                    pictures.append(np.rot90(rgb, _quarter_turns(frame)).copy())
        return pictures

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


@dataclass(frozen=True)
class _Encoding:
    """The frames that are encoded: size, pixel format, colour description; and how to make them."""

    codec: str
    crf: int
    width: int
    height: int
    pixel_format: str
    depth: int
    matrix: int
    full_range: bool
    source_tags: tuple[int, int]
    aspect: Fraction | None
    turns: int
    time_base: Fraction
    rate: Fraction
    compare: bool
    raw: bool
    source_is_rgb: bool

    @classmethod
    def of(cls, film: _Film, options: FilmOptions) -> _Encoding:
        frame = film.first
        turns = _quarter_turns(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        planar = frame.format
        is_rgb = planar.is_rgb
        bits = max(component.bits for component in planar.components)
        depth = 10 if bits > 8 and options.codec != "libx264" else 8  # 10-bit H.264 plays nearly nowhere
        sampling = "444" if width % 2 or height % 2 else "420"
        matrix = int(frame.colorspace)
        if is_rgb or matrix in (0, 2):
            matrix = _BT709 if frame.height >= 720 else _SMPTE170M
        aspect = film.aspect or None
        return cls(
            codec=options.codec,
            crf=options.crf,
            width=width,
            height=height,
            pixel_format=f"yuv{sampling}p" + ("10le" if depth == 10 else ""),
            depth=depth,
            matrix=matrix,
            full_range=(int(frame.color_range) == _FULL_RANGE or planar.name.startswith("yuvj")) and not is_rgb,
            source_tags=(int(frame.color_primaries), int(frame.color_trc)),
            aspect=1 / aspect if aspect and turns % 2 else aspect,
            turns=turns,
            time_base=film.time_base,
            rate=film.rate,
            compare=options.compare,
            raw=options.raw,
            source_is_rgb=is_rgb,
        )

    def gray(self, frame: VideoFrame, size: int) -> np.ndarray:
        """What the network is shown: the luma, upright, full range, stretched to ``(size, size)`` uint8."""
        luma = np.rot90(_plane(self._working(frame), 0, self.depth), self.turns)
        if self.depth == 10:
            luma = (luma >> 2).astype(np.uint8)
        square = gray_square(np.ascontiguousarray(luma), size)
        if self.full_range:
            return square
        return ((square.astype(np.float32) - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)

    def coloured(self, frame: VideoFrame, square: np.ndarray) -> VideoFrame:
        """The frame to encode: upright, the film's luma, chroma of ``square`` (RGB ``(S, S, 3)`` float32)."""
        import av

        original = self._working(frame)
        shown = av.VideoFrame(2 * self.width if self.compare else self.width, self.height, self.pixel_format)
        shown.pts, shown.time_base = frame.pts, frame.time_base
        for index, values in enumerate(self._planes(square)):
            source = np.rot90(_plane(original, index, self.depth), self.turns)
            plane = _plane(shown, index, self.depth)
            if self.compare:
                plane[:, : source.shape[1]] = source
                plane = plane[:, source.shape[1] :]
            if values is None:
                plane[:] = source
            else:
                # Averaged where the film is smaller than the network's square, interpolated where it is larger.
                larger = plane.shape[0] >= values.shape[0] and plane.shape[1] >= values.shape[1]
                method = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
                plane[:] = cv2.resize(values, plane.shape[::-1], interpolation=method).round()
        return shown

    def add_stream(self, container: OutputContainer) -> VideoStream:
        """A video stream in ``container`` with this encoder."""
        stream = container.add_stream(self.codec, rate=self.rate, options={"crf": str(self.crf)})
        context = stream.codec_context
        stream.width, stream.height = 2 * self.width if self.compare else self.width, self.height
        stream.pix_fmt = self.pixel_format
        context.time_base = stream.time_base = self.time_base
        if self.aspect:
            context.sample_aspect_ratio = self.aspect
        self.describe_colour(stream)
        return stream

    def describe_colour(self, stream: VideoStream) -> None:
        """Tell players how to read the colours."""
        context = stream.codec_context
        context.color_range = 2 if self.full_range else 1
        context.colorspace = self.matrix
        primaries, transfer = self.source_tags
        if primaries not in _UNSPECIFIED:
            context.color_primaries = primaries
        if transfer not in _UNSPECIFIED:
            context.color_trc = transfer

    def _working(self, frame: VideoFrame) -> VideoFrame:
        """The frame in the encoder's pixel format, its luma values as they were (RGB gets the matrix chosen for it)."""
        both = {"src_color_range": "JPEG", "dst_color_range": "MPEG"} if self.source_is_rgb else {}
        if not self.source_is_rgb:
            side = "JPEG" if self.full_range else "MPEG"
            both = {"src_color_range": side, "dst_color_range": side}
        size = (self.height, self.width) if self.turns % 2 else (self.width, self.height)
        if frame.format.name == self.pixel_format and (frame.width, frame.height) == size:
            return frame
        return frame.reformat(*size, self.pixel_format, src_colorspace=self.matrix, dst_colorspace=self.matrix, **both)

    def _planes(self, square: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """Y (None: the film's own), Cb and Cr of the network's picture, in the film's levels, ``(S, S)`` float32."""
        kr, kb = _KR_KB.get(self.matrix, (0.299, 0.114))
        red, green, blue = square[..., 0], square[..., 1], square[..., 2]
        y = kr * red + (1 - kr - kb) * green + kb * blue
        cb, cr = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
        scale = 1 << (self.depth - 8)
        span, top = (255, 255) if self.full_range else (224, 240)
        low = 0 if self.full_range else 16
        chroma = [((128 + span * c).clip(low, top) * scale).astype(np.float32) for c in (cb, cr)]
        luma = ((low + (255 if self.full_range else 219) * y).clip(low, 235 if low else 255) * scale).astype(np.float32)
        return luma if self.raw else None, *chroma


@dataclass(frozen=True)
class _Snapshot:
    """The end of a segment: what must be known to go on behind it."""

    frames: int
    last_pts: int
    arrays: dict[str, np.ndarray]


class _Segment(NamedTuple):
    """What joining has to know of a segment: by how many places its packets are out of order, and where it begins."""

    reorder: int
    first_pts: int


@dataclass
class _State:
    """Where a film stands: the segments on disk, and everything that the next frame needs of those before."""

    signature: str
    segments: list[_Segment] = field(default_factory=list)
    frames: int = 0
    open_frames: int = 0
    last_pts: int | None = None
    before: FlickerMeter = field(default_factory=FlickerMeter)
    after: FlickerMeter = field(default_factory=FlickerMeter)
    stabilizer: Stabilizer = field(default_factory=Stabilizer)

    @classmethod
    def load(cls, work: Path, signature: str) -> _State:
        """The state that a run of the same ``signature`` left in ``work``, or a fresh one (and ``work`` is emptied)."""
        state = cls(signature)
        try:
            with np.load(work / _STATE_NAME) as stored:
                arrays = dict(stored)
            saved = json.loads(str(arrays.pop("json")))
            if saved["signature"] == signature:
                state.segments = [_Segment(*segment) for segment in saved["segments"]]
                state.frames, state.last_pts = saved["frames"], saved["last_pts"]
                for name, part in state._parts().items():
                    part.restore({key.partition(".")[2]: a for key, a in arrays.items() if key.startswith(f"{name}.")})
                return state
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # nothing there, or nothing whole: begin anew
        shutil.rmtree(work, ignore_errors=True)
        return cls(signature)

    def save(self, work: Path, snapshot: _Snapshot) -> None:
        """Write down that everything up to ``snapshot`` is in whole segments."""
        saved = {
            "signature": self.signature,
            "segments": self.segments,
            "frames": snapshot.frames,
            "last_pts": snapshot.last_pts,
        }
        write_atomically(work / _STATE_NAME, lambda path: np.savez(path, json=json.dumps(saved), **snapshot.arrays))

    def take(self, frame: VideoFrame, gray: np.ndarray, square: np.ndarray, stabilize: bool) -> np.ndarray:
        """Count, measure and (if asked) smooth one frame; returns its final square."""
        self.frames, self.open_frames, self.last_pts = self.frames + 1, self.open_frames + 1, frame.pts
        if not stabilize:
            self.before.update(join_luma(square, gray))
            return square
        smooth, motion = self.stabilizer.smooth(square, gray)
        self.before.update(join_luma(square, gray), motion)
        self.after.update(join_luma(smooth.clip(0, 1), gray), motion)
        return smooth

    def snapshot(self) -> _Snapshot:
        """End the open segment here."""
        self.open_frames = 0
        parts = self._parts().items()
        arrays = {f"{name}.{key}": array for name, part in parts for key, array in part.state().items()}
        return _Snapshot(self.frames, self.last_pts, arrays)

    def _parts(self) -> dict[str, FlickerMeter | Stabilizer]:
        return {"before": self.before, "after": self.after, "stabilizer": self.stabilizer}


class _SegmentWriter:
    """Encodes what it is called with, in one segment until it is called with a snapshot, which ends it."""

    def __init__(self, encoding: _Encoding, state: _State, work: Path) -> None:
        self._encoding, self._state, self._work = encoding, state, work
        self._container: OutputContainer | None = None
        self._pts: list[int] = []

    def __call__(self, item: tuple[VideoFrame, np.ndarray] | _Snapshot) -> None:
        if isinstance(item, _Snapshot):
            self._mux(None)
            self.abandon()
            order = {pts: rank for rank, pts in enumerate(sorted(self._pts))}
            reorder = max(place - order[pts] for place, pts in enumerate(self._pts))
            self._state.segments.append(_Segment(reorder, self._first_pts))
            self._pts = []
            self._state.save(self._work, item)
            return
        if self._container is None:
            import av

            self._container = av.open(_segment(self._work, len(self._state.segments)), "w", format="nut")
            self._stream = self._encoding.add_stream(self._container)
            self._first_pts = item[0].pts
        self._mux(self._encoding.coloured(*item))

    def abandon(self) -> None:
        """Close the open segment as it is."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._pts.append(packet.pts)
            self._container.mux(packet)


def _join(film: _Film, encoding: _Encoding, state: _State, work: Path, target: Path) -> None:
    """Put the segments and everything else of the source into one container."""
    import av

    with _open(film.path) as source, av.open(target, "w", options=_muxer_options(target, film.time_base)) as output:
        with av.open(_segment(work, 0)) as segment:
            video = output.add_stream_from_template(segment.streams.video[0])
        video.time_base = film.time_base
        encoding.describe_colour(video)
        _copy_description(source.streams[film.stream_index], video)
        copies = _add_copies(source, film.stream_index, output)
        others = (
            (_time_to_decode(packet), copies[packet.stream.index], packet)
            for packet in (source.demux([source.streams[index] for index in copies]) if copies else ())
            if packet.size  # an empty one marks the end
        )
        pictures = ((_time_to_decode(packet), video, packet) for packet in _joined_packets(film, state, work))
        for _, stream, packet in heapq.merge(pictures, others, key=lambda entry: entry[0]):
            packet.stream = stream
            output.mux(packet)


def _time_to_decode(packet: Packet) -> Fraction:
    """In seconds; the first packets of Matroska come without one, and cover art without any time."""
    if packet.pts is None and packet.dts is None:
        packet.pts = packet.dts = 0
    return (packet.pts if packet.dts is None else packet.dts) * packet.time_base


def _joined_packets(film: _Film, state: _State, work: Path) -> Iterator[Packet]:
    """The packets of all segments with the film's timestamps, and decoding times that rise across the seams.

    Each encoder started its decoding times anew. Here packet n of the whole film is decoded at the n-th smallest
    presentation time, moved back by as many frames as any packet is out of order, so that it is never late.
    """
    import av

    step = film.frame_ticks
    delay = max(segment.reorder for segment in state.segments)
    first = state.segments[0].first_pts
    times = [first - (delay - place) * step for place in range(delay)]
    for number in range(len(state.segments)):
        with av.open(_segment(work, number)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
            for packet in packets:
                packet.pts = round(packet.pts * packet.time_base / film.time_base)
                packet.time_base = film.time_base
            # The muxer may have moved a segment that began with negative decoding times.
            shift = state.segments[number].first_pts - min(packet.pts for packet in packets)
            for packet in packets:
                packet.pts += shift
            shown = sorted(packet.pts for packet in packets)
            is_last = number + 1 == len(state.segments)
            behind = shown[-1] + step if is_last else state.segments[number + 1].first_pts
            length = {pts: after - pts for pts, after in pairwise([*shown, behind])}
            times += shown
            for packet, time_to_decode in zip(packets, times, strict=False):
                packet.dts, packet.duration = time_to_decode, length[packet.pts]
                yield packet
            times = times[len(packets) :]


def _check_container(film: _Film, encoding: _Encoding, target: Path) -> None:
    """See now, and not after hours, that the encoder and the container take the film and all that goes with it."""
    import av

    trial = target.with_name(f".{target.stem}.trial{target.suffix}")
    try:
        with _open(film.path) as source, av.open(trial, "w") as output:
            encoding.add_stream(output)
            _add_copies(source, film.stream_index, output)
            output.start_encoding()
    except UserError:
        raise
    except (av.FFmpegError, ValueError, TypeError) as error:
        if isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(
            f"{target}: --codec {encoding.codec} in a {target.suffix or 'nameless'} file does not work: {reason}."
        ) from error
    finally:
        trial.unlink(missing_ok=True)


def _add_copies(source: InputContainer, video_index: int, output: OutputContainer) -> dict[int, Stream]:
    """Streams in ``output`` for everything but the coloured video, by index in ``source``; chapters and tags too."""
    copies = {}
    for stream in source.streams:
        if stream.index == video_index or not _is_copied(stream):
            continue
        if _is_cover(stream) and output.format.name == "matroska":  # where pictures are attachments
            tags = stream.metadata
            name, kind = tags.get("filename", "cover.jpg"), tags.get("mimetype", "image/jpeg")
            output.add_attachment(name, kind, _cover(source, stream.index))
            continue
        try:
            copy = output.add_stream_from_template(stream, opaque=True)
        except ValueError as error:
            raise UserError(
                f"{output.name}: its {stream.type} ({stream.codec_context.name}) does not fit into this kind of file; "
                "name the result .mkv."
            ) from error
        _copy_description(stream, copy)
        if stream.type != "attachment":
            copies[stream.index] = copy
    output.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _CONTAINER_TAGS})
    if source.chapters():
        output.set_chapters(source.chapters())
    return copies


def _is_cover(stream: Stream) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _cover(source: InputContainer, index: int) -> bytes:
    with _open(Path(source.name)) as again:
        return next(bytes(packet) for packet in again.demux(again.streams[index]) if packet.size)


def _is_copied(stream: Stream) -> bool:
    return stream.type == "attachment" or (stream.type in ("audio", "subtitle", "video") and bool(stream.codec_context))


def _copy_description(source: Stream, target: Stream) -> None:
    tags = {key: value for key, value in source.metadata.items() if key.lower() not in _STREAM_TAGS}
    target.metadata.update(tags)
    target.disposition = source.disposition


def _open(path: Path) -> InputContainer:
    import av

    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes).")
        return av.open(path, metadata_errors="replace")
    except av.error.InvalidDataError as error:
        raise UserError(f"{path}: no film that can be read (truncated, damaged, or something else).") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from error


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not pictures:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UserError(f"{path}: no video stream in it (found: {found}).")
    if pictures[0].codec_context is None:
        raise UserError(f"{path}: its video is in a format that this ffmpeg cannot decode.")
    return pictures[0]


def _plane(frame: VideoFrame, index: int, depth: int) -> np.ndarray:
    """A plane of a frame as a writable array without the padding of its lines."""
    plane = frame.planes[index]
    dtype = np.uint8 if depth == 8 else np.dtype("<u2")
    lines = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // np.dtype(dtype).itemsize)
    return lines[: plane.height, : plane.width]


def _quarter_turns(frame: VideoFrame) -> int:
    """Counter-clockwise quarter turns that bring a frame upright."""
    return round(frame.rotation / 90) % 4


def _segment(work: Path, number: int) -> Path:
    return work / f"{number:05d}.nut"


def _signature(source: Path, options: FilmOptions) -> str:
    """What must be the same for a run to go on with what an earlier one left."""
    status = source.stat()
    settings = {key: value for key, value in asdict(options).items() if key not in ("batch_size", "segment_frames")}
    return json.dumps([__version__, str(source.resolve()), status.st_size, status.st_mtime_ns, settings], default=str)


def _muxer_options(target: Path, time_base: Fraction) -> dict[str, str]:
    if target.suffix.lower() not in (".mp4", ".m4v", ".mov"):
        return {}
    # By default a late start is rounded to the movie's own clock, of milliseconds.
    return {"movflags": "+faststart", "movie_timescale": str(time_base.denominator)}


def _flicker_text(flicker: Flicker) -> str:
    parts = [f"CDC({step}) {value:.5f}" for step, value in flicker.cdc.items()]
    if flicker.warp_error is not None:
        parts.append(f"warp error {flicker.warp_error:.5f}")
    return ", ".join(parts) or "a single frame has none"
