"""One process at a time for a run: two that write into the same folder would spoil it for both."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from nogan.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps the second process out
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other processes out of the run in ``folder`` within.

    The lock is the system's, so that it ends with this process however that ends; data workers do not share it.

    Raises:
        UserError: another process has it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    file = path.open("w")
    try:
        if not _lock(file.fileno()):
            raise UserError(f"{folder}: another process is at this run; wait for its end, or stop it")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        file.close()
        if made:
            with contextlib.suppress(OSError):  # what could not begin leaves no folder behind
                folder.rmdir()


def is_held(folder: Path) -> bool:
    """Whether another process is at the run in ``folder``."""
    try:
        file = (folder / NAME).open("r+")
    except OSError:
        return False
    with file:
        return not _lock(file.fileno())


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
