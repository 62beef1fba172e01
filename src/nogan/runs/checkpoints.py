"""Checkpoint files of a run: which is the newest, whether one is whole, and what can be read from it."""

import errno
import logging
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nogan.common.errors import UserError
from nogan.runs.records import PhaseRecord
from nogan.runs.run_folder import CheckpointName, Row, RunFolder, rows_of

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

KEPT_WITHIN_A_PHASE = 2  # the newest, and the one before it in case the newest is damaged


def newest_first(run: RunFolder, *, within_phases: bool = False) -> list[Path]:
    """The checkpoints of ``run``, newest first; with ``within_phases``, without those at phase boundaries."""
    found = [(name, path) for path in run.checkpoints.glob("*.ckpt") if (name := CheckpointName.of(path))]
    return [path for name, path in sorted(found, reverse=True) if not (within_phases and name.finished)]


def newest_whole_checkpoint(run: RunFolder, finite: bool = False) -> Path | None:
    """The newest checkpoint of ``run`` that is not damaged; None before the first.

    A damaged one is skipped with an error in the log; with ``finite``, so is one whose networks hold numbers that are
    not finite.

    Raises:
        UserError: there are checkpoints, and all are damaged; or one cannot be read.
    """
    there = newest_first(run)
    for path in there:
        if damage := damage_of(path) or (finite and _not_finite(path)):
            log.error("%s is damaged (%s): falling back to the checkpoint before it", path, damage)
            continue
        return path
    if there and not finite:
        raise UserError(
            f"resume={run}: all {len(there)} checkpoints are damaged: restore a copy of one, or start a new run"
        )
    return None


def records_so_far(run: RunFolder) -> list[PhaseRecord]:
    """The records of ``run``; of one that has not ended, those in its newest checkpoint that can be read."""
    if run.has_ended:
        return run.records()
    return _read_newest(run, lambda state: [PhaseRecord.from_dict(row) for row in state["NoGANScheduler"]["records"]])


def metrics_so_far(run: RunFolder) -> list[Row]:
    """The rows of ``metrics.csv``; of a run that has not ended, those in its newest checkpoint if the file is damaged.

    Nothing but the checkpoint can tell, while rows are still being added to the file.
    """
    rows = run.metrics()
    if run.has_ended:
        return rows
    kept = _read_newest(run, lambda state: rows_of(unpacked(state["Telemetry"]["csv"])))
    if len(rows) >= len(kept) and all(old.items() <= new.items() for old, new in zip(kept, rows, strict=False)):
        return rows
    log.warning("%s is damaged: the rows in the newest checkpoint are shown", run.metrics_file)
    return kept


def _read_newest(run: RunFolder, read: Callable[[Mapping[str, Any]], list[Any]]) -> list[Any]:
    """What ``read`` makes of the callbacks' states in the newest checkpoint that can be read; empty without any."""
    import torch

    for path in newest_first(run):
        try:  # memory-mapped: of what may be gigabytes, only the plain values are read
            return read(torch.load(path, map_location="cpu", mmap=True, weights_only=True)["callbacks"])
        except KeyError:  # before it had a state, or of 0.1.0
            return []
        except Exception as error:  # a damaged file can make the reader fail in any way
            log.warning("%s is damaged (%s): the one before it is read", path, _first_line(error))
    return []


def packed(content: bytes) -> "Tensor":
    """``content``, compressed, as a checkpoint can hold it."""
    import torch

    return torch.frombuffer(bytearray(zlib.compress(content, 1)), dtype=torch.uint8)


def unpacked(content: "Tensor") -> bytes:
    """Inverse of :func:`packed`."""
    return zlib.decompress(content.cpu().numpy().tobytes())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _not_finite(path: Path) -> str | None:
    import torch

    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    bad = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
    return bad and f"{bad} is not finite"


def damage_of(path: Path) -> str | None:
    """What is wrong with a checkpoint file; None if every byte matches its checksum.

    Raises:
        UserError: the disk fails to read it; the file itself may be whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except Exception as error:  # a damaged header can make the reader fail in any way
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        return str(error) or type(error).__name__
    return f"{bad} does not match its checksum" if bad else None
