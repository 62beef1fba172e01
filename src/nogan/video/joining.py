"""The finished film: segments joined without encoding again, and all else of the original copied beside them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.errors import UserError
from nogan.video.encoding import Encoding
from nogan.video.film import Film, is_copied, is_cover, open_container
from nogan.video.segments import State, segment_path

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

_CONTAINER_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
_STREAM_TAGS = frozenset(
    {"encoder", "vendor_id", "handler_name", "duration", "bps", "number_of_frames", "number_of_bytes"}
)
"""Tags that describe the file they came from, not the film."""


def check_container(film: Film, encoding: Encoding, target: Path) -> None:
    """See now, and not after hours, that the encoder and the container take the film and all that goes with it."""
    import av

    trial = target.with_name(f".{target.stem}.trial{target.suffix}")
    try:
        with open_container(film.path) as source, av.open(trial, "w") as output:
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


def join(film: Film, encoding: Encoding, state: State, work: Path, target: Path) -> None:
    """Put the segments and everything else of the source into one container."""
    import av

    with (
        open_container(film.path) as source,
        av.open(target, "w", options=_muxer_options(target, film.time_base)) as output,
    ):
        with av.open(segment_path(work, 0)) as segment:
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


def _joined_packets(film: Film, state: State, work: Path) -> Iterator[Packet]:
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
            behind = shown[-1] + step if is_last else state.segments[number + 1].first_pts
            length = {pts: after - pts for pts, after in pairwise([*shown, behind])}
            times += shown
            for packet, time_to_decode in zip(packets, times, strict=False):
                packet.dts, packet.duration = time_to_decode, length[packet.pts]
                yield packet
            times = times[len(packets) :]


def _add_copies(source: InputContainer, video_index: int, output: OutputContainer) -> dict[int, Stream]:
    """Streams in ``output`` for everything but the coloured video, by index in ``source``; chapters and tags too."""
    copies = {}
    for stream in source.streams:
        if stream.index == video_index or not is_copied(stream):
            continue
        if is_cover(stream) and output.format.name == "matroska":  # where pictures are attachments
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


def _cover(source: InputContainer, index: int) -> bytes:
    with open_container(Path(source.name)) as again:
        return next(bytes(packet) for packet in again.demux(again.streams[index]) if packet.size)


def _copy_description(source: Stream, target: Stream) -> None:
    tags = {key: value for key, value in source.metadata.items() if key.lower() not in _STREAM_TAGS}
    target.metadata.update(tags)
    target.disposition = source.disposition


def _muxer_options(target: Path, time_base: Fraction) -> dict[str, str]:
    if target.suffix.lower() not in (".mp4", ".m4v", ".mov"):
        return {}
    # By default a late start is rounded to the movie's own clock, of milliseconds.
    return {"movflags": "+faststart", "movie_timescale": str(time_base.denominator)}
