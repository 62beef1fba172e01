"""Reads the file that W&B writes offline, with W&B's own message types."""

import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """Every ``wandb_internal_pb2.Record`` of an offline run's ``.wandb`` file, checksums checked.

    The frames are those of LevelDB's log (https://github.com/google/leveldb/blob/main/doc/log_format.md) after a header
    of seven bytes. ``wandb`` itself had a reader of them in Python until it moved its service to Go.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, message = 7, b""
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        checksum, length, kind = (
            int.from_bytes(data[position + a : position + b], "little") for a, b in ((0, 4), (4, 6), (6, 7))
        )
        if position + 7 + length > len(data):
            return  # still being written
        part = data[position + 7 : position + 7 + length]
        position += 7 + length
        assert checksum == zlib.crc32(bytes([kind]) + part)
        message = part if kind in (FULL, FIRST) else message + part
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(message)
            yield record


class OfflineRun:
    """What an offline run would upload."""

    def __init__(self, folder: Path) -> None:
        (self.folder,) = (folder / "wandb").glob("offline-run-*")
        (file,) = self.folder.glob("*.wandb")
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.axes: dict[str, str] = {}
        self.artifacts: list[Any] = []
        self.config: dict[str, Any] = {}
        self.run: Any = None
        self.exit: int | None = None
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                self.history.append(plain(record.history.item))
            elif kind == "summary":
                merge(self.summary, plain(record.summary.update))
            elif kind == "metric":
                self.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
            elif kind == "artifact":
                self.artifacts.append(record.artifact)
            elif kind == "exit":
                self.exit = record.exit.exit_code

    def points(self, name: str) -> list[dict[str, Any]]:
        """The history rows that have ``name``."""
        return [row for row in self.history if name in row]


def ended(folder: Path, seconds: float = 30) -> OfflineRun:
    """An offline run whose process has ended: W&B's service, a process of its own, may still write the file."""
    until = time.monotonic() + seconds
    while (run := OfflineRun(folder)).exit is None and time.monotonic() < until:
        time.sleep(0.2)
    return run


def plain(items: Any) -> dict[str, Any]:
    """Key-value items, which may be nested, as a dict."""
    values: dict[str, Any] = {}
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        into = values
        for key in outer:
            into = into.setdefault(key, {})
        into[last] = json.loads(item.value_json)
    return values


def merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Lay ``new`` over ``into``, level by level."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
