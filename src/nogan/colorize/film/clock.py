"""One clock for a whole film, where that of its file restarts or jumps.

Joined DVD cells, recordings in several parts and transport streams that were appended to each other start their clock
anew at each seam. From there on, the timestamps of every stream are lifted by one offset, so that the stream goes on
where it was. The rules are those of ``ffmpeg -c copy`` (``ts_discontinuity_process`` in its ffmpeg_demux.c): a packet
more than 0.1 s before the end of the one before it is a restart, and a pause of more than 10 s is a jump, which is
closed. Other containers (Matroska, MP4, AVI) are taken at their word.

Where the last packet of one stream comes behind the first of another from beyond the seam, ffmpeg lifts everything
twice; here such a packet keeps the offset of its own side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

BACK = Fraction(1, 10)
"""Seconds by which a stream may step back."""

AHEAD = 10
"""Seconds by which it may step ahead."""


@dataclass(frozen=True)
class Jump:
    """A place where the file's clock restarts or jumps.

    Attributes:
        at: seconds on the film's clock.
        by: seconds by which the file's clock moves there; negative where it goes back.
    """

    at: Fraction
    by: Fraction


class Clock:
    """Lifts the timestamps of packets, which come in the order of the file; see the module."""

    def __init__(self, *, may_jump: bool) -> None:
        """Begin at the start of a file.

        Args:
            may_jump: whether the container is of a kind whose clock may restart and jump.
        """
        self.jumps: list[Jump] = []
        self._may_jump = may_jump
        self._offset = Fraction(0)
        self._next: dict[int, Fraction] = {}  # by stream: the earliest time at which its next packet is decoded
        self._own: dict[int, Fraction] = {}  # by stream: the offset of its last packet
        self._latest: Fraction | None = None

    def lifted(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets of all streams, in the file's order, with timestamps on one clock."""
        for packet in packets:
            offset = self._offset
            if self._may_jump and packet.size and packet.dts is not None and packet.time_base:
                offset = self._follow(packet, packet.dts * packet.time_base)
            if offset and packet.time_base:
                ticks = round(offset / packet.time_base)
                packet.dts = None if packet.dts is None else packet.dts + ticks
                packet.pts = None if packet.pts is None else packet.pts + ticks
            yield packet

    def _follow(self, packet: Packet, stored: Fraction) -> Fraction:
        """The offset for a packet; notices where the clock restarts or jumps."""
        stream = packet.stream
        if stream.type not in ("video", "audio"):
            return self._offset
        expected = self._next.get(stream.index)
        offset, own = self._offset, self._own.get(stream.index, self._offset)
        if own != offset and expected is not None and abs(stored + own - expected) <= BACK:
            offset = own  # a parser has held it back: it is from before the seam that another stream has passed
        here = stored + offset
        begins = self._latest if expected is None else expected
        if begins is not None:
            step = here - begins
            # A stream that only now begins, in the middle of the film, is held against the others.
            back = expected is not None and step < -BACK
            if back or abs(step) > AHEAD:
                self._offset = offset = offset - step
                self.jumps.append(Jump(begins, step))
                here = begins
        self._next[stream.index] = here + _duration(packet, stream)
        self._latest = here
        self._own[stream.index] = offset
        return offset


def _duration(packet: Packet, stream: Stream) -> Fraction:
    """Seconds until the stream's next packet, as far as the container or the rate of the frames says it."""
    if packet.duration and packet.time_base:
        return packet.duration * packet.time_base
    rate = getattr(stream, "average_rate", None) if stream.type == "video" else None
    return 1 / rate if rate else Fraction(0)
