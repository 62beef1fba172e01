"""Work that goes on beside the network: reading ahead and writing behind, each in one thread and in bounded memory."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")
_END = object()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """Go through ``items`` in a thread, at most ``depth`` of them ahead; what it raises is raised here, in its place.

    Closing the iterator (or leaving its loop) stops the thread.
    """
    ready: queue.Queue[Any] = queue.Queue(max(depth, 1))
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:
            put(_Failure(error))
        finally:
            if hasattr(items, "close"):
                items.close()  # a generator lets go of its files in the thread that ran it

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()


class WriteBehind(Generic[Item]):
    """Calls ``consume`` on each item in one thread and in order, with at most ``depth`` items waiting.

    An exception of ``consume`` is raised by a later :meth:`put`, or at the end of the ``with`` block.
    """

    def __init__(self, consume: Callable[[Item], Any], depth: int) -> None:
        self._consume, self._depth = consume, depth
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future] = deque()

    def put(self, item: Item) -> None:
        """Hand over an item; waits while ``depth`` items are waiting already."""
        while len(self._pending) >= self._depth or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._consume, item))

    def flush(self) -> None:
        """Wait until everything that was handed over is done."""
        while self._pending:
            self._pending.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
            else:
                # What was handed over is still consumed, so that a cut run has all that it could have.
                with contextlib.suppress(Exception):
                    self.flush()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
