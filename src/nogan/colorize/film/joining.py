"""The finished film: joins the segments without encoding them again, and copies sound, subtitles, chapters and tags."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nogan.colorize.film.clip import clock_time
from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.reading import Film, is_copied, is_cover, open_container, pts_of
from nogan.colorize.film.segments import State, segment_format, segment_path
from nogan.colorize.film.sound import Handling, Transcoder, encoder_for, first_packets, fits
from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.subtitles.codeccontext import SubtitleCodecContext
    from av.subtitles.stream import SubtitleStream
    from av.video.stream import VideoStream
    from typing_extensions import Buffer

_CONTAINER_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
_STREAM_TAGS = frozenset(
    {"encoder", "vendor_id", "handler_name", "duration", "bps", "number_of_frames", "number_of_bytes"}
)
"""Tags that describe the original file, not the film."""

_CLOCKLESS = frozenset({"avi", "mxf", "yuv4mpegpipe", "dv", "mjpeg", "h264", "hevc", "m4v", "rm"})
"""Containers, by ffmpeg's names, in which all frames last equally long."""

Sound = dict[int, str]
"""How the sounds of a film go into its container, by the number of their stream: "copy", or the name of an encoder."""

Copy = Callable[["Packet"], Iterable[tuple["Stream", "Packet"]]]
"""Gives the packets to write for a packet of the source, each with its stream in the result."""

_TEXT_KINDS = ("subrip", "mov_text", "webvtt")
"""Encoders of text subtitles, one for each family of containers."""


def check_container(film: Film, encoding: Encoding, target: Path, handling: Handling = "auto") -> Sound:
    """Check, before hours of work, that the encoder and the container take the film and everything copied with it.

    The first frame is encoded in a segment and joined, as the whole film will be. All packets of the source are read,
    and all that are copied go into a container that is thrown away.

    Returns:
        How each sound goes into the container.

    Raises:
        UserError: the encoder or the container does not work, or something does not fit.
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
    trial = target.with_name(f".{target.stem}.trial{target.suffix}")
    trial.touch()  # what has nothing to do with codec or container fails here: no folder, no permission
    try:
        with av.open(trial, "w") as output:
            container = output.format.name
        sound = plan_sound(film, target, container, handling)
        with (
            film.opened() as source,
            _part(segment) as part,
            av.open(trial, "w", options=_muxer_options(target, film.time_base)) as output,
        ):
            video = _add_video(film, encoding, source, part, output)
            _add_copies(film, source, output, target, sound)
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
    _rehearse(film, encoding, segment, target, container, sound)
    if container in _CLOCKLESS and not film.even:
        film.remarks.append(
            f"{target.suffix} files keep no timestamps, and its frames do not all last equally long: they may move; "
            ".mkv would keep them"
        )
    return sound


def _part(segment: io.BytesIO) -> InputContainer:
    import av

    segment.seek(0)
    return av.open(segment, "r")


class _Discard(io.RawIOBase):
    """A file that can be written and sought in, and keeps nothing."""

    def __init__(self) -> None:
        self._place = self._end = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        size = memoryview(data).nbytes
        self._place += size
        self._end = max(self._end, self._place)
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + {0: 0, 1: self._place, 2: self._end}[whence]
        return self._place

    def tell(self) -> int:
        return self._place


def _rehearse(film: Film, encoding: Encoding, segment: io.BytesIO, target: Path, container: str, sound: Sound) -> None:
    """Read the whole source, without decoding it, and write everything that is copied to nowhere."""
    import av

    options = {key: value for key, value in _muxer_options(target, film.time_base).items() if key != "movflags"}
    at: Fraction = Fraction(0)
    try:
        with (
            film.opened() as source,
            _part(segment) as part,
            av.open(cast(Any, _Discard()), "w", format=container, options=options) as output,
        ):
            _add_video(film, encoding, source, part, output)
            copies = _add_copies(film, source, output, target, {i: how for i, how in sound.items() if how == "copy"})
            rising = _Rising()
            for original in film.scanned(source):
                copy = copies.get(original.stream.index)
                if copy is None or not original.size:
                    continue
                for stream, packet in copy(original):
                    at = _time_to_decode(packet)
                    output.mux(rising(packet, stream))
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f"{target}: what is copied from {film.path} cannot be joined at {clock_time(at)}: {_reason(error)}. "
            "Another kind of file (.mkv) may take it, or --audio transcode, or --audio none."
        ) from error


class _Rising:
    """Lets decoding times rise within each stream, as muxers want them; a packet that is too early is moved."""

    def __init__(self) -> None:
        self._last: dict[int, Fraction] = {}

    def __call__(self, packet: Packet, stream: Stream) -> Packet:
        last = self._last.get(stream.index)
        time = _time_to_decode(packet)
        if last is not None and packet.time_base:
            strict = stream.type in ("audio", "video")
            if time < last or (strict and time == last):
                packet.dts = int(last // packet.time_base) + 1
                packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
                time = packet.dts * packet.time_base
        self._last[stream.index] = time
        packet.stream = stream
        return packet


def plan_sound(film: Film, target: Path, container: str, handling: Handling) -> Sound:
    """How each sound of a film goes into ``container`` (ffmpeg's name): "copy", or the name of an encoder.

    Raises:
        UserError: a sound does not fit, and ``handling`` forbids to encode it; or none fits at all.
    """
    plan: Sound = {}
    if handling == "none":
        return plan
    with film.opened() as source:
        for stream in source.streams.audio:
            if not is_copied(stream):
                continue
            what = f"its sound ({stream.codec_context.name})"
            if handling != "transcode" and fits(stream, first_packets(film, stream.index), container):
                plan[stream.index] = "copy"
                continue
            keeps = "" if target.suffix.lower() == ".mkv" else "; name the result .mkv"
            if handling == "copy":
                raise UserError(
                    f"{target}: {what} does not fit into this kind of file{keeps}, or leave --audio copy out."
                )
            encoder = encoder_for(stream, container)
            if encoder is None:
                raise UserError(f"{target}: {what} does not fit into this kind of file{keeps}, or use --audio none.")
            plan[stream.index] = encoder
            why = "" if handling == "transcode" else f" does not fit into a {target.suffix} file and"
            film.remarks.append(f"{what}{why} was encoded anew ({encoder})")
    return plan


def join(film: Film, encoding: Encoding, state: State, work: Path, temporary: Path, target: Path, sound: Sound) -> None:
    """Put the segments and everything else of the source into one container.

    It is written to ``temporary``; messages name ``target``. Finally the film's end is checked against the end of the
    last packet.
    """
    import av

    end = Fraction(0)
    with (
        film.opened() as source,
        av.open(temporary, "w", options=_muxer_options(target, film.time_base)) as output,
    ):
        with av.open(segment_path(work, 0)) as segment:
            video = _add_video(film, encoding, source, segment, output)
        copies = _add_copies(film, source, output, target, sound)
        others = (
            (_time_to_decode(packet), copy, packet)
            for original in (film.packets(source) if copies else ())
            if original.stream.index in copies
            for copy, packet in copies[original.stream.index](original)
        )
        packets = joined_packets(film, state, work, by_decoding=_is_mp4(target))
        pictures = ((_time_to_decode(packet), video, packet) for packet in packets)
        rising = _Rising()
        for _, stream, packet in heapq.merge(pictures, others, key=lambda entry: entry[0]):
            end = max(end, _shown(packet) + (packet.duration or 0) * packet.time_base)
            output.mux(rising(packet, stream))
    film.check_end(end)


def _add_video(
    film: Film, encoding: Encoding, source: InputContainer, segment: InputContainer, output: OutputContainer
) -> VideoStream:
    """The stream in ``output`` for the packets of ``segment``."""
    # Opaque: packets are copied as they are, which needs no encoder by the name of the decoder.
    video = output.add_stream_from_template(segment.streams.video[0], opaque=True)
    video.time_base = film.time_base
    if segment.format.name.startswith("mov"):  # whose tags tell the profiles of ProRes apart
        video.codec_context.codec_tag = segment.streams.video[0].codec_context.codec_tag
    video.codec_context.framerate = film.rate
    encoding.describe_color(video)
    _copy_description(source.streams[film.stream_index], video)
    return video


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def _time_to_decode(packet: Packet) -> Fraction:
    """Decoding time in seconds; where there is none, as in Matroska's first packets, that of presentation; else 0."""
    ticks = packet.pts if packet.dts is None else packet.dts
    if ticks is None:  # cover art
        packet.pts = packet.dts = ticks = 0
    return ticks * packet.time_base


def _shown(packet: Packet) -> Fraction:
    """Time of presentation in seconds; that of decoding where there is none."""
    ticks = packet.dts if packet.pts is None else packet.pts
    return (ticks or 0) * packet.time_base


def joined_packets(film: Film, state: State, work: Path, *, by_decoding: bool) -> Iterator[Packet]:
    """The packets of all segments with the film's timestamps, and decoding times that rise across the seams.

    The encoder of each segment counts decoding times from its own start. Here packet n of the whole film is decoded at
    the n-th smallest presentation time, earlier by the largest number of places that a packet is out of order. So none
    is decoded after it is shown.

    A packet lasts until the next frame is shown. With ``by_decoding``, for containers that store packets by durations
    only, the last packet lasts until the end of the film.
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
                packet.pts = round(pts_of(packet) * packet.time_base / film.time_base)
                packet.time_base = film.time_base
            # The muxer moves segments that begin with negative decoding times.
            shift = state.segments[number].first_pts - min(map(pts_of, packets))
            for packet in packets:
                packet.pts = pts_of(packet) + shift
            shown = sorted(map(pts_of, packets))
            is_last = number + 1 == len(state.segments)
            behind = shown[-1] + (state.last_duration or step) if is_last else state.segments[number + 1].first_pts
            length = {pts: after - pts for pts, after in pairwise([*shown, behind])}
            times += shown
            for packet, time_to_decode in zip(packets, times, strict=False):
                packet.dts, packet.duration = time_to_decode, length[pts_of(packet)]
            if is_last and by_decoding:
                packets[-1].duration = behind - pts_of(packets[-1])
            yield from packets
            times = times[len(packets) :]


def _add_copies(
    film: Film, source: InputContainer, output: OutputContainer, target: Path, sound: Sound
) -> dict[int, Copy]:
    """Add streams to ``output`` for everything but the colored video, and copy chapters and tags.

    Returns:
        How the packets of each stream are copied, by its index in ``source``.
    """
    from av.subtitles.stream import SubtitleStream

    copies: dict[int, Copy] = {}
    for stream in source.streams:
        if stream.index == film.stream_index or not is_copied(stream):
            continue
        if is_cover(stream) and output.format.name == "matroska":  # Matroska keeps cover art as an attachment
            tags = stream.metadata
            name, kind = tags.get("filename", "cover.jpg"), tags.get("mimetype", "image/jpeg")
            output.add_attachment(name, kind, _cover(source, stream.index))
            continue
        copy: Stream
        take: Copy
        if stream.type == "audio" and sound.get(stream.index) != "copy":
            encoder = sound.get(stream.index)
            if encoder is not None:
                transcoder = Transcoder(cast("AudioStream", stream), output, encoder)
                _copy_description(stream, transcoder.stream)
                copies[stream.index] = partial(_transcoded, film, transcoder)
            continue
        try:
            copy = output.add_stream_from_template(stream, opaque=True)
            take = partial(_as_it_is, copy)
        except ValueError as error:
            what = f"its {stream.type} ({stream.codec_context.name})"
            keeps = "" if target.suffix.lower() == ".mkv" else "; .mkv would keep it"
            text = _add_text(stream, output) if isinstance(stream, SubtitleStream) else None
            if text is None and stream.type == "audio":
                raise UserError(f"{target}: {what} does not fit into this kind of file.") from error
            if text is None:
                film.remarks.append(f"{what} does not fit into a {target.suffix} file and was left out{keeps}")
                continue
            assert isinstance(stream, SubtitleStream)
            copy, take = text, partial(_as_text, film, stream.codec_context, text)
        _copy_description(stream, copy)
        if stream.type != "attachment":
            copies[stream.index] = take
    output.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _CONTAINER_TAGS})
    if chapters := film.chapters(source):
        output.set_chapters(chapters)
    return copies


def _as_it_is(copy: Stream, packet: Packet) -> Iterator[tuple[Stream, Packet]]:
    if packet.size:  # an empty packet marks the end
        yield copy, packet


def _transcoded(film: Film, transcoder: Transcoder, packet: Packet) -> Iterator[tuple[Stream, Packet]]:
    packets = transcoder(packet) if packet.size else transcoder.finish()
    for encoded in packets:
        yield transcoder.stream, encoded
    if not packet.size and transcoder.damaged:
        film.remarks.append(f"{transcoder.damaged} damaged packets of its sound were left out")


def _add_text(stream: SubtitleStream, output: OutputContainer) -> SubtitleStream | None:
    """A stream in ``output`` for the text of ``stream``, of a kind that the container takes.

    None where it takes none, or where the subtitles are pictures.
    """
    from av.subtitles.stream import SubtitleStream

    decoder = stream.codec_context
    decoder.open(strict=False)
    if not decoder.subtitle_header:  # only text subtitles have a header
        return None
    for kind in _TEXT_KINDS:
        try:
            copy = output.add_stream(kind)
        except ValueError:
            continue
        assert isinstance(copy, SubtitleStream)
        if stream.time_base is not None:
            copy.codec_context.time_base = copy.time_base = stream.time_base
        copy.codec_context.subtitle_header = decoder.subtitle_header
        return copy
    return None


def _as_text(
    film: Film, decoder: SubtitleCodecContext, copy: SubtitleStream, packet: Packet
) -> Iterator[tuple[Stream, Packet]]:
    import av

    if not packet.size:
        return
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
    if target.suffix.lower() in (".mkv", ".webm"):
        return {"fflags": "+bitexact"}  # no random number, so that a film is the same whenever it is made
    if not _is_mp4(target):
        return {}
    # By default the start of a stream is rounded to milliseconds, the unit of the movie's own clock.
    return {"movflags": "+faststart", "movie_timescale": str(time_base.denominator)}
