"""The frames to encode: the film's own luma, chroma of the network in the film's matrix and range."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np

from nogan.colorize.composite import Gamut, room_for_chroma
from nogan.colorize.film.formats import check_options, formats_for
from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.quality import hdr_of, hdr_options, quality_options
from nogan.colorize.film.reading import Film, quarter_turns
from nogan.colorize.labels import COLORED, ORIGINAL, label
from nogan.colorize.pixels import strips
from nogan.colorize.square import gray_square
from nogan.common.ycbcr import REC601, REC709, REC2020

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SHOWN_SIDE = 640
"""Longer side in px at which the result is measured, as ``nogan evaluate`` does."""

_MATRICES = {1: REC709, 9: REC2020, 10: REC2020}
"""By ffmpeg's color space number (ITU-T H.273); Rec. 601 for all others."""

_CODEC_OPTIONS = {
    "libx265": {"x265-params": "log-level=error"},
    "mjpeg": {"strict": "unofficial"},  # which any range but the full one is
}

_FRAME_CLOCKED = frozenset({"mpeg1video", "mpeg2video"})
"""Encoders that know no other clock than the number of the frame."""

_COARSE_CLOCKED, _FINEST, _COARSE = frozenset({"mpeg4", "libxvid"}), 65535, Fraction(1, 60_000)
"""Encoders whose clock has no more ticks a second than that, and what they get where a film's is finer."""

_BT709, _SMPTE170M, _FULL_RANGE, _UNSPECIFIED = 1, 6, 2, (0, 2)


@dataclass(frozen=True)
class Encoding:
    """How a film is encoded, and the frames to encode.

    Attributes:
        codec: name of an ffmpeg encoder.
        options: of the encoder, by ffmpeg's names.
        width: of the upright film in px; ``compare`` writes twice this.
        height: of the upright film in px.
        pixel_format: ffmpeg's name of the format in which luma and chroma are put together: planes of Y'CbCr.
        stored: its name of the encoder's format; mostly the same.
        stores_rgb: whether that is RGB.
        depth: bits a channel of the planes, 8 or 10.
        matrix: ffmpeg's number of the Y'CbCr matrix.
        full_range: whether levels take all values, not those of video (16 to 235 at 8 bits).
        source_tags: ffmpeg's numbers of the film's primaries and transfer function.
        aspect: of a pixel of the upright film, width to height; None where the film does not say.
        turns: counterclockwise quarter turns that bring its frames upright.
        time_base: unit of timestamps in seconds.
        rate: frames a second.
        compare: write the original and the result side by side.
        raw: write the network's own picture, including its luma.
        gamut: what becomes of chroma that is too strong for its luma (:mod:`nogan.colorize.composite`).
        source_is_rgb: whether the film's frames are RGB.
        stabilized: whether chroma was smoothed; grain of the luma must not bring its flicker back.
    """

    codec: str
    options: dict[str, str]
    width: int
    height: int
    pixel_format: str
    stored: str
    stores_rgb: bool
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
    gamut: Gamut
    source_is_rgb: bool
    stabilized: bool

    @classmethod
    def of(cls, film: Film, options: FilmOptions) -> Encoding:
        """The encoding for a film: its upright size, and its depth, matrix and range as far as the codec takes them.

        Raises:
            UserError: the codec is unknown, takes no pixel format that would do, or not an option that is asked for.
        """
        import av

        frame = film.first
        turns = quarter_turns(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        planar = frame.format
        is_rgb = planar.is_rgb
        is_full = int(frame.color_range) == _FULL_RANGE or planar.name.startswith("yuvj")
        bits = _bits(planar)
        odd = bool(width % 2 or height % 2)
        sampling = re.match(r"yuvj?(\d{3})p", planar.name) if options.colored == "skip" and turns % 2 == 0 else None
        formats = formats_for(
            options.codec, options.pix_fmt, bits=bits, odd=odd, own=sampling[1] if sampling and not odd else ""
        )
        depth = _bits(formats.planes)
        if odd and options.pix_fmt is None and _is_widened(planar, formats.planes):
            film.remarks.append(
                f"its size, {width} x {height}, is odd: its chroma became as large as its luma (4:4:4), which not "
                "every player shows"
            )
        kept = min(depth, _bits(av.VideoFormat(formats.stored)))
        if kept < bits:
            keeps = "" if kept == 10 else "; --codec libx265 keeps 10"
            film.remarks.append(f"its {bits} bits a channel became {kept} ({options.codec}){keeps}")
        matrix = int(frame.colorspace)
        if is_rgb or matrix in (0, 2):
            matrix = _BT709 if frame.height >= 720 else _SMPTE170M
        aspect = film.aspect or None
        own = _encoder_options(film, options, depth)
        given = _given_options(options)
        check_options(options.codec, given, own, (width, height), formats.stored)
        return cls(
            codec=options.codec,
            options=_together(own, given),
            width=width,
            height=height,
            pixel_format=formats.planes.name,
            stored=formats.stored,
            stores_rgb=formats.stores_rgb,
            depth=depth,
            matrix=matrix,
            full_range=formats.stores_rgb if is_rgb else is_full,
            source_tags=(int(frame.color_primaries), int(frame.color_trc)),
            aspect=1 / aspect if aspect and turns % 2 else aspect,
            turns=turns,
            time_base=film.time_base,
            rate=film.rate,
            compare=options.compare,
            raw=options.raw,
            gamut=options.gamut,
            source_is_rgb=is_rgb,
            stabilized=bool(options.stabilize),
        )

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height in px of what is encoded."""
        return 2 * self.width if self.compare else self.width, self.height

    def gray(self, frame: VideoFrame, size: int) -> np.ndarray:
        """The network's input: the frame's luma, upright, in full range, stretched to ``(size, size)`` uint8."""
        luma = np.rot90(_plane(self._working(frame), 0, self.depth), self.turns)
        if self.depth == 10:
            luma = (luma >> 2).astype(np.uint8)
        square = gray_square(np.ascontiguousarray(luma), size)
        if self.full_range:
            return square
        return ((square.astype(np.float32) - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)

    def colored(self, frame: VideoFrame, square: np.ndarray | None) -> VideoFrame:
        """The frame to encode: upright, the film's luma and the chroma of ``square``, RGB ``(S, S, 3)`` float32.

        Without a square the frame's own chroma stays.
        """
        return self._stored(self._filled(frame, square))

    def _filled(self, frame: VideoFrame, square: np.ndarray | None) -> VideoFrame:
        """The same in the planes that chroma is filled into."""
        import av

        shown = av.VideoFrame(*self.shown_size, self.pixel_format)
        shown.pts, shown.time_base = frame.pts, frame.time_base
        sources = self._upright(frame)
        colored = sources if square is None else self._values(square, sources)
        for index, (source, values) in enumerate(zip(sources, colored, strict=True)):
            plane = _plane(shown, index, self.depth)
            if self.compare:
                plane[:, : source.shape[1]] = source
                plane = plane[:, source.shape[1] :]
            plane[:] = values
        if self.compare:
            self._label(shown)
        return shown

    def _stored(self, shown: VideoFrame) -> VideoFrame:
        """A frame in the encoder's format."""
        if self.stored == self.pixel_format:
            return shown
        return shown.reformat(
            format=self.stored,
            src_colorspace=self.matrix,
            dst_colorspace=self._stored_matrix,
            src_color_range="JPEG" if self.full_range else "MPEG",
            dst_color_range="JPEG" if self._stores_full_range else "MPEG",
        )

    @property
    def _stored_matrix(self) -> int:
        return _SMPTE170M if self.stored.startswith("yuvj") else self.matrix  # as every reader of JPEG expects

    @property
    def _stores_full_range(self) -> bool:
        return self.full_range or self.stores_rgb or self.stored.startswith("yuvj")

    def _label(self, shown: VideoFrame) -> None:
        """Say in the picture which half is which, in white on gray."""
        scale = 1 << (self.depth - 8)
        black, white = (0, 255) if self.full_range else (16, 235)
        luma, *chroma = (_plane(shown, index, self.depth) for index in range(3))
        for left, text in ((0, ORIGINAL), (self.width, COLORED)):
            half = luma[:, left : left + self.width]
            height, width = label(half, text, black=black * scale, white=white * scale)
            for plane in chroma:
                tall, wide = -(-luma.shape[0] // plane.shape[0]), -(-luma.shape[1] // plane.shape[1])
                if height:
                    plane[-(height // tall) :, left // wide : (left + width) // wide] = 128 * scale

    def shown(self, frame: VideoFrame, square: np.ndarray | None) -> np.ndarray:
        """What a player shows of :meth:`colored`, for measuring: RGB uint8, at most :data:`SHOWN_SIDE` px a side."""
        import av

        luma, cb, cr = self._upright(frame)
        tall, wide = -(-luma.shape[0] // cb.shape[0]), -(-luma.shape[1] // cb.shape[1])
        scale = min(1.0, SHOWN_SIDE / max(luma.shape))
        height, width = (max(2, round(length * scale / 2) * 2) if scale < 1 else length for length in luma.shape)
        small = av.VideoFrame(width, height, self.pixel_format)
        luma = np.ascontiguousarray(luma)
        if scale < 1:
            luma = cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA)
        shape = -(-height // tall), -(-width // wide)
        if square is None:
            planes = [luma, *(_resized(plane, shape) for plane in (cb, cr))]
        else:
            planes = self._values(square, [luma, np.empty(shape, np.uint8), np.empty(shape, np.uint8)])
        for index, values in enumerate(planes):
            _plane(small, index, self.depth)[:] = values
        levels = "JPEG" if self.full_range else "MPEG"
        return small.to_ndarray(
            format="rgb24", src_colorspace=self.matrix, src_color_range=levels, dst_color_range="JPEG"
        )

    def picture(self, frame: VideoFrame, square: np.ndarray | None) -> np.ndarray:
        """What a player shows of :meth:`colored`, at full size: RGB ``(H, W, 3)``, uint8, or uint16 of 10-bit film."""
        levels = "JPEG" if self.full_range else "MPEG"
        return self._filled(frame, square).to_ndarray(
            format="rgb24" if self.depth == 8 else "rgb48le",
            src_colorspace=self.matrix,
            src_color_range=levels,
            dst_color_range="JPEG",
        )

    def gray_picture(self, frame: VideoFrame) -> np.ndarray:
        """The frame's luma, upright, at full size and in full range: ``(H, W)``, uint8, or uint16 of 10-bit film."""
        luma = np.rot90(_plane(self._working(frame), 0, self.depth), self.turns)
        black, span = (0, 255) if self.full_range else (16, 219)
        scale, kind = 1 << (self.depth - 8), np.uint8 if self.depth == 8 else np.uint16
        top = np.iinfo(kind).max
        levels = (luma.astype(np.float32) - black * scale) * np.float32(top / (span * scale))
        return levels.round().clip(0, top).astype(kind)

    def _values(self, square: np.ndarray, sources: list[np.ndarray]) -> list[np.ndarray]:
        """The planes of the colored frame, from the network's picture and the planes of the original."""
        luma, *chroma = self._planes(square)
        cb, cr = (_resized(plane, sources[1].shape) for plane in chroma)
        if luma is None and self.gamut == "fit":
            self._fit(cb, cr, _calm(sources[0]) if self.stabilized else sources[0])
        return [sources[0] if luma is None else _resized(luma, sources[0].shape).round(), cb.round(), cr.round()]

    def _fit(self, cb: np.ndarray, cr: np.ndarray, luma: np.ndarray) -> None:
        """Weaken Cb and Cr in place where they do not fit the luma that is shown with them."""
        scale = 1 << (self.depth - 8)
        span, low = (255, 0) if self.full_range else (219, 16)
        middle, unit = np.float32(128 * scale), np.float32(scale * (255 if self.full_range else 224))
        matrix = _MATRICES.get(self.matrix, REC601)
        least, largest = _extremes(luma, cb.shape)
        for rows in strips(cb.shape):  # in the cache this takes half the time
            darkest, brightest = (
                plane[rows] / np.float32(scale * span) - np.float32(low / span) for plane in (least, largest)
            )
            cb[rows] -= middle
            cr[rows] -= middle
            room = room_for_chroma((cb[rows] / unit, cr[rows] / unit), (darkest, brightest), matrix)
            cb[rows] *= room
            cr[rows] *= room
        cb += middle
        cr += middle

    def add_stream(self, container: OutputContainer) -> VideoStream:
        """A video stream in ``container`` with this encoder."""
        from av.video.stream import VideoStream

        os.environ.setdefault("SVT_LOG", "1")  # errors only; SVT-AV1 has no option for that
        stream = container.add_stream(self.codec, rate=self.rate, options=dict(self.options))
        assert isinstance(stream, VideoStream)  # formats_for has refused other encoders
        context = stream.codec_context
        stream.width, stream.height = self.shown_size
        stream.pix_fmt = self.stored
        context.time_base = stream.time_base = self.time_base
        if self.codec in _FRAME_CLOCKED:
            context.time_base = 1 / self.rate
        elif self.codec in _COARSE_CLOCKED and self.time_base.denominator > _FINEST:
            context.time_base = _COARSE
        if self.aspect:
            context.sample_aspect_ratio = self.aspect
        self.describe_color(stream)
        return stream

    def picture_encoder(self) -> VideoCodecContext:
        """The encoder by itself, which gives a whole picture for each frame."""
        import av

        context = av.CodecContext.create(self.codec, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = self.shown_size
        context.pix_fmt = self.stored
        context.framerate, context.time_base = self.rate, self.time_base
        context.options = dict(self.options)
        context.color_range = 2 if self._stores_full_range else 1
        context.thread_count = 1  # with several, a picture comes out some frames later
        return context

    def describe_color(self, stream: VideoStream) -> None:
        """Set the color tags of ``stream``, by which players convert its levels to RGB."""
        context = stream.codec_context
        context.color_range = 2 if self._stores_full_range else 1
        context.colorspace = 0 if self.stores_rgb else self._stored_matrix
        primaries, transfer = self.source_tags
        if primaries not in _UNSPECIFIED:
            context.color_primaries = primaries
        if transfer not in _UNSPECIFIED:
            context.color_trc = transfer

    def _working(self, frame: VideoFrame) -> VideoFrame:
        """The frame in the encoder's pixel format, with its luma values unchanged; RGB is converted by ``matrix``."""
        size = (self.height, self.width) if self.turns % 2 else (self.width, self.height)
        if frame.format.name == self.pixel_format and (frame.width, frame.height) == size:
            return frame
        target = "JPEG" if self.full_range else "MPEG"
        return frame.reformat(
            *size,
            self.pixel_format,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range="JPEG" if self.source_is_rgb else target,
            dst_color_range=target,
        )

    def _upright(self, frame: VideoFrame) -> list[np.ndarray]:
        """The planes of :meth:`_working`, upright. Those of 4:2:2 have another shape when they have been turned."""
        import av

        working = self._working(frame)
        luma, *chroma = (np.rot90(_plane(working, index, self.depth), self.turns) for index in range(3))
        upright = av.VideoFormat(self.pixel_format, self.width, self.height)
        shape = upright.chroma_height(), upright.chroma_width()
        return [luma, *(plane if plane.shape == shape else _resized(plane, shape) for plane in chroma)]

    def _planes(self, square: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """Cb and Cr of the network's picture in the film's levels, ``(S, S)`` float32; Y before them if ``raw``."""
        matrix = _MATRICES.get(self.matrix, REC601)
        red, green, blue = square[..., 0], square[..., 1], square[..., 2]
        y = matrix.luma(red, green, blue)
        scale = 1 << (self.depth - 8)
        span, top = (255, 255) if self.full_range else (224, 240)
        low = 0 if self.full_range else 16
        cb, cr = (((128 + span * c).clip(low, top) * scale).astype(np.float32) for c in matrix.chroma(y, red, blue))
        luma = ((low + (255 if self.full_range else 219) * y).clip(low, 235 if low else 255) * scale).astype(np.float32)
        return luma if self.raw else None, cb, cr


def check_encoder(options: FilmOptions) -> None:
    """Refuse what the encoder does not take of any film, before there is one.

    Raises:
        UserError: no such encoder or pixel format, or it does not take its quality or another option.
    """
    formats = formats_for(options.codec, options.pix_fmt, bits=8, odd=False)
    own = quality_options(options.codec, options.crf) | _CODEC_OPTIONS.get(options.codec, {})
    check_options(options.codec, _given_options(options), own, (640, 480), formats.stored)


def _encoder_options(film: Film, options: FilmOptions, depth: int) -> dict[str, str]:
    """The encoder's options: quality, HDR of the film as far as it is kept, and what it always needs."""
    result = quality_options(options.codec, options.crf) | _CODEC_OPTIONS.get(options.codec, {})
    hdr = hdr_of(film.first)
    if hdr is not None:
        written = hdr_options(options.codec, hdr) if depth > 8 else None
        if written is None:
            film.remarks.append(
                f"its HDR metadata (mastering display, light levels) is not kept by {options.codec}; "
                "--codec libx265 and libsvtav1 keep it"
            )
        for name, text in (written or {}).items():
            result[name] = f"{result[name]}:{text}" if name in result else text
    return result


def _is_widened(source: VideoFormat, planes: VideoFormat) -> bool:
    """Whether the chroma of a film gets more samples than it has."""
    return not source.is_rgb and source.chroma_width(16) < planes.chroma_width(16)


def _bits(pixel_format: VideoFormat) -> int:
    return max(component.bits for component in pixel_format.components)


def _given_options(options: FilmOptions) -> dict[str, str]:
    """The encoder options that the user asks for, by ffmpeg's names."""
    return ({} if options.preset is None else {"preset": options.preset}) | dict(options.encoder_options)


def _together(own: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """The user's options instead of our own; lists of parameters (x265-params) behind them."""
    lists = {name: f"{own[name]}:{text}" for name, text in given.items() if name in own and name.endswith("-params")}
    return own | given | lists


def _resized(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``plane`` interpolated where ``shape`` is larger than the network's square, averaged where it is smaller."""
    larger = shape[0] >= plane.shape[0] and shape[1] >= plane.shape[1]
    method = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(plane), shape[1::-1], interpolation=method)


def _calm(luma: np.ndarray) -> np.ndarray:
    """Luma without its grain, by which chroma is fitted into the gamut: else it would be weakened with every grain."""
    return cv2.GaussianBlur(np.ascontiguousarray(luma), (0, 0), 3.0)


def _extremes(luma: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest luma of the pixels that share each sample of a chroma plane of ``shape``."""
    tall, wide = -(-luma.shape[0] // shape[0]), -(-luma.shape[1] // shape[1])
    if (tall, wide) == (1, 1):
        return luma, luma
    block, luma = np.ones((tall, wide), np.uint8), np.ascontiguousarray(luma)
    least, largest = (function(luma, block, anchor=(0, 0)) for function in (cv2.erode, cv2.dilate))
    return least[::tall, ::wide], largest[::tall, ::wide]


def _plane(frame: VideoFrame, index: int, depth: int) -> np.ndarray:
    """A plane of a frame as a writable view, without the padding of its lines."""
    plane = frame.planes[index]
    dtype = np.uint8 if depth == 8 else np.dtype("<u2")
    lines = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // np.dtype(dtype).itemsize)
    return lines[: plane.height, : plane.width]
