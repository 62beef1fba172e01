"""The generator's pictures that the critic trains on: a memory-mapped, uncompressed cache in the run folder.

A run that is interrupted while it makes them goes on where it was: how many are done is noted every few seconds,
with a hash of the generator. On several devices each makes its share of every round, into the same file.
"""

import hashlib
import json
import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from nogan.common import distributed
from nogan.common.files import noticing_a_full_disk, write_atomically

log = logging.getLogger(__name__)

Colorize = Callable[[list[np.ndarray]], Iterator[Tensor]]

NOTED = {"done", "count", "size", "fingerprint"}
CHUNK = 2**24
NOTE_SECONDS = 5.0  # between notes of how many are done: each waits for the disk; fakes not yet noted are made again


class FakeStore:
    """``count`` pictures of ``size`` px for one cycle, in one folder.

    Args:
        folder: made by :meth:`fill`.
        count: pictures.
        size: px, square.
    """

    def __init__(self, folder: Path, count: int, size: int) -> None:
        self.folder, self.count, self.size = folder, count, size

    @property
    def _file(self) -> Path:
        return self.folder / "fakes.npy"

    @property
    def _progress(self) -> Path:
        return self.folder / "progress.json"

    @property
    def _bytes(self) -> int:
        """Bytes of a picture."""
        return 3 * self.size**2

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return (self.count, 3, self.size, self.size)

    def done(self, fingerprint: str) -> int:
        """How many pictures by the generator with this ``fingerprint`` are on disk."""
        try:
            note = json.loads(self._progress.read_text())
        except (OSError, ValueError):  # not there, or damaged: then they are made again
            return 0
        if not isinstance(note, dict) or not note.keys() >= NOTED or ("crc" in note and "start" not in note):
            return 0
        matches = note["fingerprint"] == fingerprint and (note["count"], note["size"]) == (self.count, self.size)
        if not matches or not self._file.is_file():
            return 0
        if "crc" in note and self._crc(note["start"], note["done"]) != note["crc"]:
            log.error("%s is damaged: the fakes are made again", self._file)
            return 0
        return note["done"]

    def _crc(self, start: int, pictures: int) -> int | None:
        """A checksum of the first ``pictures``, which begin at byte ``start``; None if the file is too short."""
        left, crc = start + pictures * self._bytes, 0
        if self._file.stat().st_size != start + self.count * self._bytes:
            return None
        with self._file.open("rb") as file:
            while left > 0:
                chunk = file.read(min(left, CHUNK))
                left, crc = left - len(chunk), zlib.crc32(chunk, crc)
        return crc

    def fill(
        self, colorize: Colorize, fingerprint: str, batch_size: int, report: Callable[[int, int], None] | None = None
    ) -> None:
        """Make the pictures that are missing; every rank must call it.

        Args:
            colorize: turns batches of numbers, each ``(B,)``, into their pictures, in order: RGB ``(B, 3, size, size)``
                in [0, 1].
            fingerprint: of the generator; a cache made by another one is made again.
            batch_size: pictures in a batch.
            report: called on every rank with (done, count) after each round of batches, one on each rank.
        """
        rank, world = distributed.rank(), distributed.world_size()
        done = distributed.broadcast_from_rank_zero(self.done(fingerprint) if rank == 0 else 0)
        if done == self.count:
            return
        if done == 0 and rank == 0:
            self._begin()
        distributed.barrier()
        start = np.load(self._file, mmap_mode="r").offset
        # Of one process's pictures, as they are written. Of several, all are read once, when nobody writes any more.
        crc = self._crc(start, done) if world == 1 else None
        stride = batch_size * world
        rounds = [np.arange(first, min(first + stride, self.count)) for first in range(done, self.count, stride)]
        mine = [numbers[distributed.part(len(numbers), rank, world)] for numbers in rounds]
        pictures = colorize([numbers for numbers in mine if len(numbers)])
        # A handle that only writes: on a network's disk a page that was read or mapped is written back whole, together
        # with what it held of another machine's pictures.
        with os.fdopen(os.open(self._file, os.O_WRONLY | getattr(os, "O_BINARY", 0)), "wb") as file:
            noted = time.monotonic()
            for numbers, own in zip(rounds, mine, strict=True):
                if len(own):
                    content = self._write(file, start + int(own[0]) * self._bytes, next(pictures))
                    crc = zlib.crc32(content, crc) if crc is not None else None
                done = int(numbers[-1]) + 1
                (due,) = distributed.all_reduce_max(done == self.count or time.monotonic() - noted >= NOTE_SECONDS)
                if due:
                    with noticing_a_full_disk(self._file):
                        file.flush()
                        os.fsync(file.fileno())
                    distributed.barrier()  # what is noted is on the disk, from every rank
                    if rank == 0:
                        crc = self._crc(start, done) if done == self.count and crc is None else crc
                        self._note(done, fingerprint, start, crc)
                    noted = time.monotonic()
                if report:
                    report(done, self.count)

    def _begin(self) -> None:
        """Make the file at its full size."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in (self._progress, self._file):  # the note first: without its pictures it would be wrong
            old.unlink(missing_ok=True)
        with noticing_a_full_disk(self._file, math.prod(self._shape)):
            np.lib.format.open_memmap(self._file, mode="w+", dtype=np.uint8, shape=self._shape)

    def _write(self, file: BinaryIO, offset: int, pictures: Tensor) -> bytes:
        content = pictures.mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy().tobytes()
        with noticing_a_full_disk(self._file):
            file.seek(offset)
            file.write(content)
        return content

    def open(self) -> np.ndarray:
        """The pictures, ``(count, 3, size, size)`` uint8 RGB, memory-mapped."""
        return np.load(self._file, mmap_mode="r")

    def _note(self, done: int, fingerprint: str, start: int, crc: int | None) -> None:
        note = {"done": done, "count": self.count, "size": self.size, "fingerprint": fingerprint}
        if crc is not None:
            note |= {"start": start, "crc": crc}
        write_atomically(self._progress, lambda path: path.write_text(json.dumps(note)))


def fingerprint(network: nn.Module) -> str:
    """A hash of every parameter and buffer of ``network``."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
