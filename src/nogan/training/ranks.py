"""Watching over the processes of a run on several devices ("ranks"): which is silent, which has died, who says why.

Ranks wait for each other in every batch, so one that stops, stops all of them, and without this without a word until
PyTorch gives up after half an hour. Here a thread of each rank touches a file of its own in the run folder, which all
of them share, and looks at those of the others. A file is used because it also tells of rank zero, which keeps what
PyTorch's processes otherwise speak through.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import distributed as dist

from nogan.common.errors import EndedElsewhere, Interrupted, UserError
from nogan.common.program import program

if TYPE_CHECKING:
    import pytorch_lightning as pl

log = logging.getLogger(__name__)

BEAT = 2.0  # seconds between two signs of life
SILENT = 30.0  # seconds without one, after which a rank is reported
GONE = 8.0  # seconds without one, after which a rank to which the connection was lost is taken for dead
PATIENCE = 5.0  # seconds for a process to end by itself, once another has

DONE, FAILED = "done", "failed"
SAID = "said"
LOST = ("gloo", "connection closed by peer", "connection reset by peer", "broken pipe")
"""In errors of PyTorch's backends that only mean that another process has ended; NCCL's have a type of their own."""


class Ranks:
    """The ranks of a run, within a ``with`` block around its training; does nothing for a run of one process.

    A rank that is silent for :data:`SILENT` seconds is named in the log. After ``limit`` minutes of it, or when a rank
    has died, the run ends with one line; what it had saved stays. A user's mistake that one rank finds, or that all of
    them find, is said once: the others end with :class:`EndedElsewhere`.

    Args:
        folder: holds the signs of life while the run trains; on a disk that all ranks share.
        limit: minutes; None waits for ever.
        to_go_on: the command that resumes the run.
    """

    def __init__(self, folder: Path, limit: float | None, to_go_on: str) -> None:
        self.folder, self.limit, self.to_go_on = folder, limit, to_go_on
        self.rank, self.world = 0, 1
        self._children: dict[int, subprocess.Popen] = {}  # that Lightning started, by their rank
        self._launcher: Any = None
        self._signs: dict[int, tuple[Any, float]] = {}  # of each other rank: the latest sign, and when it was seen
        self._reported: set[int] = set()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    # --- the block ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def follow(self, trainer: "pl.Trainer") -> None:
        """Watch over the processes of ``trainer``, which is about to train."""
        self.rank, self.world = trainer.global_rank, trainer.world_size
        self._launcher = trainer.strategy.launcher
        if self.world == 1 or self._thread is not None:
            return
        if self.rank == 0:
            self._forget()  # what a run that was killed has left
            self.folder.mkdir(parents=True)
        self._thread = threading.Thread(target=self._watch, name="ranks", daemon=True)
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        self._over.set()
        self._thread.join()
        if error is None or isinstance(error, Interrupted):
            self._note(DONE)
            self._forget_if_first()
            return
        end = self._why_lost() if is_lost_connection(error) else None
        if isinstance(end or error, UserError) and not self._may_say():
            end = EndedElsewhere()
        self._leave()
        if end is not None:
            raise end from error

    def _leave(self) -> None:
        """Note that this rank has failed, and let the others end before it; the first one sees to it that they do."""
        self._note(FAILED)
        _until(lambda: not self._alive(), PATIENCE)
        self._kill_children()
        self._forget_if_first()

    # --- signs of life ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._over.wait(BEAT):
            self._take_over_children()
            if dist.is_initialized():  # before, the others may not have begun
                self._touch()
                self._look()
                self._report()
            if (why := self._known_end() or self._too_silent()) is not None:
                self._end(why)

    def _take_over_children(self) -> None:
        """Watch over the processes that Lightning has started, in its place: it would kill this one without a word."""
        if started := getattr(self._launcher, "procs", None):
            self._children |= dict(enumerate(started, start=1))
            started.clear()

    def _touch(self) -> None:
        with contextlib.suppress(OSError):  # of a folder that rank zero has removed, at the end of the run
            path = self.folder / str(self.rank)
            if not self._signs:  # rank zero has made it, but a network's disk may not show it yet
                self.folder.mkdir(exist_ok=True)
            if not path.exists():
                path.write_text("")
            os.utime(path)

    def _note(self, how: str) -> None:
        with contextlib.suppress(OSError):
            (self.folder / str(self.rank)).write_text(how)

    def _look(self) -> None:
        """See which of the others have given a sign since last time."""
        now = time.monotonic()
        for rank in self._others():
            sign = self._sign(rank)
            if rank not in self._signs or self._signs[rank][0] != sign:
                self._signs[rank] = sign, now

    def _sign(self, rank: int) -> Any:
        try:
            with (self.folder / str(rank)).open() as file:  # opened, because a network's disk then looks again
                return os.fstat(file.fileno()).st_mtime_ns, file.read()
        except OSError:
            return None

    def _how(self, rank: int) -> str:
        """``done`` or ``failed``, if ``rank`` has ended and said so; else empty."""
        if not self.folder.is_dir():  # rank zero removes it when it ends
            return DONE
        sign = self._sign(rank)
        return sign[1] if sign else ""

    def _silent(self, seconds: float) -> list[int]:
        """Those that have given no sign for so long."""
        now = time.monotonic()
        since = {rank: seen for rank, (_, seen) in self._signs.items() if not self._how(rank)}
        return [rank for rank, seen in since.items() if now - seen >= seconds]

    def _report(self) -> None:
        silent = set(self._silent(SILENT))
        if (new := silent - self._reported) and self._speaks(silent):
            end = "" if self.limit is None else f"; the run ends after {self.limit:g} min (trainer.max_silent_minutes)"
            waits = f"training waits for {'it' if len(new) == 1 else 'them'}{end}"
            # at the level that ranks other than zero log at
            log.critical(f"{_named(new, 'has', 'have')} given no sign of life for {SILENT:g} s, and {waits}")
        if (back := self._reported - silent) and self._speaks(silent):
            log.critical("%s back", _named(back, "is", "are"))
        self._reported = silent

    def _speaks(self, silent: Iterable[int]) -> bool:
        """Whether this is the first rank that can still speak."""
        return all(rank in silent for rank in range(self.rank))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _known_end(self) -> UserError | EndedElsewhere | None:
        """Why this rank cannot go on, if another has said so, or a process that this one started has died."""
        if any(self._how(rank) == FAILED for rank in self._others()):
            return EndedElsewhere()
        for rank, child in self._children.items():
            if child.poll() and not self._how(rank):
                return self._ending(f"rank {rank} {_ended(child.returncode)}")
        return None

    def _too_silent(self) -> UserError | EndedElsewhere | None:
        if self.limit is None or not (silent := self._silent(self.limit * 60)):
            return None
        if not self._speaks(silent):
            return EndedElsewhere()
        what = _named(silent, "has", "have")
        return self._ending(f"{what} given no sign of life for trainer.max_silent_minutes={self.limit:g}")

    def _why_lost(self) -> UserError | EndedElsewhere | None:
        """Why the connection to another rank was lost; None if it was not because that one has ended."""
        if not self.folder.is_dir():
            return EndedElsewhere()

        def gone() -> list[int]:
            self._take_over_children()
            self._touch()
            self._look()
            return self._silent(GONE)

        _until(lambda: bool(gone() or self._known_end()), GONE + PATIENCE)
        if (end := self._known_end()) is not None or not (silent := gone()):
            return end
        return self._ending(_named(silent, "has died", "have died")) if self._speaks(silent) else EndedElsewhere()

    def _ending(self, what: str) -> UserError:
        return UserError(f"{what}, and training cannot go on without\nto go on: {self.to_go_on}")

    def _end(self, why: UserError | EndedElsewhere) -> None:
        """End this process, whose training waits for a rank that will not come, unless it ends by itself."""
        if self._over.wait(PATIENCE):
            return
        if isinstance(why, UserError) and self._may_say():
            print(f"{program('train')}: {why}", file=sys.stderr, flush=True)
        self._leave()
        from nogan.data.datamodule import end_workers

        end_workers()
        os._exit(1)

    def _may_say(self) -> bool:
        """Whether no other rank has said what is wrong."""
        try:
            (self.folder / SAID).touch(exist_ok=False)
        except FileNotFoundError:  # before the folder was made: as if alone; after it was removed, rank zero has ended
            return self.rank == 0 or not self._signs
        except OSError:
            return False
        return True

    def _alive(self) -> bool:
        """Whether another rank is there that will still end by itself."""
        self._look()
        return any(not self._how(rank) and rank not in self._silent(GONE) for rank in self._signs)

    def _kill_children(self) -> None:
        for child in self._children.values():
            if child.poll() is None:
                child.kill()

    def _forget_if_first(self) -> None:
        if self.rank == 0:
            self._forget()

    def _forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _others(self) -> list[int]:
        return [rank for rank in range(self.world) if rank != self.rank]


def is_lost_connection(error: BaseException) -> bool:
    """Whether ``error`` only says that another rank cannot be reached."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(words in text for words in LOST)
    )


def _named(ranks: Iterable[int], one: str, several: str) -> str:
    numbers = sorted(ranks)
    if len(numbers) == 1:
        return f"rank {numbers[0]} {one}"
    return f"ranks {', '.join(map(str, numbers))} {several}"


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    often = ", often because memory ran out" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{often}"


def _until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until ``condition()``, but no longer than that."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(min(0.1, BEAT / 2))
