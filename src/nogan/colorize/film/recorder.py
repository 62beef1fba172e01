"""Films that are written in one go, frame by frame: Y4M, animated GIF, APNG and WebP, and whatever goes through a pipe.

None of these can be joined from segments: a GIF's frames refer to each other, and Y4M is not encoded at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.filters import ready

if TYPE_CHECKING:
    from av.filter import FilterContext, Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class Kind(NamedTuple):
    """How a kind of film is written.

    Attributes:
        container: ffmpeg's name of its format.
        encoder: and of its encoder.
        pixel_format: that the encoder gets; None for the planes of luma and chroma as they are.
        planes: in which these are put together; None for what suits the film.
        options: of the encoder.
    """

    container: str
    encoder: str
    pixel_format: str | None
    planes: str | None
    options: dict[str, str]


Y4M = Kind("yuv4mpegpipe", "rawvideo", None, None, {})

KINDS = {
    ".y4m": Y4M,
    ".gif": Kind("gif", "gif", "pal8", "yuv444p10le", {}),
    ".apng": Kind("apng", "apng", "rgb24", "yuv444p10le", {}),
    ".webp": Kind("webp", "libwebp_anim", "yuv420p", "yuv444p", {"quality": "90"}),
}
"""Kinds of films that hold pictures only, by suffix."""

_CONTAINER_OPTIONS = {"yuv4mpegpipe": {"strict": "-1"}, "apng": {"plays": "0"}, "webp": {"loop": "0"}}
"""More than 8 bits in Y4M are an extension; animations begin again at their end, as GIFs do by themselves."""

_SMPTE170M = 6


class Recorder:
    """Writes frames to a file or a pipe; use it as a context, which ends the film."""

    def __init__(self, encoding: Encoding, into: Path | str, kind: Kind | None) -> None:
        """Begin a film.

        Args:
            encoding: of its frames.
            into: a file, or "pipe:1" for stdout.
            kind: of the film; None for a container, by the suffix of ``into``, with the encoder of ``encoding``.
        """
        import av

        self._encoding, self._kind = encoding, kind
        name = None if kind is None else kind.container
        self._container = av.open(str(into), "w", format=name, options=_CONTAINER_OPTIONS.get(name or "", {}))
        self._stream = encoding.add_stream(self._container) if kind is None else self._own_stream(kind)
        self._palette: _Palette | None = None
        self._count = 0

    def put(self, frame: VideoFrame) -> None:
        """Write a frame of :meth:`nogan.colorize.film.encoding.Encoding.colored`."""
        if self._kind is Y4M:
            frame.pts, frame.time_base = self._count, 1 / self._encoding.rate
            self._count += 1
        for shown in self._as_stored(frame):
            self._container.mux(self._stream.encode(shown))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for shown in self._palette.rest() if self._palette else ():
                    self._container.mux(self._stream.encode(shown))
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def _own_stream(self, kind: Kind) -> VideoStream:
        from av.video.stream import VideoStream

        encoding = self._encoding
        stream = self._container.add_stream(kind.encoder, rate=encoding.rate, options=dict(kind.options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = encoding.shown_size
        stream.pix_fmt = kind.pixel_format or encoding.stored
        # Y4M has no other clock than the number of the frame.
        stream.codec_context.time_base = stream.time_base = 1 / encoding.rate if kind is Y4M else encoding.time_base
        if encoding.aspect:
            stream.codec_context.sample_aspect_ratio = encoding.aspect
        if kind.pixel_format is None:
            encoding.describe_color(stream)
        return stream

    def _as_stored(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        kind, encoding = self._kind, self._encoding
        if kind is None or kind.pixel_format is None:
            yield frame
            return
        is_rgb = kind.pixel_format != "yuv420p"
        shown = frame.reformat(
            format="rgb24" if is_rgb else kind.pixel_format,
            src_colorspace=encoding.matrix,
            dst_colorspace=_SMPTE170M,
            src_color_range="JPEG" if encoding.full_range else "MPEG",
            dst_color_range="JPEG" if is_rgb else "MPEG",
        )
        if kind.pixel_format != "pal8":
            yield shown
            return
        if self._palette is None:
            self._palette = _Palette(encoding)
        yield from self._palette(shown)


class _Palette:
    """Gives each frame 256 colors of its own."""

    def __init__(self, encoding: Encoding) -> None:
        import av

        width, height = encoding.shown_size
        self._graph: Graph = av.filter.Graph()
        into = self._graph.add_buffer(
            width=width, height=height, format=av.VideoFormat("rgb24"), time_base=encoding.time_base
        )
        split, make = self._graph.add("split"), self._graph.add("palettegen", "stats_mode=single")
        use, out = self._graph.add("paletteuse", "new=1"), self._graph.add("buffersink")
        into.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(make, 1, 0)
        make.link_to(use, 0, 1)
        use.link_to(out)
        self._graph.configure()
        self._into: FilterContext = into
        self._out: FilterContext = out

    def __call__(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        self._into.push(frame)
        yield from ready(self._out)

    def rest(self) -> Iterator[VideoFrame]:
        """The frames that are still due at the end."""
        self._into.push(None)
        yield from ready(self._out)
