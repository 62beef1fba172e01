"""One process at a time for a folder of a run or of a prepared copy: two that write would spoil it for both."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from nogan.common.errors import Occupied, UserError

NAME = ".lock"
_ours: set[Path] = set()  # folders that this process has; to open a lock's file again and close it would let go of it


@contextlib.contextmanager
def only_one(folder: Path, name: str = "") -> Iterator[None]:
    """Keep others out of ``folder`` within; it is made if need be, and removed if it is still empty afterwards.

    The lock is the system's, so that it ends with this process however that ends; worker processes do not share it.

    Args:
        folder: of a run, or of a prepared copy.
        name: what messages call it.

    Raises:
        Occupied: another process, or this one elsewhere, has it.
        UserError: the folder cannot be written to.
    """
    name = name or str(folder)
    busy = Occupied(f"{name}: another process is at it; wait for its end, or stop it")
    if folder.resolve() in _ours:
        raise busy
    made = not folder.exists()
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise UserError(f"{name}: cannot be written to: {error.strerror}") from error
    try:
        if not _lock_soon(file.fileno()):
            raise busy
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
    """Whether another process has ``folder``."""
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
    try:
        import fcntl
    except ImportError:  # not on Windows, where two at once are the user's own care
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    except OSError:  # a disk that knows no locks
        return True
    return os.fstat(descriptor).st_nlink > 0  # else its holder has just ended, and removed it
