"""One process at a time in the folder of a run or of a prepared copy: two that write there would damage it."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from nogan.common.errors import Occupied, UserError

NAME = ".lock"
PATIENCE = 0.5
"""Seconds to wait for a lock: a process that only asks (:func:`is_held`) has it for a moment."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)  # of disks without them, as some networks' are
_ours: set[Path] = set()


@contextlib.contextmanager
def only_one(folder: Path, name: str = "") -> Iterator[None]:
    """Keep other processes out of ``folder`` within the context.

    The folder is made if need be, and removed if it is empty at the end. The lock is the system's: it ends with this
    process, however that ends, and workers that it forks do not hold it. On a disk without locks nobody is kept out.

    Args:
        folder: of a run, or of a prepared copy.
        name: what messages call it.

    Raises:
        Occupied: another process is in it, or another part of this one.
        UserError: the folder cannot be written to.
    """
    name = name or str(folder)
    busy = Occupied(f"{name}: another process is using it; wait for it to end, or stop it")
    if folder.resolve() in _ours:
        raise busy
    made, lock = not folder.exists(), FileLock(folder / NAME, fallback_to_soft=False)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(PATIENCE, poll_interval=PATIENCE / 5)
        except Timeout:
            raise busy from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise UserError(f"{name}: cannot be written to: {error.strerror}") from error
        _ours.add(folder.resolve())
        try:
            yield
        finally:
            _ours.discard(folder.resolve())
            with contextlib.suppress(OSError):
                (folder / NAME).unlink()
    finally:
        lock.release()
        if made:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def is_held(folder: Path) -> bool:
    """Whether another process is in ``folder``."""
    if folder.resolve() in _ours or not (folder / NAME).exists():
        return False
    lock = FileLock(folder / NAME, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # no permission, or a disk without locks
        return False
    lock.release()
    return False
