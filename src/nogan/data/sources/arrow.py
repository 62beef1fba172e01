"""Photographs in Arrow shards on a disk."""

import json
import os
from pathlib import Path

import numpy as np

from nogan.common.errors import UserError
from nogan.data.images import BadImage, decode, decode_color
from nogan.data.sources.base import short_digest

# The file that says what a prepared copy was begun with. A copy with this file and no ``state.json`` is unfinished.
PREPARING = "prepare.json"


class PreparedSource:
    """The copy that ``nogan prepare`` makes: Arrow shards of JPEG files, mapped into memory.

    Any folder that ``datasets`` wrote with ``save_to_disk`` will do, if it has an ``image`` column. Opening reads only
    the index of the rows. Their bytes are in the system's file cache, which all workers share.

    Args:
        path: the folder.
        setting: the config key or flag that names it, for the messages.
    """

    def __init__(self, path: str | Path, setting: str = "data.path"):
        self.path = Path(path).expanduser()
        self._open_all(setting)

    def _open_all(self, setting: str = "data.path") -> None:
        path = self.path
        try:
            state = json.loads((self.path / "state.json").read_text())
            self._shards = [self.path / entry["filename"] for entry in state["_data_files"]]
            self._copy = str(state.get("_fingerprint"))
            self._without_gray = (self.path / PREPARING).is_file()  # which `nogan prepare` has left out
            self._open(self._shards)
        except FileNotFoundError as error:
            raise UserError(f"{setting}={path} is not a whole prepared copy: {error.filename or error}") from error
        except (ValueError, KeyError, TypeError, OSError) as error:  # pyarrow's errors derive from these
            raise UserError(
                f"{setting}={path} is not a prepared copy that can be read ({' '.join(str(error).split())}); "
                f"a damaged one is repaired by `nogan prepare SRC {path}`"
            ) from error

    def _open(self, shards: list[Path]) -> None:
        import pyarrow as pa

        tables = [pa.ipc.open_stream(pa.memory_map(os.fspath(shard))).read_all() for shard in shards]
        batches = [batch for table in tables for batch in table.to_batches()]
        for batch in batches:
            batch.validate(full=True)  # damaged offsets would end the process when a row is read
        self._files = [batch.column("image").field("bytes") for batch in batches]
        named = bool(batches) and "name" in batches[0].schema.names
        self._labels = [batch.column("name") if named else batch.column("image").field("path") for batch in batches]
        self._ends = np.cumsum([len(batch) for batch in batches], dtype=np.int64)

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.path = path
        self._open_all()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"photograph {index} of {len(self)}")
        batch = int(np.searchsorted(self._ends, index, side="right"))
        return batch, int(index - self._ends[batch])  # an int: Arrow does not take NumPy's

    def name(self, index: int) -> str:
        """The name of the photograph's file in the source of the copy."""
        batch, row = self._locate(index)
        return self._labels[batch][row].as_py() or f"row {index}"

    def read(self, index: int) -> bytes:
        """The JPEG file of photograph ``index``. Raises BadImage where the row holds none."""
        batch, row = self._locate(index)
        data = self._files[batch][row].as_py()
        if data is None:
            raise BadImage("no bytes in its row")
        return data

    def fingerprint(self) -> dict[str, str]:
        """A digest of what the copy was made with and of its shards: see :func:`nogan.data.sources.fingerprint`."""
        shards = [(shard.name, shard.stat().st_size) for shard in self._shards]
        return {"copy": short_digest(repr((self._copy, shards)).encode())}

    def load(self, index: int, size: int) -> np.ndarray:
        """Photograph ``index`` as uint8 RGB ``(H, W, 3)``: see :func:`nogan.data.images.decode`."""
        return (decode if self._without_gray else decode_color)(self.read(index), size)


def arrow_folder(path: str | Path) -> Path | None:
    """Where ``datasets`` saved what :class:`PreparedSource` opens: ``path``, or its ``train`` part; None if nowhere."""
    root = Path(path).expanduser()
    return next((folder for folder in (root, root / "train") if (folder / "state.json").is_file()), None)
