"""Checksums of the small files of a run folder: a flipped bit in one often gives another valid value, and is not seen.

Weights and checkpoints hold their own. ``checksums.json`` has those of the files beside it and below, each with the one
of before, so that a process that is killed between the two writings leaves nothing that looks damaged.
"""

import hashlib
import json
import logging
from pathlib import Path

from nogan.common.files import write_atomically

log = logging.getLogger(__name__)

NAME = "checksums.json"


class Checksums:
    """The checksums that ``folder`` keeps of its files; without ``checksums.json`` nothing is checked.

    Args:
        folder: need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / NAME

    def write(self, path: Path, content: bytes) -> None:
        """Write the file ``path``, in the folder or below, atomically, and keep its checksum."""
        self._keep(path, content)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))

    def note(self, path: Path) -> None:
        """Keep the checksum of ``path``, which somebody else has written, as it is now."""
        self._keep(path, path.read_bytes())

    def knows(self, path: Path) -> bool:
        """Whether there is a checksum of ``path``."""
        return self._name(path) in self._read()

    def check(self, path: Path, content: bytes) -> bytes:
        """``content``, which was read from ``path``, if it is what was written.

        Raises:
            ValueError: it is not; the reason in a few words.
        """
        kept = self._read().get(self._name(path))
        if kept and _digest(content) not in kept:
            raise ValueError(f"does not match its checksum in {NAME}, which you can remove if you changed it yourself")
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        kept = self._read()
        before = kept.get(self._name(path), [])[:1]
        kept[self._name(path)] = list(dict.fromkeys([_digest(content), *before]))
        text = json.dumps(kept, indent=1) + "\n"
        write_atomically(self.file, lambda temporary: temporary.write_text(text))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _read(self) -> dict[str, list[str]]:
        try:
            kept = json.loads(self.file.read_bytes())
            if not isinstance(kept, dict) or not all(isinstance(value, list) for value in kept.values()):
                raise ValueError("expected a list for each file")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be read (%s): its files are not checked", self.file, error)
            return {}
        return kept


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
