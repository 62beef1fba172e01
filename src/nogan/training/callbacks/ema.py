"""A moving average of the generator's weights beside the run: steadier colors, no influence on training."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import STEP_OUTPUT
from timm.utils import ModelEmaV3
from torch import Tensor

from nogan.networks import generator_file as exports
from nogan.plan import CriticPhase, GANPhase
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore, save_tensors
from nogan.training.modules import GANModule
from nogan.training.state import RunState

WARM_UP = 10  # the first averages reach back a tenth of the steps so far


class GeneratorAverage(ModelEmaV3):
    """timm's moving average with TensorFlow's warm-up: after n updates the decay is at most (1 + n) / (10 + n).

    Parameters are averaged, ``average ← decay · average + (1 - decay) · parameter``. Buffers are copied: the vectors of
    spectral norm's power iteration and the statistics of batch norm are not weights, and an average of unit vectors is
    not a unit vector.
    """

    def get_decay(self, step: int | None = None) -> float:
        """The decay of update ``step`` (from 1)."""
        assert step is not None
        return min(self.decay, (1 + step) / (WARM_UP + step))


class GeneratorEMA(pl.Callback):
    """Follows the generator, and writes ``generator@ema.safetensors`` after every phase that trained it.

    The average moves after batches that served the generator and no others. A rollback at the inflection point takes it
    back to the same snapshot, for which it is kept beside the snapshots. On several devices rank zero keeps it.

    Args:
        module: has the generator.
        state: says where the run stands.
        folder: the run folder.
        decay: in [0, 1); 0.999 averages over about the last 1000 batches.
        name: of the run.
        model: of the config.
        data: the kind of pictures, of the config.
    """

    def __init__(
        self, module: GANModule, state: RunState, folder: RunFolder, decay: float, *, name: str, model: str, data: str
    ) -> None:
        self.module, self.state, self.folder, self.decay = module, state, folder, decay
        self.about = {"run": name, "model": model, "data": data, "ema": decay}
        self.follower: GeneratorAverage | None = None  # on rank zero, from the start of training on
        self.updates = 0
        self._restored: dict[str, Tensor] = {}

    @property
    def average(self) -> dict[str, Tensor]:
        """The average as a state dict of the generator; empty before training."""
        return dict(self.follower.module.state_dict()) if self.follower else self._restored

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the generator as it is, or with the average of the run that goes on."""
        if not trainer.is_global_zero:
            return
        self.follower = GeneratorAverage(self.module.generator.network, self.decay, exclude_buffers=True)
        if self._restored:
            self.follower.module.load_state_dict(self._restored)
            self._restored = {}
        if trainer.current_epoch == len(self.state.plan):
            return
        phase = self.state.plan[trainer.current_epoch]
        if isinstance(phase, GANPhase) and self.state.is_within(phase):
            self._snapshots(phase).discard_after(self.state.record.steps)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the average before a GAN phase, to which a rollback may go."""
        phase = self.state.plan[trainer.current_epoch]
        if trainer.is_global_zero and isinstance(phase, GANPhase):
            self._snapshots(phase).discard_after(-1)
            self._keep(phase, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Follow, if this batch trained the generator and was not skipped."""
        if self.follower is None:
            return
        generator = self.module.generator
        if generator.training and not self.module.skipped:  # the network that a batch does not serve is in eval mode
            self.updates += 1
            self.follower.update(generator.network, self.updates)
        phase = self.state.plan[trainer.current_epoch]
        if isinstance(phase, GANPhase) and phase.is_snapshot(batch_idx + 1):
            self._keep(phase, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow a rollback, and write the file."""
        phase, record = self.state.plan[trainer.current_epoch], self.state.record
        if self.follower is None or isinstance(phase, CriticPhase):
            return
        network = self.follower.module
        if isinstance(phase, GANPhase) and record.rolled_back_to is not None:
            self._snapshots(phase).restore(record.rolled_back_to, network)
        exports.save_generator(network, self.folder.generator("ema"), **self.about, after=phase.name, size=phase.size)

    def _snapshots(self, phase: GANPhase) -> SnapshotStore:
        return SnapshotStore(self.folder.snapshots(phase.name)).averages

    def _keep(self, phase: GANPhase, step: int) -> None:
        save_tensors(self.average, self._snapshots(phase).path(step))

    def state_dict(self) -> dict[str, Any]:
        """The average and its age."""
        return {"average": self.average, "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._restored, self.updates = state_dict["average"], state_dict["updates"]
