"""Checkpoint files of a run: their names, which is the newest, and whether one is whole."""

import errno
import logging
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from nogan.common.errors import UserError

log = logging.getLogger(__name__)

LAST = "last.ckpt"
NAME = re.compile(r"(\d{3})-(.+)-(\d{7}|end)\.ckpt")
KEPT_WITHIN_A_PHASE = 2  # the newest, and the one before it in case the newest is damaged


class Position(NamedTuple):
    """Where in the plan a checkpoint was taken, as its file name says; sorts by time."""

    phase: int
    finished: bool
    batch: int

    @classmethod
    def of(cls, path: Path) -> "Position | None":
        """The position that the name of ``path`` gives; None if it is no checkpoint of a run."""
        match = NAME.fullmatch(path.name)
        if not match:
            return None
        return cls(int(match[1]), match[3] == "end", 0 if match[3] == "end" else int(match[3]))


def newest_first(folder: Path, *, within_phases: bool = False) -> list[Path]:
    """The checkpoints in ``folder``, newest first; with ``within_phases``, without those at phase boundaries."""
    found = [(position, path) for path in folder.glob("*.ckpt") if (position := Position.of(path))]
    return [path for position, path in sorted(found, reverse=True) if not (within_phases and position.finished)]


def newest_whole_checkpoint(folder: Path, finite: bool = False) -> Path | None:
    """The newest checkpoint of the run in ``folder`` that is not damaged; None before the first.

    A damaged one is passed over with an error in the log; with ``finite``, so is one whose networks hold numbers that
    are not finite.

    Raises:
        UserError: there are checkpoints, and all are damaged; or one cannot be read.
    """
    there = newest_first(folder / "checkpoints")
    for path in there:
        if damage := damage_of(path) or (finite and _not_finite(path)):
            log.error("%s is damaged (%s): falling back to the checkpoint before it", path, damage)
            continue
        return path
    if there and not finite:
        raise UserError(
            f"resume={folder}: all {len(there)} checkpoints are damaged: bring back a copy of one, or start a new run"
        )
    return None


def _not_finite(path: Path) -> str | None:
    import torch

    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    bad = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
    return bad and f"{bad} is not finite"


def damage_of(path: Path) -> str | None:
    """What is wrong with a checkpoint file; None if every byte matches its checksum.

    Raises:
        UserError: the disk does not give it, which says nothing of the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except Exception as error:  # a damaged header takes the reader anywhere
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        return str(error) or type(error).__name__
    return f"{bad} does not match its checksum" if bad else None
