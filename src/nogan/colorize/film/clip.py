"""A part of a film, from one time to another, as if it were the whole: its streams, its frames and its chapters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

_SECONDS = re.compile(r"\d+(\.\d+)?")


def seconds_of(text: str) -> Fraction:
    """The seconds of a time such as ``90.5``, ``1:30.5`` or ``0:01:30.500``.

    Raises:
        UserError: it is no such time.
    """
    *others, last = text.split(":")
    fits = len(others) <= 2 and all(map(str.isdecimal, others)) and _SECONDS.fullmatch(last)
    if not fits or any(Fraction(part) >= 60 for part in (*others, last)[1:]):
        raise UserError(f"{text!r} is not a time, such as 90.5 (seconds) or 0:01:30.500")
    total = Fraction(0)
    for part in (*others, last):
        total = 60 * total + Fraction(part)
    return total


def clock_time(seconds: Fraction) -> str:
    """A time as a player shows it, such as 1:02:03.4."""
    tenths = round(float(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest // 10:02d}.{rest % 10}"


@dataclass(frozen=True)
class Clip:
    """From when to when of a film, in seconds since its first frame; the clip's own clock begins at ``start``.

    Attributes:
        zero: when the film's first frame is shown, on its clock.
        start: the beginning; None for that of the film, whose clock is then kept.
        end: the end; what begins then is no longer in the clip. None for the film's.

    Raises:
        UserError: the clip ends before it begins.
    """

    zero: Fraction
    start: Fraction | None
    end: Fraction | None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= (self.start or 0):
            raise UserError(
                f"--end {clock_time(self.end)}: expected a time after --start {clock_time(self.start or Fraction(0))}."
            )

    @property
    def begins(self) -> Fraction | None:
        """When it begins, on the film's clock; None at the film's beginning."""
        return None if self.start is None else self.zero + self.start

    @property
    def ends(self) -> Fraction | None:
        """When it ends, on the film's clock; None at the film's end."""
        return None if self.end is None else self.zero + self.end

    @property
    def shift(self) -> Fraction:
        """Seconds by which everything is earlier on the clip's clock."""
        return self.begins or Fraction(0)

    def has(self, time: Fraction) -> bool:
        """Whether what is shown at ``time``, on the film's clock, is in the clip."""
        return (self.begins is None or time >= self.begins) and (self.ends is None or time < self.ends)

    def check(self, path: object, until: Fraction, tolerance: Fraction) -> None:
        """Refuse a clip that goes beyond a film.

        Args:
            path: of the film, for the message.
            until: when the film ends, on its clock.
            tolerance: seconds by which the clip may end later.

        Raises:
            UserError: it begins or ends behind the film's end.
        """
        length = until - self.zero
        late = self.start is not None and self.start >= length
        if late or (self.end is not None and self.end > length + tolerance):
            flag, time = ("--start", self.start) if late else ("--end", self.end)
            raise UserError(f"{path}: {flag} {clock_time(time or length)}: the film ends at {clock_time(length)}.")

    def takes(self, packet: Packet) -> bool:
        """Whether a packet of any stream is in the clip; its timestamps are brought onto the clip's clock.

        Subtitles that are shown as the clip begins or ends are shortened.
        """
        ticks = packet.dts if packet.pts is None else packet.pts
        if not packet.size or ticks is None or not packet.time_base:  # the end of a stream
            return True
        time, unit = ticks * packet.time_base, packet.time_base
        if packet.stream.type == "subtitle" and packet.duration:
            first, last = self._cut(time, time + packet.duration * unit)
            if first >= last:
                return False
            packet.pts = packet.dts = round((first - self.shift) / unit)
            packet.duration = round((last - first) / unit)
            return True
        if not self.has(time):
            return False
        shift = round(self.shift / unit)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        return True

    def frames(self, frames: Iterable[VideoFrame], unit: Fraction) -> Iterator[VideoFrame]:
        """Those frames of a film that are in the clip, on its clock; ``unit`` is that of their times, in seconds."""
        shift = round(self.shift / unit)
        for frame in frames:
            assert frame.pts is not None
            time = frame.pts * unit
            if self.ends is not None and time >= self.ends:
                return
            if self.has(time):
                frame.pts -= shift
                yield frame

    def chapters(self, chapters: Iterable[Any]) -> list[Any]:
        """The chapters of a film, as far as they are in the clip, on its clock."""
        kept = []
        for chapter in chapters:
            unit = chapter["time_base"]
            first, last = self._cut(chapter["start"] * unit, chapter["end"] * unit)
            if first < last:
                times = {"start": round((first - self.shift) / unit), "end": round((last - self.shift) / unit)}
                kept.append({**chapter, **times})
        return kept

    def _cut(self, first: Fraction, last: Fraction) -> tuple[Fraction, Fraction]:
        begins, ends = self.begins, self.ends
        return first if begins is None else max(first, begins), last if ends is None else min(last, ends)
