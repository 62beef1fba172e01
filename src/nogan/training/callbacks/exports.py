"""The weights that a run hands on: after pretraining, at each inflection point, and at the end."""

import shutil
from typing import Literal

import pytorch_lightning as pl

from nogan.networks import generator_file as exports
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, Phase
from nogan.runs.run_folder import GeneratorStage, RunFolder
from nogan.runs.snapshots import save_state
from nogan.training.modules import GANModule
from nogan.training.state import RunState


class Exports(pl.Callback):
    """Writes generator and critic as files that other runs and programs start from.

    ``generator.safetensors`` is the generator as it stands after the latest phase that trained it,
    ``generator@pretrained.safetensors`` the one before the first GAN phase, ``generator@inflection.safetensors`` the
    one at the latest inflection point, ``critic.safetensors`` the critic that a further cycle would go on from, and
    ``critic@gan.safetensors`` the one that the latest GAN phase trained.

    Args:
        module: generator and critic.
        state: says how a phase ended.
        folder: the run folder.
        goes_on_from: which critic a later cycle trains further: the one from before or after the GAN phase.
        name: of the run.
        model: of the config.
        data: the kind of pictures, of the config; a colorizer says so where it is given others.
    """

    def __init__(
        self,
        module: GANModule,
        state: RunState,
        folder: RunFolder,
        *,
        goes_on_from: Literal["pre_gan", "post_gan"],
        name: str,
        model: str,
        data: str,
    ) -> None:
        self.module, self.state, self.folder, self.goes_on_from = module, state, folder, goes_on_from
        self.about = {"run": name, "model": model, "data": data}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what this phase finished."""
        if not trainer.is_global_zero:
            return
        plan, index = self.state.plan, trainer.current_epoch
        phase = plan[index]
        match phase:
            case CriticPhase():
                save_state(self.module.critic.network, self.folder.critic())
            case GeneratorPhase():
                self._save_generator("final", phase)
                if index + 1 == len(plan) or plan[index + 1].cycle > 0:
                    self._save_generator("pretrained", phase)
            case GANPhase():
                self._save_generator("final", phase)
                if self.state.record.end == "inflection":
                    self._save_generator("inflection", phase)
                save_state(self.module.critic.network, self.folder.critic("gan"))
                if not self.folder.critic().is_file():  # the run began with this phase
                    shutil.copyfile(self.folder.critic_before(phase.cycle), self.folder.critic())
                if self.goes_on_from == "post_gan":
                    save_state(self.module.critic.network, self.folder.critic())

    def _save_generator(self, stage: GeneratorStage, phase: Phase) -> None:
        metrics = self.state.record.metrics or {}
        about = {**self.about, "after": phase.name, "size": phase.size, "metrics": metrics}
        exports.save_generator(self.module.generator.network, self.folder.generator(stage), **about)
