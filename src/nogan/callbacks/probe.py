"""The probe: the same held-out photographs, measured and shown at the start, at every snapshot and at every phase end.

What is measured is the picture that a user gets: the network's chroma with the photograph's luma. The network runs in eval
mode and nothing of the training state moves.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor, nn

from nogan import color
from nogan.callbacks.telemetry import Telemetry
from nogan.data.datamodule import NoGANData
from nogan.files import write_atomically
from nogan.metrics import HeldOutMetrics
from nogan.modules import GANModule
from nogan.scheduler import NoGANScheduler


class Probe(pl.Callback):
    """Measures the generator on held-out photographs and draws the grid of samples.

    Args:
        scheduler: says where the run stands, and keeps the results in its records.
        telemetry: logs them, as ``val/…``.
        folder: the run folder; grids go to ``samples/``, a snapshot's metrics beside the snapshot.
        images: photographs measured.
        size: px, square.
        grid: photographs shown.
        batch_size: of the measurement.
    """

    def __init__(
        self,
        scheduler: NoGANScheduler,
        telemetry: Telemetry,
        folder: Path,
        *,
        images: int,
        size: int,
        grid: int,
        batch_size: int,
    ) -> None:
        self.scheduler, self.telemetry, self.folder = scheduler, telemetry, folder
        self.images, self.size, self.grid, self.batch_size = images, size, grid, batch_size
        self._photographs: Tensor | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Measure the generator before the first batch of the run."""
        if trainer.current_epoch == 0:
            self._measure(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: GANModule, outputs: Mapping[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        """Measure at snapshots; the last one is measured as the end of the phase."""
        phase = self.scheduler.phase(trainer)
        if not phase.is_snapshot(batch_idx + 1) or batch_idx + 1 == phase.steps:
            return
        metrics = self._measure(trainer, module)
        if trainer.is_global_zero:
            note = self.scheduler.snapshots(phase).path(batch_idx + 1).with_suffix(".json")
            write_atomically(note, lambda path: path.write_text(json.dumps(metrics)))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Measure what the phase made of the generator (after the rollback, if there was one)."""
        if self.scheduler.phase(trainer).kind != "critic":
            self.scheduler.record["metrics"] = self._measure(trainer, module)

    def _measure(self, trainer: pl.Trainer, module: GANModule) -> dict[str, float]:
        started = time.monotonic()
        photographs = self._load(trainer)
        outputs = self._colorize(trainer, module.generator.network, photographs)
        metrics = HeldOutMetrics()
        metrics.update(outputs, photographs)
        values = metrics.compute()
        self.telemetry.report(trainer, {f"val/{name}": value for name, value in values.items()})
        if trainer.is_global_zero:
            grid = draw_grid(photographs[: self.grid], outputs[: self.grid])
            self._show(trainer, grid)
        self.scheduler.leave_out(time.monotonic() - started)
        return values

    def _load(self, trainer: pl.Trainer) -> Tensor:
        if self._photographs is None:
            data: NoGANData = trainer.datamodule
            self._photographs = data.probe_photographs(self.images, self.size)
        return self._photographs

    def _colorize(self, trainer: pl.Trainer, network: nn.Module, photographs: Tensor) -> Tensor:
        device = trainer.strategy.root_device
        with evaluating(network), torch.no_grad(), trainer.precision_plugin.forward_context():
            batches = [
                color.denormalize(network(color.normalize(color.to_gray(batch)).to(device)).float()).cpu()
                for batch in photographs.split(self.batch_size)
            ]
        return color.with_luma_of(torch.cat(batches), photographs)

    def _show(self, trainer: pl.Trainer, grid: Image.Image) -> None:
        path = self.folder / "samples" / f"step-{trainer.global_step:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, grid.save)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [grid], step=trainer.global_step)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode within, and every module's own mode as it was afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def draw_grid(photographs: Tensor, outputs: Tensor, gap: int = 2) -> Image.Image:
    """A row for each of gray, output and truth; a column for each picture. Both inputs RGB ``(N, 3, H, W)`` in [0, 1]."""
    rows = torch.stack([color.to_gray(photographs), outputs, photographs])  # (3, N, 3, H, W)
    padded = nn.functional.pad(rows.flatten(0, 1), (0, gap, 0, gap), value=1.0).unflatten(0, rows.shape[:2])
    picture = padded.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # (3 H, N W, 3)
    pixels = picture[:-gap, :-gap].mul(255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.numpy())
