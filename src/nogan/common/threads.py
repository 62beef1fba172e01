"""Reading ahead of the network and writing behind it, each in one thread and in bounded memory."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")
BUDGET = 200_000_000
"""Beyond this many bytes of pixels nothing more is read, so a photograph of 67 megapixels or more is read alone."""

_END = object()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def held_bytes(item: Any) -> int:
    """Bytes of the arrays in ``item``, also within tuples and lists; objects without ``nbytes`` count as 0."""
    if isinstance(item, tuple | list):
        return sum(held_bytes(part) for part in item)
    return getattr(item, "nbytes", 0)


def read_ahead(items: Iterable[Item], depth: int, budget: int = BUDGET) -> Generator[Item, None, None]:
    """Iterate over ``items`` in a thread, at most ``depth`` items ahead of the caller.

    The next item is not read while those ahead and the one in use hold more than ``budget`` bytes. An exception of
    ``items`` is raised here when its turn comes. Closing the generator stops the thread.
    """
    ready: deque[tuple[Any, int]] = deque()
    changed = threading.Condition()
    held, stopped = 0, False

    def put(item: Any) -> None:
        nonlocal held
        with changed:
            size = held_bytes(item)
            ready.append((item, size))
            held += size
            changed.notify_all()
            del item  # otherwise it stays in memory while the next is read
            changed.wait_for(lambda: stopped or (len(ready) < max(depth, 1) and held <= budget))

    def work() -> None:
        try:
            for item in items:
                put(item)
                del item
                if stopped:
                    return
            put(_END)
        except BaseException as error:
            put(_Failure(error))
        finally:
            if hasattr(items, "close"):
                items.close()  # a generator closes its files in the thread that ran it

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: ready)
                item, size = ready.popleft()
                changed.notify_all()
            if item is _END:
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item
            with changed:
                del item
                held -= size
                changed.notify_all()
    finally:
        with changed:
            stopped = True
            changed.notify_all()
        thread.join()


class WriteBehind(Generic[Item]):
    """Calls ``consume`` on each item, in order and in one thread, with at most ``depth`` items waiting.

    While the waiting items hold more than ``budget`` bytes, :meth:`put` waits; a single item of more than ``budget``
    bytes is consumed before it returns. An exception of ``consume`` is raised by a later :meth:`put`, or at the end of
    the ``with`` block.
    """

    def __init__(self, consume: Callable[[Item], Any], depth: int, budget: int = 2 * BUDGET) -> None:
        self._consume, self._depth, self._budget = consume, depth, budget
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[tuple[Future, int]] = deque()

    def put(self, item: Item) -> None:
        """Add an item; blocks while ``depth`` items, or ``budget`` bytes, are waiting already."""
        size = held_bytes(item)
        while self._pending and (
            len(self._pending) >= self._depth
            or size + sum(waiting for _, waiting in self._pending) > self._budget
            or self._pending[0][0].done()
        ):
            self._pending.popleft()[0].result()
        self._pending.append((self._pool.submit(self._consume, item), size))
        if size > self._budget:
            self.flush()

    def flush(self) -> None:
        """Wait until all items are consumed."""
        while self._pending:
            self._pending.popleft()[0].result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
            else:
                # Items that are waiting are still consumed, so that an interrupted run keeps its results.
                with contextlib.suppress(Exception):
                    self.flush()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
