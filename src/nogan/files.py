"""Files that are written whole or not at all."""

import os
import re
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write(temporary)`` fill a temporary file beside ``path``, flush it to the disk, then rename it to ``path``.

    Whatever happens, ``path`` is the old file or the whole new one, and no temporary file stays behind. The temporary
    name keeps the suffix, which tells many writers the format. The file gets the mode that the umask gives, also where
    its writer, like that of safetensors, would make it private.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
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
    """Remove the temporary files that a killed process left anywhere below ``folder``."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()
