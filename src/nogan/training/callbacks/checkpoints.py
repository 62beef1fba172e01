"""Checkpoints of the whole run: by batches, by minutes, when told to stop, and at every phase boundary."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.types import STEP_OUTPUT

from nogan.common import distributed
from nogan.common.errors import Interrupted, UserError
from nogan.common.files import DiskFull, bytes_of, temporary_beside, write_atomically
from nogan.plan import Plan
from nogan.runs.checkpoints import KEPT_WITHIN_A_PHASE, newest_first
from nogan.runs.run_folder import CheckpointName, RunFolder
from nogan.training import position
from nogan.training.modules import GANModule
from nogan.training.signals import StopOnSignal


class RunCheckpoints(Checkpoint):
    """Writes ``checkpoints/PHASE-NAME-BATCH.ckpt``; ``last.ckpt`` is a link to the newest.

    The checkpoints at phase boundaries are kept; of those within a phase, the two that were written last. A run that
    went back, because later checkpoints are damaged or led to values that are not finite, removes those later ones.

    Args:
        plan: one phase an epoch.
        module: says whether the last batch was skipped.
        folder: the run folder.
        every_n_batches: within a phase.
        every_n_minutes: within a phase, whatever the batches.
        stop: asked at each batch end whether a signal has come; then saves and raises :class:`Interrupted`.
    """

    def __init__(
        self,
        plan: Plan,
        module: GANModule,
        folder: RunFolder,
        *,
        every_n_batches: int,
        every_n_minutes: float,
        stop: StopOnSignal,
    ) -> None:
        super().__init__()
        self.plan, self.module, self.folder = plan, module, folder
        self.every_n_batches, self.every_n_seconds = every_n_batches, every_n_minutes * 60
        self.stop = stop
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Save within a phase, but not at its last batch: Lightning would resume that one into the next phase.

        Nor after a skipped batch, unless told to stop: a run that goes back because of too many skipped batches must
        find a state from before them.
        """
        if position.is_last_batch(trainer):
            return
        overdue = time.monotonic() - self._saved_at > self.every_n_seconds
        stop, late = distributed.all_reduce_max(self.stop.received, overdue)  # if one rank must save or stop, all do
        due = bool(late) or (batch_idx + 1) % self.every_n_batches == 0
        if stop or (due and not self.module.skipped_in_a_row):
            self._save(trainer, batch_idx + 1)
        if stop:
            raise Interrupted(stop)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the phase boundary."""
        self._save(trainer, None)
        self.stop.raise_if_received()

    def _save(self, trainer: pl.Trainer, batch: int | None) -> None:
        phase = self.plan[trainer.current_epoch]
        name = CheckpointName(trainer.current_epoch, batch is None, batch or 0, phase.name)
        path = self.folder.checkpoint(name)
        trainer.save_checkpoint(path)  # every rank must call it; rank 0 writes
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            self.folder.note_checkpoint()
            self._link_last(path)
            self._prune(path)

    def _link_last(self, path: Path) -> None:
        last = self.folder.last_checkpoint
        link = temporary_beside(last)
        try:
            os.link(path, link)  # a hard link: works where symbolic links need a privilege
        except OSError:  # a disk without hard links
            with contextlib.suppress(OSError):
                link.symlink_to(path.name)
        if link.exists():
            link.replace(last)
        else:  # neither: better no name than that of an older checkpoint
            last.unlink(missing_ok=True)

    def _prune(self, newest: Path) -> None:
        """Remove what is later than ``newest``, from before the run went back, and what is older than needed."""
        every = newest_first(self.folder)
        for path in every[: every.index(newest)]:
            path.unlink()
        for path in newest_first(self.folder, within_phases=True)[KEPT_WITHIN_A_PHASE:]:
            path.unlink()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary name, synced to disk and renamed, and says so when the disk is full."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint``, or leave what was there before.

        Raises:
            UserError: the disk is full.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_atomically(path, lambda temporary: torch.save(checkpoint, temporary), needed=bytes_of(checkpoint))
        except DiskFull as error:
            kept = newest_first(RunFolder(path.parent.parent))
            before = f"the one before it is whole ({kept[0].name})" if kept else "it would have been the first"
            raise UserError(f"{path}: {error.strerror} for this checkpoint; {before}") from error
