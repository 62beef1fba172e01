"""Interlaced film: two fields a frame, taken one after the other, become one whole picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from nogan.colorize.film.filters import ready

if TYPE_CHECKING:
    from av.filter import FilterContext, Graph
    from av.video.frame import VideoFrame

_FILTER = "mode=send_frame:parity=auto:deint=interlaced"
"""One frame for each, and those that are whole already stay as they are."""


def deinterlaced(frames: Iterable[VideoFrame], unit: Fraction) -> Iterator[VideoFrame]:
    """The same number of frames at the same times, without combs, by ffmpeg's filter bwdif.

    Each is made of its own fields and of those of its two neighbors.

    Args:
        frames: in the order in which they are shown.
        unit: of their times, in seconds.
    """
    chain: _Chain | None = None
    waiting: deque[tuple[int | None, int]] = deque()
    for frame in frames:
        kind = (frame.width, frame.height, frame.format.name)
        if chain is None or chain.kind != kind:  # the first frame, or frames of another size from here on
            if chain is not None:
                yield from _drained(chain, waiting, unit)
            chain = _chain_for(kind, unit)
        waiting.append((frame.pts, frame.duration))
        chain.into.push(frame)
        yield from _pulled(chain, waiting, unit)
    if chain is not None:
        yield from _drained(chain, waiting, unit)


class _Chain(NamedTuple):
    """The filter, and the kind of frames that it takes."""

    graph: Graph
    into: FilterContext
    out: FilterContext
    kind: tuple[int, int, str]


def _chain_for(kind: tuple[int, int, str], unit: Fraction) -> _Chain:
    import av

    width, height, pixel_format = kind
    graph = av.filter.Graph()
    into = graph.add_buffer(width=width, height=height, format=av.VideoFormat(pixel_format), time_base=unit)
    middle, out = graph.add("bwdif", _FILTER), graph.add("buffersink")
    into.link_to(middle)
    middle.link_to(out)
    graph.configure()
    return _Chain(graph, into, out, kind)


def _pulled(chain: _Chain, waiting: deque[tuple[int | None, int]], unit: Fraction) -> Iterator[VideoFrame]:
    for frame in ready(chain.out):
        frame.time_base = unit  # the filter counts in halves
        frame.pts, frame.duration = waiting.popleft()
        yield frame


def _drained(chain: _Chain, waiting: deque[tuple[int | None, int]], unit: Fraction) -> Iterator[VideoFrame]:
    chain.into.push(None)
    yield from _pulled(chain, waiting, unit)
