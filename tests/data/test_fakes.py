"""The cache of the critic's fakes: its bytes, what is noted of it and when, and going on after a cut."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nogan.common import distributed
from nogan.common.rng import torch_rng
from nogan.data import fakes
from nogan.data.fakes import FakeStore

COUNT, SIZE, BATCH = 21, 32, 4  # the last batch is small: it waits in a buffer
PICTURES = torch.rand(COUNT, 3, SIZE, SIZE, generator=torch_rng("fakes")) * 1.2 - 0.1  # beyond what a byte holds, too
BYTES = (PICTURES.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


class Cut(Exception):
    """Stands for the plug being pulled."""


@pytest.fixture
def store(tmp_path) -> FakeStore:
    return FakeStore(tmp_path / "cycle-1", COUNT, SIZE)


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """The time that the making of fakes sees; every batch takes a second."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(fakes, "time", clock)
    return clock


def colorizer(clock: SimpleNamespace, cut_at: int = COUNT) -> Callable[[list[np.ndarray]], Iterator[torch.Tensor]]:
    """A generator whose ``asked`` says which pictures it was asked for; the plug is pulled at ``cut_at``."""

    def colorize(batches: list[np.ndarray]) -> Iterator[torch.Tensor]:
        for numbers in batches:
            if cut_at in numbers:
                raise Cut
            clock.now += 1
            colorize.asked += [*numbers]
            yield PICTURES[numbers].contiguous(memory_format=torch.channels_last)  # as a generator gives them

    colorize.asked = []
    return colorize


@pytest.fixture
def noted(monkeypatch, store) -> list[int]:
    """Every note of the store; whatever one says is done has to be on the disk by then, whoever wrote it."""
    notes: list[int] = []
    on_disk, ranks = np.zeros(0, np.uint8), 0
    sync, note, one_rank = os.fsync, FakeStore._note, threading.Lock()

    def synced(file: int) -> None:
        nonlocal on_disk, ranks
        with one_rank:
            sync(file)
            if os.path.samestat(os.fstat(file), store._file.stat()):
                on_disk, ranks = np.array(store.open()), ranks + 1

    def checked(self: FakeStore, done: int, *about: Any) -> None:
        nonlocal ranks
        assert np.array_equal(on_disk[:done], BYTES[:done]) and ranks == distributed.world_size()
        notes.append(done)
        ranks = 0
        note(self, done, *about)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(FakeStore, "_note", checked)
    return notes


@pytest.mark.parametrize(
    ("seconds", "notes"), [(0, [4, 8, 12, 16, 20, 21]), (2, [8, 16, 21]), (5, [20, 21]), (60, [21])]
)
def test_the_disk_is_waited_for_every_few_seconds_and_the_pictures_are_the_same(
    store, clock, noted, monkeypatch, seconds, notes
):
    monkeypatch.setattr(fakes, "NOTE_SECONDS", seconds)
    reported: list[tuple[int, int]] = []
    store.fill(colorizer(clock), "a", BATCH, lambda *numbers: reported.append(numbers))
    assert noted == notes and store.done("a") == COUNT
    assert np.array_equal(store.open(), BYTES)
    assert reported == [(done, COUNT) for done in (4, 8, 12, 16, 20, 21)]


def test_what_was_cut_goes_on_from_the_last_note(store, clock, noted, monkeypatch):
    monkeypatch.setattr(fakes, "NOTE_SECONDS", 2)
    with pytest.raises(Cut):
        store.fill(colorizer(clock, cut_at=13), "a", BATCH)
    assert noted == [8] and store.done("a") == 8
    again = colorizer(clock)
    store.fill(again, "a", BATCH)
    assert again.asked == list(range(8, COUNT)) and np.array_equal(store.open(), BYTES)
    whole = colorizer(clock)
    store.fill(whole, "a", BATCH)
    assert whole.asked == [], "they are all there"


def test_another_generator_makes_them_anew_and_the_old_note_is_gone_before_the_old_pictures(store, clock):
    store.fill(colorizer(clock), "a", BATCH)
    assert store.done("b") == 0
    with pytest.raises(Cut):
        store.fill(colorizer(clock, cut_at=5), "b", BATCH)  # before its first note
    assert store.done("a") == store.done("b") == 0
    assert FakeStore(store.folder, COUNT - 1, SIZE).done("a") == 0


def in_two_ranks(monkeypatch: pytest.MonkeyPatch, work: Callable[[int], Any]) -> None:
    """Run ``work(rank)`` in two threads that meet as two processes would."""
    me, meet, values = threading.local(), threading.Barrier(2, timeout=20), [(0,), (0,)]

    def gathered(*mine: Any) -> list[tuple]:
        values[me.rank] = mine
        meet.wait()
        both = list(values)
        meet.wait()
        return both

    monkeypatch.setattr(distributed, "rank", lambda: me.rank)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "barrier", meet.wait)
    monkeypatch.setattr(distributed, "broadcast_from_rank_zero", lambda value: gathered(value)[0][0])
    monkeypatch.setattr(distributed, "all_reduce_max", lambda *mine: list(map(max, *gathered(*mine))))
    failed: list[BaseException] = []

    def run(rank: int) -> None:
        me.rank = rank
        try:
            work(rank)
        except BaseException as error:
            failed.append(error)
            meet.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_two_ranks_fill_one_file_and_note_together(store, noted, monkeypatch):
    """One of them finds that a note is due, the other does not: both wait for the disk, whose answer comes late."""
    seconds, sync = threading.local(), os.fsync
    monkeypatch.setattr(fakes, "time", SimpleNamespace(monotonic=lambda: seconds.now))
    monkeypatch.setattr(os, "fsync", lambda file: (time.sleep(0.1 * seconds.rank), sync(file)))
    asked: list[list[int]] = [[], []]

    def work(rank: int) -> None:
        seconds.now, seconds.rank = 0.0, rank

        def colorize(batches: list[np.ndarray]) -> Iterator[torch.Tensor]:
            for numbers in batches:
                seconds.now += 3 * rank  # the second is slow
                asked[rank] += [*numbers]
                yield PICTURES[numbers]

        store.fill(colorize, "a", BATCH)

    in_two_ranks(monkeypatch, work)
    assert noted == [16, 21]
    assert np.array_equal(store.open(), BYTES)
    assert asked[0] == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18] and sorted(asked[0] + asked[1]) == list(range(COUNT))


@pytest.mark.parametrize("cut", [COUNT, 12])
def test_a_flipped_bit_in_the_fakes_is_found_and_they_are_made_again(store, clock, caplog, monkeypatch, cut):
    monkeypatch.setattr(fakes, "NOTE_SECONDS", 0)
    try:
        store.fill(colorizer(clock, cut), "one", BATCH)
    except Cut:
        assert store.done("one") == cut
    content = bytearray(store._file.read_bytes())
    content[1000] ^= 1
    store._file.write_bytes(content)
    store.fill(colorizer(clock), "one", BATCH)
    assert "fakes.npy is damaged: the fakes are made again" in caplog.text
    assert np.array_equal(store.open(), BYTES) and store.done("one") == COUNT
    store._file.write_bytes(content[:-5])
    assert store.done("one") == 0
