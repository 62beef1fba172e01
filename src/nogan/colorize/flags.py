"""The options of ``nogan colorize`` that the page has, too: one table of names, help and readers for both.

What the command alone has (files, checkpoints, what belongs to the machine) is in ``nogan.commands.colorize``, and what
the page has a control of its own for (saturation, tint, …) in ``nogan.app.page``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from nogan.common.errors import UserError

if TYPE_CHECKING:
    from nogan.colorize.adjustments import HueLimit

Group = Literal["blend", "colors", "result", "photographs", "film", "encoder"]
"""What an option is about. Those about the blend, the colors and the result hold for photographs and films."""

_NUMBER = r"(\d+(?:\.\d+)?)"


@dataclass(frozen=True)
class Flag:
    """An option of the command, which is a control of the page.

    Attributes:
        name: of the option, without its dashes.
        group: what it is about.
        help: what a person reads of it.
        read: gives its value from text.
        default: value where it is not given.
        metavar: stands for the text in the help; empty for a switch, which takes none.
        choices: texts that it takes; empty where it takes others.
        several: whether it may be given several times; its value is then the list of all.
    """

    name: str
    group: Group
    help: str
    read: Callable[[str], Any] = str
    default: Any = None
    metavar: str = ""
    choices: tuple[str, ...] = ()
    several: bool = False

    @property
    def option(self) -> str:
        """As it is written on a command line."""
        return f"--{self.name}"

    @property
    def field(self) -> str:
        """Its name in Python."""
        return self.name.replace("-", "_") + ("s" if self.several else "")

    @property
    def is_switch(self) -> bool:
        """Whether it takes no text."""
        return not self.metavar and not self.choices

    def value(self, text: str) -> Any:
        """Its value from what a person wrote in one field, where several texts are separated by spaces.

        Raises:
            UserError: it does not take that.
        """
        if self.several:
            return [self.read(part) for part in text.split()]
        if self.choices and text not in self.choices:
            raise UserError(f"{text!r}: expected one of {', '.join(self.choices)}")
        return True if self.is_switch else self.read(text.strip())

    def words(self, text: str) -> list[str]:
        """The same as words of a command line."""
        if self.is_switch:
            return [self.option]
        return [word for part in (text.split() if self.several else [text.strip()]) for word in (self.option, part)]


def check(values: Mapping[str, Any]) -> None:
    """Refuse values that are out of range, or that contradict each other.

    Args:
        values: by the names of :attr:`Flag.field`; those that are missing are the defaults.

    Raises:
        UserError: names the option.
    """
    from nogan.colorize.adjustments import Adjustments
    from nogan.colorize.blending import Blending
    from nogan.colorize.film.clip import Clip

    Adjustments(hue_limits=tuple(values.get("hue_limits", ())), shadows=values.get("shadows", 1.0))
    Blending(values.get("blend_luma"), values.get("blend_limit"))
    Clip(Fraction(0), values.get("start"), values.get("end"))


# --- readers ----------------------------------------------------------------------------------------------------------


def number(text: str) -> float:
    """A number.

    Raises:
        UserError: it is none; so do the other readers.
    """
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{text!r} is not a number") from None


def whole_number(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{text!r} is not a whole number") from None


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{text!r} is not a whole number above 0")
    return int(text)


def positive_number(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise UserError(f"{text!r} is not a number above 0")
    return value


def render_factor(text: str) -> int | str:
    """A whole number, or "auto"."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{text!r} is neither a whole number nor 'auto'") from None


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise UserError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def _levels(text: str) -> tuple[float, float]:
    found = re.fullmatch(rf"{_NUMBER}-{_NUMBER}", text)
    if not found:
        raise UserError(f"{text!r}: expected LOW-HIGH, such as 64-192")
    low, high = map(float, found.groups())
    return low, high


def _hue_limit(text: str) -> HueLimit:
    from nogan.colorize.adjustments import HueLimit

    found = re.fullmatch(rf"{_NUMBER}-{_NUMBER}:{_NUMBER}", text)
    if not found:
        raise UserError(f"{text!r}: expected LOW-HIGH:FACTOR, such as 270-330:0.3")
    return HueLimit(*map(float, found.groups()))


def _time(text: str) -> Fraction:
    from nogan.colorize.film.clip import seconds_of

    return seconds_of(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UserError(f"{text!r}: expected NAME=VALUE, such as tune=grain")
    return name, value


# --- the table --------------------------------------------------------------------------------------------------------

FLAGS = {
    flag.name: flag
    for flag in (
        Flag(
            "blend-luma",
            "blend",
            "the first of two in the shadows, the other in the lights, and both between these levels of 255: 64-192",
            _levels,
            metavar="LOW-HIGH",
        ),
        Flag(
            "blend-limit",
            "blend",
            "chroma never further than N levels of 255 from that of the first",
            number,
            metavar="N",
        ),
        Flag(
            "hue-limit",
            "colors",
            "factor of the chroma of a range of hues: 270-330:0.3 tames purple; may be given several times",
            _hue_limit,
            metavar="LOW-HIGH:F",
            several=True,
        ),
        Flag(
            "shadows",
            "colors",
            "factor of chroma in the dark: 0 keeps black neutral",
            number,
            default=1.0,
            metavar="F",
        ),
        Flag(
            "gamut",
            "colors",
            "chroma too strong for its luma: weaken it, so that luma stays (fit, the default), or cut it off as "
            "DeOldify does (clip)",
            default="fit",
            choices=("fit", "clip"),
        ),
        Flag(
            "colored",
            "colors",
            "photographs, and shots of film, that have colors already: keep them as they are (skip), or color anew "
            "(redo, the default)",
            default="redo",
            choices=("skip", "redo"),
        ),
        Flag("raw", "result", "the network's own colors, without the original's luma", default=False),
        Flag("compare", "result", "write the original and the result side by side", default=False),
        Flag(
            "batch-size",
            "result",
            "images a pass (default: 1 on a CPU, 8 on a GPU)",
            positive,
            metavar="N",
        ),
        Flag(
            "quality",
            "photographs",
            "of JPEG and WebP, 1-100 (default 95)",
            _quality,
            default=95,
            metavar="Q",
        ),
        Flag(
            "start",
            "film",
            "begin there: seconds, or H:MM:SS.mmm, since the film's first frame",
            _time,
            metavar="TIME",
        ),
        Flag("end", "film", "and end there", _time, metavar="TIME"),
        Flag(
            "shot-threshold",
            "film",
            "how unlike two frames must be for a cut; lower finds more (default 0.35)",
            positive_number,
            default=0.35,
            metavar="T",
        ),
        Flag(
            "deinterlace",
            "film",
            "make whole frames of interlaced ones (auto, the default), or take them as they are (off)",
            default="auto",
            choices=("auto", "off"),
        ),
        Flag(
            "audio",
            "film",
            "copy the sound, encode it anew, leave it out, or (auto) copy what fits and encode the rest",
            default="auto",
            choices=("auto", "copy", "transcode", "none"),
        ),
        Flag(
            "codec",
            "encoder",
            "video encoder of ffmpeg (default libx264)",
            default="libx264",
            metavar="CODEC",
        ),
        Flag(
            "crf",
            "encoder",
            "its constant quality, on its own scale; lower is better (default 17)",
            whole_number,
            metavar="N",
        ),
        Flag(
            "preset",
            "encoder",
            "slow, veryfast, …: how long it may take to make the file small",
            metavar="PRESET",
        ),
        Flag(
            "pix-fmt",
            "encoder",
            "its pixel format, such as yuv422p10le (default: the film's)",
            metavar="F",
        ),
        Flag(
            "encoder-option",
            "encoder",
            "any other option of it, as ffmpeg names them: tune=grain; may be given several times",
            _pair,
            metavar="K=V",
            several=True,
        ),
    )
}
"""Every option that both have, by its name, in the order of the page."""
