"""Checkpoints of the whole run: every so many batches, and at every phase boundary."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from nogan.modules import GANModule
from nogan.plan import Phase
from nogan.scheduler import NoGANScheduler

LAST = "last.ckpt"


class RunCheckpoints(Checkpoint):
    """Writes ``checkpoints/…ckpt`` to a temporary name, synced and renamed; ``last.ckpt`` is a link to the newest.

    The checkpoints at phase boundaries are kept; of those within a phase, only the newest.

    Args:
        scheduler: says where the run stands.
        folder: the run folder.
        every_n_batches: within a phase.
    """

    def __init__(self, scheduler: NoGANScheduler, folder: Path, every_n_batches: int) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.folder = folder / "checkpoints"
        self.every_n_batches = every_n_batches

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: GANModule, outputs: Mapping[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        """Save within a phase, but not at its last batch: Lightning would resume that one into the next phase."""
        is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if (batch_idx + 1) % self.every_n_batches == 0 and not is_last:
            self._save(trainer, self._name(trainer, batch_idx + 1))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Save at the phase boundary, and remove what was saved within the phase."""
        self._save(trainer, self._name(trainer, None))

    def _name(self, trainer: pl.Trainer, batch: int | None) -> str:
        phase: Phase = self.scheduler.phase(trainer)
        return f"{trainer.current_epoch:02d}-{phase.name}-{'end' if batch is None else f'{batch:06d}'}.ckpt"

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        path = self.folder / name
        temporary = path.with_name(f".{name}.partial")
        trainer.save_checkpoint(temporary)  # every rank must call it; rank 0 writes
        if not trainer.is_global_zero:
            return
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        self._point_last_at(path)
        for other in self.folder.glob("*.ckpt"):
            if other.name not in {name, LAST} and not other.name.endswith("-end.ckpt"):
                other.unlink()

    def _point_last_at(self, path: Path) -> None:
        link = self.folder / f".{LAST}.partial"
        link.unlink(missing_ok=True)
        os.link(path, link)  # a hard link: works where symbolic links need a privilege
        link.replace(self.folder / LAST)
