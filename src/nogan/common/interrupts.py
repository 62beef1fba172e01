"""Ctrl-C while a program starts: Python tells it by an exception, which a library that is being imported may catch."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received: list[int] = []


@contextmanager
def remembered() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt``, as ever, and be remembered, for :func:`raise_if_received`.

    Where it is ignored, or somebody else's to handle, nothing changes.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _remember)
    try:
        yield
    finally:
        _received.clear()
        if signal.getsignal(signal.SIGINT) is _remember:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_if_received() -> None:
    """Raise ``KeyboardInterrupt`` if there was one since :func:`remembered` that something has caught.

    Imports of large libraries try things out and catch whatever is raised, Ctrl-C included. To be called where a start
    is over and long work begins.
    """
    if _received:
        raise KeyboardInterrupt


def _remember(signum: int, frame: FrameType | None) -> None:
    _received.append(signum)
    signal.default_int_handler(signum, frame)
