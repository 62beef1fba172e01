"""A moving average of the generator's weights beside the run: steadier colors, no influence on training."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nogan.networks import build_generator
from nogan.networks import generator_file as exports
from nogan.plan import CriticPhase, GANPhase
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore, save_tensors
from nogan.training.modules import GANModule
from nogan.training.scheduler import NoGANScheduler

WARM_UP = 10  # the first averages reach back a tenth of the steps so far


class GeneratorEMA(pl.Callback):
    """Follows the generator, and writes ``generator@ema.safetensors`` after every phase that trained it.

    Parameters are averaged, ``ema ← decay · ema + (1 - decay) · parameter``, after batches that served the generator
    and no others. Buffers are copied: the vectors of spectral norm's power iteration and the statistics of batch norm
    are no weights, and an average of unit vectors is none. While the average is young it reaches back less far: the
    decay is (1 + n) / (10 + n) after n steps where that is lower.

    A rollback at the inflection point takes the average back to the same snapshot, for which it is kept beside the
    snapshots. On several devices the first rank keeps it.

    Args:
        scheduler: says where the run stands.
        folder: the run folder.
        decay: in [0, 1); 0.999 averages over about the last 1000 batches.
        name: of the run.
        model: of the config.
    """

    def __init__(self, scheduler: NoGANScheduler, folder: RunFolder, decay: float, *, name: str, model: str) -> None:
        self.scheduler, self.folder, self.decay = scheduler, folder, decay
        self.about = {"run": name, "model": model, "ema": decay}
        self.average: dict[str, Tensor] = {}
        self.updates = 0

    def on_train_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Begin with the generator as it is, or put a restored average on the device."""
        if not trainer.is_global_zero:
            return
        state = module.generator.network.state_dict()
        for name, tensor in state.items():
            self.average[name] = self.average.get(name, tensor).to(tensor, copy=True)
        if not self.scheduler.records or trainer.current_epoch == len(self.scheduler.plan):
            return
        phase = self.scheduler.phase(trainer)
        if isinstance(phase, GANPhase):
            self._snapshots(phase).discard_after(self.scheduler.record.steps)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Keep the average before a GAN phase, to which a rollback may go."""
        phase = self.scheduler.phase(trainer)
        if trainer.is_global_zero and isinstance(phase, GANPhase):
            self._snapshots(phase).discard_after(-1)
            self._keep(phase, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: GANModule, outputs: Mapping[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        """Follow, if this batch trained the generator and was not skipped."""
        if not trainer.is_global_zero:
            return
        if module.generator.training and not module.skipped:  # the network that a batch does not serve is in eval mode
            self.updates += 1
            follow(
                self.average, module.generator.network, min(self.decay, (1 + self.updates) / (WARM_UP + self.updates))
            )
        phase = self.scheduler.phase(trainer)
        if isinstance(phase, GANPhase) and phase.is_snapshot(batch_idx + 1):
            self._keep(phase, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Follow a rollback, and write the file."""
        phase, record = self.scheduler.phase(trainer), self.scheduler.record
        if not trainer.is_global_zero or isinstance(phase, CriticPhase):
            return
        if isinstance(phase, GANPhase) and record.rolled_back_to is not None:
            kept = load_file(self._snapshots(phase).path(record.rolled_back_to))
            self.average = {name: kept[name].to(tensor) for name, tensor in self.average.items()}
        network = build_generator(**module.generator.network.config, pretrained=False)
        network.load_state_dict(self.average)
        exports.save_generator(network, self.folder.generator("ema"), **self.about, after=phase.name, size=phase.size)

    def _snapshots(self, phase: GANPhase) -> SnapshotStore:
        return self.scheduler.snapshots(phase).averages

    def _keep(self, phase: GANPhase, step: int) -> None:
        save_tensors(self.average, self._snapshots(phase).path(step))

    def state_dict(self) -> dict[str, Any]:
        """The average and its age."""
        return {"average": self.average, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.average, self.updates = state["average"], state["updates"]


@torch.no_grad()
def follow(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Take ``average``, a state dict, a step towards ``network``, in place; buffers are copied."""
    parameters = dict(network.named_parameters())
    names = list(parameters)
    torch._foreach_lerp_([average[name] for name in names], [parameters[name] for name in names], 1 - decay)
    for name, buffer in network.named_buffers():
        average[name].copy_(buffer)
