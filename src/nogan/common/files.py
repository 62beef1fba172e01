"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

QUOTA = getattr(errno, "EDQUOT", None)  # not on Windows
TEMPORARY = re.compile(r"\.nogan-[0-9a-f]{32}(\.\w+)?")  # a name that nobody else gives to a file


class DiskFull(OSError):
    """There is no room for a file, whichever exception the library that wrote it raised."""


@contextlib.contextmanager
def noticing_a_full_disk(path: Path, needed: int = 0) -> Iterator[None]:
    """Raise :class:`DiskFull` where writing ``path``, of ``needed`` bytes, fails because the disk is full."""

    def too_little() -> bool:
        return needed > 0 and shutil.disk_usage(path.parent).free < needed

    def full(because: str = "") -> DiskFull:
        wanted = f", {in_words(needed)} needed" if needed else ""
        because = because or f"{in_words(shutil.disk_usage(path.parent).free)} free{wanted}"
        return DiskFull(errno.ENOSPC, f"no room on the disk ({because})", str(path))

    if too_little():
        raise full()
    try:
        yield
    except Exception as error:  # safetensors and torch raise types of their own
        number = getattr(error, "errno", None)
        if number is not None and number == QUOTA:
            raise full("the quota is used up") from error
        if number == errno.ENOSPC or "No space left" in str(error) or too_little():
            raise full() from error
        raise


def in_words(size: int) -> str:
    """``size`` bytes in MB, or in GB from 0.1 GB on."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def bytes_of(content: Any) -> int:
    """Bytes of the tensors in nested mappings and sequences; any other value counts as 64."""
    if isinstance(content, Mapping):
        return sum(map(bytes_of, content.values()))
    if isinstance(content, list | tuple):
        return sum(map(bytes_of, content))
    return getattr(content, "nbytes", 64)


def temporary_beside(path: Path) -> Path:
    """A name for a temporary file in the folder of ``path``, with the same suffix."""
    return path.with_name(f".nogan-{uuid.uuid4().hex}{path.suffix}")


def write_atomically(path: Path, write: Callable[[Path], Any], *, needed: int = 0) -> None:
    """Write a temporary file beside ``path``, flush it to the disk, then rename it to ``path``.

    So ``path`` is either the old file or the whole new one, and no temporary file is left. The temporary name has the
    same suffix, by which many writers know the format. The file gets the permissions of the umask, also where its
    writer (safetensors) would make it private.

    Args:
        path: the file; its folder must exist.
        write: called with the temporary path.
        needed: approximate size in bytes, where it is known.

    Raises:
        DiskFull: there is no room for it.
    """
    temporary = temporary_beside(path)
    try:
        with noticing_a_full_disk(path, needed):
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            write(temporary)
            temporary.chmod(mode)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files that a killed process left in ``folder`` and below."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()
