"""Sound that the new container does not take as it is, and how it is encoded again.

Whether a container takes a stream is found out by writing its first packets and reading them back: what muxers say of
themselves is not enough, for some write what no player knows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from nogan.colorize.film.reading import Film

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.filter import FilterContext, Graph
    from av.packet import Packet
    from av.stream import Stream

Handling = Literal["auto", "copy", "transcode", "none"]

_LOSSLESS_FIRST = ("flac", "pcm_s24le", "pcm_s16le", "aac", "libopus", "libvorbis", "mp2")
_AAC_FIRST = ("aac", *_LOSSLESS_FIRST)
_AAC_CONTAINERS = frozenset({"mp4", "ipod", "3gp", "mpegts", "flv"})
"""Containers whose players expect AAC, even if FLAC can be written into them."""

_PROBED_PACKETS = 24


def fits(stream: Stream, packets: Sequence[Packet], container: str) -> bool:
    """Whether ``container``, by ffmpeg's name, takes a copy of ``stream``: its first packets come back as they went."""
    import av

    file = io.BytesIO()
    try:
        with av.open(file, "w", format=container) as output:
            copy = output.add_stream_from_template(stream, opaque=True)
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts, again.duration = packet.pts, packet.dts, packet.duration
                again.time_base, again.stream = packet.time_base, copy
                output.mux(again)
        file.seek(0)
        with av.open(file) as written:
            found = written.streams.audio
            return bool(found) and found[0].codec_context is not None and _codec(found[0]) == _codec(stream)
    except (av.FFmpegError, ValueError, TypeError):
        return False


def first_packets(film: Film, index: int) -> list[Packet]:
    """The first packets of a stream."""
    with film.opened() as container:
        found = (packet for packet in container.demux(container.streams[index]) if packet.size)
        return list(islice(found, _PROBED_PACKETS))


def encoder_for(stream: AudioStream, container: str) -> str | None:
    """The encoder by which ``container`` takes this sound: lossless where it can be; None where nothing fits."""
    import av

    deep = stream.codec_context.format.name in ("s32", "s32p") or stream.codec_context.name.startswith("pcm_f")
    for name in _AAC_FIRST if container in _AAC_CONTAINERS else _LOSSLESS_FIRST:
        if name == "pcm_s24le" and not deep:
            continue
        file = io.BytesIO()
        try:
            with av.open(file, "w", format=container) as output:
                trial = Transcoder(stream, output, name)
                for packet in trial.silence():
                    output.mux(packet)
            file.seek(0)
            with av.open(file) as written:
                if written.streams.audio and written.streams.audio[0].codec_context is not None:
                    return name
        except (av.FFmpegError, ValueError, TypeError):
            continue
    return None


class Transcoder:
    """Decodes the packets of a stream and encodes them with another codec; pauses become silence."""

    def __init__(self, source: AudioStream, output: OutputContainer, encoder: str) -> None:
        """Add a stream to ``output``.

        Raises:
            ValueError: the container does not take it.
        """
        from av.audio.stream import AudioStream

        self._source = source
        decoder = source.codec_context
        self._layout, self._rate = _layout(decoder), _rate(encoder, decoder.sample_rate)
        stream = output.add_stream(encoder, rate=self._rate)
        assert isinstance(stream, AudioStream)
        self.stream = stream
        self._context = stream.codec_context
        self._context.layout = self._layout
        self._context.time_base = stream.time_base = Fraction(1, self._rate)
        if encoder == "flac" and decoder.format.name in ("s32", "s32p"):
            self._context.format = "s32"
        elif encoder == "flac":
            self._context.format = "s16"
        self._context.open(strict=False)
        self._chain: _Chain | None = None
        self.damaged = 0

    def __call__(self, packet: Packet) -> Iterator[Packet]:
        """The packets to write for one of the source."""
        import av

        try:
            frames = self._source.codec_context.decode(packet)
        except av.FFmpegError:
            self.damaged += 1
            return
        for frame in frames:
            yield from self._encoded(frame)

    def finish(self) -> Iterator[Packet]:
        """The packets that are still due at the end."""
        import av

        try:
            for frame in self._source.codec_context.decode(None):
                yield from self._encoded(frame)
        except av.FFmpegError:
            self.damaged += 1
        yield from self._drained()
        yield from self._context.encode(None)

    def silence(self) -> Iterator[Packet]:
        """A fifth of a second of silence, encoded, to find out whether all this works."""
        import av

        decoder = self._source.codec_context
        frame = av.AudioFrame(format=decoder.format.name, layout=decoder.layout.name, samples=decoder.sample_rate // 5)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = decoder.sample_rate, 0
        frame.time_base = Fraction(1, frame.sample_rate)
        yield from self._encoded(frame)
        yield from self._drained()
        yield from self._context.encode(None)

    def _encoded(self, frame: AudioFrame) -> Iterator[Packet]:
        if frame.pts is not None and frame.time_base:
            frame.pts = round(frame.pts * frame.time_base * frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._chain is None or self._chain.kind != kind:  # the first frame, or another kind from here on
            yield from self._drained()
            self._chain = self._chain_for(*kind)
        self._chain.into.push(frame)
        yield from self._pulled()

    def _pulled(self) -> Iterator[Packet]:
        import av

        assert self._chain is not None
        while True:
            try:
                frame = self._chain.out.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            frame.time_base = Fraction(1, self._rate)
            yield from self._context.encode(cast("AudioFrame", frame))

    def _drained(self) -> Iterator[Packet]:
        if self._chain is not None:
            self._chain.into.push(None)
            yield from self._pulled()

    def _chain_for(self, sample_format: str, layout: str, rate: int) -> _Chain:
        """Silence where the sound pauses, the encoder's format, and blocks of the size that it takes."""
        import av

        graph = av.filter.Graph()
        into = graph.add_abuffer(format=sample_format, sample_rate=rate, layout=layout, time_base=Fraction(1, rate))
        target = f"sample_fmts={self._context.format.name}:sample_rates={self._rate}:channel_layouts={self._layout}"
        steps = [
            into,
            graph.add("aresample", f"{self._rate}:async=1:min_hard_comp=0.1"),
            graph.add("aformat", target),
        ]
        if self._context.frame_size:
            steps.append(graph.add("asetnsamples", f"n={self._context.frame_size}:p=0"))
        steps.append(graph.add("abuffersink"))
        for one, other in pairwise(steps):
            one.link_to(other)
        graph.configure()
        return _Chain(graph, into, steps[-1], (sample_format, layout, rate))


class _Chain(NamedTuple):
    """Filters between decoder and encoder, and the kind of frames that they take."""

    graph: Graph
    into: FilterContext
    out: FilterContext
    kind: tuple[str, str, int]


def _codec(stream: Stream) -> str:
    name = stream.codec_context.codec.canonical_name
    return "mp3" if name in ("mp1", "mp2") else name  # MPEG's layers are told apart by their packets only


def _layout(decoder: AudioCodecContext) -> str:
    """The layout of the sound's channels; the usual one for their number where the file says only that."""
    count = decoder.layout.nb_channels
    usual = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    return usual.get(count, decoder.layout.name) if decoder.layout.name.endswith("channels") else decoder.layout.name


def _rate(encoder: str, rate: int) -> int:
    """The rate nearest to ``rate`` that the encoder takes."""
    import av

    rates = av.Codec(encoder, "w").audio_rates
    return min(rates, key=lambda known: (abs(known - rate), -known)) if rates else rate
