"""The finished film: segments joined without encoding again, and all else of the original copied beside them."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.reading import Film, is_copied, is_cover, open_container
from nogan.colorize.film.segments import State, segment_format, segment_path
from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.subtitles.codeccontext import SubtitleCodecContext
    from av.subtitles.stream import SubtitleStream
    from av.video.stream import VideoStream

_CONTAINER_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
_STREAM_TAGS = frozenset(
    {"encoder", "vendor_id", "handler_name", "duration", "bps", "number_of_frames", "number_of_bytes"}
)
"""Tags that describe the file they came from, not the film."""

Copy = Callable[["Packet"], Iterable[tuple["Stream", "Packet"]]]
"""What becomes of a packet of the source: the packets to write, each with its stream in the result."""

_TEXT_KINDS = ("subrip", "mov_text", "webvtt")
"""Encoders of subtitles that are text, for containers of different families."""


def check_container(film: Film, encoding: Encoding, target: Path) -> None:
    """See now, and not after hours, that the encoder and the container take the film and all that goes with it.

    The first frame goes the whole way that the film will go: encoded in a segment, joined with everything else.
    """
    import av

    segment = io.BytesIO()
    try:
        with av.open(segment, "w", format=segment_format(encoding.codec)) as output:
            stream = encoding.add_stream(output)
            output.mux(stream.encode(encoding.colored(film.first, np.full((16, 16, 3), 0.5, np.float32))))
            output.mux(stream.encode())
    except (av.FFmpegError, ValueError, TypeError) as error:
        raise UserError(f"{film.path}: --codec {encoding.codec} does not work here: {_reason(error)}.") from error
    segment.seek(0)
    trial = target.with_name(f".{target.stem}.trial{target.suffix}")
    trial.touch()  # what keeps a file from being written there is no fault of codec or container
    try:
        with (
            open_container(film.path) as source,
            av.open(segment) as part,
            av.open(trial, "w", options=_muxer_options(target, film.time_base)) as output,
        ):
            if not output.format.flags & av.format.Flags.variable_fps.value:
                film.remarks.append(f"{target.suffix} files keep no timestamps: frames may move; .mkv would keep them")
            video = _add_video(film, encoding, source, part, output)
            _add_copies(film, source, output, target)
            for packet in part.demux(video=0):
                if packet.pts is not None:
                    packet.stream = video
                    output.mux(packet)
        with av.open(trial) as written:
            if not written.streams.video or written.streams.video[0].codec_context is None:
                raise ValueError("nothing can read that video back")
    except UserError:
        raise
    except (av.FFmpegError, ValueError, TypeError) as error:
        raise UserError(
            f"{target}: --codec {encoding.codec} in a {target.suffix or 'nameless'} file does not work: "
            f"{_reason(error)}."
        ) from error
    finally:
        trial.unlink(missing_ok=True)


def join(film: Film, encoding: Encoding, state: State, work: Path, temporary: Path, target: Path) -> None:
    """Put the segments and everything else of the source into one container.

    It is written to ``temporary``; messages name ``target``. The film is told where its last packet ends.
    """
    import av

    end = Fraction(0)
    with (
        open_container(film.path) as source,
        av.open(temporary, "w", options=_muxer_options(target, film.time_base)) as output,
    ):
        with av.open(segment_path(work, 0)) as segment:
            video = _add_video(film, encoding, source, segment, output)
        copies = _add_copies(film, source, output, target)
        others = (
            (_time_to_decode(packet), copy, packet)
            for original in (source.demux([source.streams[index] for index in copies]) if copies else ())
            if original.size  # an empty one marks the end
            for copy, packet in copies[original.stream.index](original)
        )
        packets = _joined_packets(film, state, work, by_decoding=_is_mp4(target))
        pictures = ((_time_to_decode(packet), video, packet) for packet in packets)
        for _, stream, packet in heapq.merge(pictures, others, key=lambda entry: entry[0]):
            shown = packet.dts if packet.pts is None else packet.pts
            end = max(end, (shown + (packet.duration or 0)) * packet.time_base)
            packet.stream = stream
            output.mux(packet)
    film.check_end(end)


def _add_video(
    film: Film, encoding: Encoding, source: InputContainer, segment: InputContainer, output: OutputContainer
) -> VideoStream:
    """The stream in ``output`` for the packets of ``segment``."""
    # Opaque: what is in the segment is copied as it is, for which no encoder has to have the decoder's name.
    video = output.add_stream_from_template(segment.streams.video[0], opaque=True)
    video.time_base = film.time_base
    video.codec_context.framerate = film.rate
    encoding.describe_color(video)
    _copy_description(source.streams[film.stream_index], video)
    return video


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def _time_to_decode(packet: Packet) -> Fraction:
    """In seconds; the first packets of Matroska come without one, and cover art without any time."""
    if packet.pts is None and packet.dts is None:
        packet.pts = packet.dts = 0
    return (packet.pts if packet.dts is None else packet.dts) * packet.time_base


def _joined_packets(film: Film, state: State, work: Path, *, by_decoding: bool) -> Iterator[Packet]:
    """The packets of all segments with the film's timestamps, and decoding times that rise across the seams.

    Each encoder started its decoding times anew. Here packet n of the whole film is decoded at the n-th smallest
    presentation time, moved back by as many frames as any packet is out of order, so that it is never late.

    Durations are those of the frames shown; ``by_decoding``, the last packet reaches to the end of the film, for
    containers that lay one packet after the other.
    """
    import av

    step = film.frame_ticks
    delay = max(segment.reorder for segment in state.segments)
    first = state.segments[0].first_pts
    times = [first - (delay - place) * step for place in range(delay)]
    for number in range(len(state.segments)):
        with av.open(segment_path(work, number)) as container:
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
            behind = shown[-1] + (state.last_duration or step) if is_last else state.segments[number + 1].first_pts
            length = {pts: after - pts for pts, after in pairwise([*shown, behind])}
            times += shown
            for packet, time_to_decode in zip(packets, times, strict=False):
                packet.dts, packet.duration = time_to_decode, length[packet.pts]
            if is_last and by_decoding:
                packets[-1].duration = behind - packets[-1].pts
            yield from packets
            times = times[len(packets) :]


def _add_copies(film: Film, source: InputContainer, output: OutputContainer, target: Path) -> dict[int, Copy]:
    """Streams in ``output`` for everything but the colored video, by index in ``source``; chapters and tags too."""
    copies: dict[int, Copy] = {}
    for stream in source.streams:
        if stream.index == film.stream_index or not is_copied(stream):
            continue
        if is_cover(stream) and output.format.name == "matroska":  # where pictures are attachments
            tags = stream.metadata
            name, kind = tags.get("filename", "cover.jpg"), tags.get("mimetype", "image/jpeg")
            output.add_attachment(name, kind, _cover(source, stream.index))
            continue
        try:
            copy = output.add_stream_from_template(stream, opaque=True)
            take = partial(_as_it_is, copy)
        except ValueError as error:
            what = f"its {stream.type} ({stream.codec_context.name})"
            keeps = "" if target.suffix.lower() == ".mkv" else "; .mkv would keep it"
            if stream.type != "subtitle":
                raise UserError(
                    f"{target}: {what} does not fit into this kind of file{keeps and '; name the result .mkv'}."
                ) from error
            copy = _add_text(stream, output)
            if copy is None:
                film.remarks.append(f"{what} does not fit into a {target.suffix} file and was left out{keeps}")
                continue
            take = partial(_as_text, film, stream.codec_context, copy)
        _copy_description(stream, copy)
        if stream.type != "attachment":
            copies[stream.index] = take
    output.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _CONTAINER_TAGS})
    if source.chapters():
        output.set_chapters(source.chapters())
    return copies


def _as_it_is(copy: Stream, packet: Packet) -> Iterator[tuple[Stream, Packet]]:
    yield copy, packet


def _add_text(stream: SubtitleStream, output: OutputContainer) -> SubtitleStream | None:
    """A stream in ``output`` for the text of ``stream``, in the kind that this container takes; None without either."""
    decoder = stream.codec_context
    decoder.open(strict=False)
    if not decoder.subtitle_header:  # subtitles that are pictures have none
        return None
    for kind in _TEXT_KINDS:
        try:
            copy = output.add_stream(kind)
        except ValueError:
            continue
        copy.codec_context.time_base = copy.time_base = stream.time_base
        copy.codec_context.subtitle_header = decoder.subtitle_header
        return copy
    return None


def _as_text(
    film: Film, decoder: SubtitleCodecContext, copy: SubtitleStream, packet: Packet
) -> Iterator[tuple[Stream, Packet]]:
    import av

    try:
        text = decoder.decode2(packet)
        if text is None:  # a pause
            return
        converted = copy.codec_context.encode_subtitle(text)
    except av.FFmpegError:
        film.remarks.append("damaged subtitles were left out")
        return
    converted.pts = converted.dts = packet.pts
    converted.duration, converted.time_base = packet.duration, packet.time_base
    yield copy, converted


def _cover(source: InputContainer, index: int) -> bytes:
    with open_container(Path(source.name)) as again:
        return next(bytes(packet) for packet in again.demux(again.streams[index]) if packet.size)


def _copy_description(source: Stream, target: Stream) -> None:
    tags = {key: value for key, value in source.metadata.items() if key.lower() not in _STREAM_TAGS}
    target.metadata.update(tags)
    target.disposition = source.disposition


def _is_mp4(target: Path) -> bool:
    return target.suffix.lower() in (".mp4", ".m4v", ".mov")


def _muxer_options(target: Path, time_base: Fraction) -> dict[str, str]:
    if not _is_mp4(target):
        return {}
    # By default a late start is rounded to the movie's own clock, of milliseconds.
    return {"movflags": "+faststart", "movie_timescale": str(time_base.denominator)}
