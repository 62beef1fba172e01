"""What an encoder is asked for: its constant quality, on its own scale, and the metadata of HDR film."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Scale:
    """The scale of an encoder's constant quality; lower is better.

    Attributes:
        best: its lower end.
        worst: its upper end.
        usual: what is taken if nothing is said; None for what the encoder takes by itself.
        options: the encoder's options, in which ``{}`` stands for the value.
    """

    best: int
    worst: int
    usual: int | None
    options: dict[str, str]


_CRF = {"crf": "{}"}
# PyAV cannot set the quality of a frame, by which ffmpeg's own -q works; equal bounds of the quantizer do the same.
_QUANTIZER = Scale(1, 31, 2, {"qmin": "{}", "qmax": "{}"})

_SCALES = {
    "libx264": Scale(0, 51, 17, _CRF),
    "libx264rgb": Scale(0, 51, 17, _CRF),
    "libx265": Scale(0, 51, 17, _CRF),
    "libsvtav1": Scale(0, 63, 17, _CRF),
    "libaom-av1": Scale(0, 63, 17, _CRF | {"b": "0"}),
    "libvpx-vp9": Scale(0, 63, 17, _CRF | {"b": "0"}),
    "libvpx": Scale(4, 63, 10, _CRF | {"b": "100M"}),  # a bound above which it does not go
    **{f"{name}_nvenc": Scale(0, 51, 17, {"rc": "vbr", "cq": "{}", "b": "0"}) for name in ("h264", "hevc", "av1")},
    **{f"{name}_qsv": Scale(1, 51, 17, {"global_quality": "{}"}) for name in ("h264", "hevc", "av1")},
    **dict.fromkeys(
        ("mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "msmpeg4", "msmpeg4v2", "wmv1", "wmv2", "flv", "h263", "h263p"),
        _QUANTIZER,
    ),
    "prores_ks": Scale(1, 31, None, {"flags": "+qscale", "global_quality": "{}"}),
}

_LAMBDA = 118
"""ffmpeg's unit of ``global_quality`` (FF_QP2LAMBDA)."""


def quality_options(codec: str, crf: int | None) -> dict[str, str]:
    """The options by which ``codec``, an ffmpeg encoder, has the constant quality ``crf``; None is its usual one.

    Raises:
        UserError: the encoder has no such scale, or the value is beyond its ends.
    """
    scale = _SCALES.get(codec)
    if scale is None:
        if crf is not None:
            raise UserError(f"--crf {crf}: --codec {codec} has no scale of constant quality; leave --crf out.")
        return {}
    value = scale.usual if crf is None else crf
    if value is None:
        return {}
    if not scale.best <= value <= scale.worst:
        raise UserError(f"--crf {value}: --codec {codec} takes {scale.best} (the best) to {scale.worst}.")
    value = value * _LAMBDA if codec == "prores_ks" else value
    return {name: text.format(value) for name, text in scale.options.items()}


class HDR(NamedTuple):
    """The static metadata of HDR10 film: the display that it was mastered on, and how bright it gets.

    Attributes:
        primaries: x and y of red, green, blue and white.
        luminance: the least and the largest of the display, in cd/m2; None where the film does not say.
        light: the largest light level of a pixel and of a frame on average, in cd/m2; None as before.
    """

    primaries: tuple[float, ...] | None
    luminance: tuple[float, float] | None
    light: tuple[int, int] | None


def hdr_of(frame: VideoFrame) -> HDR | None:
    """What a decoded frame says of HDR; None if it says nothing."""
    found = {data.type.name: bytes(data) for data in cast(Any, frame.side_data)}  # the stubs take it for a mapping
    primaries = luminance = light = None
    # AVMasteringDisplayMetadata: ten rationals, and which of them are set; AVContentLightMetadata: two numbers.
    if (mastering := found.get("MASTERING_DISPLAY_METADATA")) and len(mastering) >= 88:
        *numbers, has_primaries, has_luminance = struct.unpack("=22i", mastering[:88])
        values = [above / below if below else 0.0 for above, below in zip(numbers[::2], numbers[1::2], strict=True)]
        primaries = tuple(values[:8]) if has_primaries else None
        luminance = (values[8], values[9]) if has_luminance else None
    if (level := found.get("CONTENT_LIGHT_LEVEL")) and len(level) >= 8:
        light = struct.unpack("=2I", level[:8])
    return HDR(primaries, luminance, light) if primaries or luminance or light else None


def hdr_options(codec: str, hdr: HDR) -> dict[str, str] | None:
    """The options by which ``codec`` writes ``hdr``; None if it cannot."""
    if codec not in ("libx265", "libsvtav1"):
        return None
    parts = []
    if hdr.primaries and hdr.luminance:
        red, green, blue, white = (hdr.primaries[place : place + 2] for place in (0, 2, 4, 6))
        dark, bright = hdr.luminance
        if codec == "libx265":  # in units of 0.00002 and of 0.0001 cd/m2
            names = zip(("G", "B", "R", "WP"), (green, blue, red, white), strict=True)
            display = "".join(f"{name}({round(x * 50000)},{round(y * 50000)})" for name, (x, y) in names)
            parts.append(f"master-display={display}L({round(bright * 10000)},{round(dark * 10000)})")
        else:
            names = zip(("G", "B", "R", "WP"), (green, blue, red, white), strict=True)
            display = "".join(f"{name}({x:.5f},{y:.5f})" for name, (x, y) in names)
            parts.append(f"mastering-display={display}L({bright:.4f},{dark:.4f})")
    if hdr.light:
        name = "max-cll" if codec == "libx265" else "content-light"
        parts.append(f"{name}={hdr.light[0]},{hdr.light[1]}")
    return {"x265-params" if codec == "libx265" else "svtav1-params": ":".join(parts)}
