"""The pixel format that an encoder gets, and the one in which luma and chroma are put together before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.video.format import VideoFormat

_RGB, _DEEP_RGB = ("rgb24", "gbrp", "bgr0", "rgb0", "rgba", "bgra"), ("rgb48be", "rgb48le", "gbrp10be", "gbrp10le")
"""Formats of encoders that take RGB only, at 8 bits a channel and at more."""


@dataclass(frozen=True)
class Formats:
    """Two pixel formats, by ffmpeg's names.

    Attributes:
        planes: Y'CbCr in planes of 8 or 10 bits, in which the chroma is filled in.
        stored: what the encoder gets; mostly the same.
        stores_rgb: whether that is RGB.
    """

    planes: VideoFormat
    stored: str
    stores_rgb: bool


def formats_for(codec: str, wanted: str | None, *, bits: int, odd: bool, own: str = "") -> Formats:
    """The formats for an encoder that suit a film best.

    Args:
        codec: name of an ffmpeg encoder.
        wanted: the format that the user names for it; None for one that is as near to the film's as can be.
        bits: of a channel of the film.
        odd: whether its width or height is an odd number.
        own: the sampling that comes before others ("422"): the film's, where shots are kept with their chroma.

    Raises:
        UserError: no such encoder, or none of its formats will do.
    """
    names = _known_formats(codec)
    if wanted is not None:
        return _as_wanted(codec, wanted, names)
    depths = ("10le", "") if bits > 8 and codec != "libx264" else ("", "10le")  # few players decode 10-bit H.264
    samplings = ("444", "420", "422") if odd else ("420", "422", "444")
    ordered = sorted(samplings, key=lambda sampling: sampling != own)
    choice = [f"yuv{sampling}p{depth}" for depth in depths for sampling in ordered]
    rgb = [*_DEEP_RGB, *_RGB] if bits > 8 else [*_RGB, *_DEEP_RGB]
    # An encoder that lists no formats is asked for the best one; check_container finds out whether it works.
    name = next((name for name in [*choice, *rgb] if name in names), None if names else choice[0])
    if name is None:
        raise UserError(f"--codec {codec} takes none of {', '.join(choice)}, only {', '.join(sorted(names))}.")
    return _with_planes(name)


def check_options(
    codec: str, given: Mapping[str, str], own: Mapping[str, str], size: tuple[int, int], stored: str
) -> None:
    """Refuse options that an encoder does not know, and values that it does not take.

    Args:
        codec: name of an ffmpeg encoder.
        given: the options that the user asks for, by ffmpeg's names.
        own: those that it gets anyway.
        size: of the film, width and height in px.
        stored: its pixel format.

    Raises:
        UserError: names the option.
    """
    if given and _rest_of(codec, own, size, stored) is None:
        return  # it does not work at all here, which is said later
    for name, text in given.items():
        rest = _rest_of(codec, {**own, name: text}, size, stored)
        shown = f"--preset {text}" if name == "preset" else f"--encoder-option {name}={text}"
        if rest is None:
            raise UserError(f"{shown}: --codec {codec} does not take this value.")
        if name in rest:
            raise UserError(f"{shown}: --codec {codec} has no option {name!r} (ffmpeg -h encoder={codec} lists them).")


def _rest_of(codec: str, options: Mapping[str, str], size: tuple[int, int], stored: str) -> set[str] | None:
    """The options that an encoder leaves when it opens; None if it does not open."""
    from fractions import Fraction

    import av

    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt, context.framerate, context.time_base = stored, Fraction(25), Fraction(1, 25)
    context.options = dict(options)
    with _unheard():
        try:
            context.open()
        except (av.FFmpegError, ValueError):
            return None
        rest = set(context.options)
        del context  # x265 speaks as it ends, too
    return rest


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keep from stderr what x264 and others print there of a wrong option: a message of ours says it."""
    try:
        before = os.dup(2)
    except OSError:  # a program without a terminal has none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _known_formats(codec: str) -> set[str]:
    import av

    try:
        encoder = av.Codec(codec, "w")
    except ValueError as error:
        raise UserError(f"--codec {codec}: this ffmpeg has no such encoder.") from error
    if encoder.type != "video":
        raise UserError(f"--codec {codec} encodes {encoder.type}; expected a video encoder.")
    return {known.name for known in encoder.video_formats or ()}


def _as_wanted(codec: str, wanted: str, names: set[str]) -> Formats:
    import av

    try:
        pixel_format = av.VideoFormat(wanted)
    except ValueError as error:
        raise UserError(f"--pix-fmt {wanted}: ffmpeg has no such format; yuv420p is the most usual.") from error
    if names and wanted not in names:
        raise UserError(f"--pix-fmt {wanted}: --codec {codec} takes {', '.join(sorted(names))}.")
    if len(pixel_format.components) < 3 and not pixel_format.has_palette:
        raise UserError(f"--pix-fmt {wanted} holds no colors.")
    return _with_planes(wanted)


def _with_planes(stored: str) -> Formats:
    """The planes that are nearest to a format; those of RGB have 10 bits, so that luma comes out as it went in."""
    import av

    pixel_format = av.VideoFormat(stored, 16, 16)
    bits = max(component.bits for component in pixel_format.components)
    if pixel_format.is_rgb:
        return Formats(av.VideoFormat("yuv444p10le"), stored, True)
    wide, tall = (16 // pixel_format.chroma_width(16), 16 // pixel_format.chroma_height(16))
    sampling = {(1, 1): "444", (2, 1): "422"}.get((wide, tall), "420")
    return Formats(av.VideoFormat(f"yuv{sampling}p{'10le' if bits > 8 else ''}"), stored, False)
