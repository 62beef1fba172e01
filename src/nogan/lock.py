"""One process at a time for a run: two that write into the same folder would spoil it for both."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from nogan.errors import Occupied, UserError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps the second process out
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_ours: set[Path] = set()  # folders that this process has; to open a lock's file again and close it would let go of it


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other processes out of the run in ``folder`` within.

    The lock is the system's, so that it ends with this process however that ends; data workers do not share it.

    Raises:
        Occupied: another process has it.
        UserError: the folder cannot be written to.
    """
    made = not folder.exists()
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to: {error.strerror}") from error
    try:
        if not _lock_soon(file.fileno()):
            raise Occupied(f"{folder}: another process is at this run; wait for its end, or stop it")
        _ours.add(folder.resolve())
        try:
            yield
        finally:
            _ours.discard(folder.resolve())
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        file.close()
        if made:
            with contextlib.suppress(OSError):  # what could not begin leaves no folder behind
                folder.rmdir()


def is_held(folder: Path) -> bool:
    """Whether another process is at the run in ``folder``."""
    if folder.resolve() in _ours:
        return False
    try:
        file = (folder / NAME).open("r+")
    except OSError:
        return False
    with file:
        return not _lock(file.fileno())


def _lock_soon(descriptor: int) -> bool:
    """:func:`_lock`, tried a few times: one who only asks has it for a moment."""
    for _ in range(5):
        if _lock(descriptor):
            return True
        time.sleep(0.1)
    return False


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    except OSError:  # a disk that knows no locks
        return True
    return os.fstat(descriptor).st_nlink > 0  # else its holder has just ended, and removed it
