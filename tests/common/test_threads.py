"""Reading ahead and writing behind, in bounded memory."""

import threading
import time
from types import SimpleNamespace

import pytest

from nogan.common.threads import WriteBehind, read_ahead


def sized(nbytes, log, count):
    """``count`` items of so many bytes, each noted in ``log`` when it is made."""
    for index in range(count):
        log.append(index)
        yield index, SimpleNamespace(nbytes=nbytes)


@pytest.mark.parametrize(("nbytes", "ahead"), [(10, 1), (100, 0)])
def test_large_items_are_read_one_at_a_time_and_small_ones_ahead(nbytes, ahead):
    made = []
    for index, (number, _) in enumerate(read_ahead(sized(nbytes, made, 5), 1, budget=50)):
        expected, deadline = min(index + 1 + ahead, 5), time.monotonic() + 5
        while len(made) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)  # for one too many
        assert number == index and len(made) == expected


@pytest.mark.parametrize(("nbytes", "waits"), [(10, False), (100, True)])
def test_large_items_are_written_before_the_next_is_read(nbytes, waits):
    release, written = threading.Event(), []

    def write(item):
        assert release.wait(0.1 if waits else 5)
        written.append(item)

    if waits:
        release.set()
    with WriteBehind(write, 1, budget=50) as writer:
        writer.put(SimpleNamespace(nbytes=nbytes))
        assert bool(written) == waits
        release.set()
    assert len(written) == 1


def test_a_reader_that_fails_or_is_left_stops():
    def broken():
        yield 1
        raise OSError("gone")

    items = read_ahead(broken(), 1)
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
    made = []
    items = read_ahead(sized(100, made, 5), 1, budget=50)
    next(items)
    items.close()
    assert made == [0]
