"""What is common to graphs of ffmpeg's filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from av.filter import FilterContext
    from av.video.frame import VideoFrame


def ready(sink: FilterContext) -> Iterator[VideoFrame]:
    """The frames that are due at the end of a graph: until it needs more, or has ended."""
    import av

    while True:
        try:
            yield cast("VideoFrame", sink.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return
