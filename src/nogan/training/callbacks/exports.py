"""The weights that a run hands on: after pretraining, at each inflection point, and at the end."""

import shutil

import pytorch_lightning as pl

from nogan.networks import generator_file as exports
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, Phase, Plan
from nogan.runs.run_folder import GeneratorStage, RunFolder
from nogan.runs.snapshots import save_state
from nogan.training.modules import GANModule
from nogan.training.scheduler import NoGANScheduler


class Exports(pl.Callback):
    """Writes generator and critic as files that other runs and programs start from.

    ``generator.safetensors`` is the generator as it stands after the latest phase that trained it,
    ``generator@pretrained.safetensors`` the one before the first GAN phase, ``generator@inflection.safetensors`` the
    one at the latest inflection point, ``critic.safetensors`` the critic that a further cycle would go on from, and
    ``critic@gan.safetensors`` the one that the latest GAN phase trained.

    Args:
        plan: all phases.
        scheduler: says how a phase ended.
        folder: the run folder.
        name: of the run.
        model: of the config.
    """

    def __init__(self, plan: Plan, scheduler: NoGANScheduler, folder: RunFolder, *, name: str, model: str) -> None:
        self.plan, self.scheduler, self.folder = plan, scheduler, folder
        self.about = {"run": name, "model": model}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: GANModule) -> None:
        """Write what this phase finished."""
        if not trainer.is_global_zero:
            return
        index = trainer.current_epoch
        phase = self.plan[index]
        match phase:
            case CriticPhase():
                save_state(module.critic.network, self.folder.critic())
            case GeneratorPhase():
                self._save_generator(module, "final", phase)
                if index + 1 == len(self.plan) or self.plan[index + 1].cycle > 0:
                    self._save_generator(module, "pretrained", phase)
            case GANPhase():
                self._save_generator(module, "final", phase)
                if self.scheduler.record.end == "inflection":
                    self._save_generator(module, "inflection", phase)
                save_state(module.critic.network, self.folder.critic("gan"))
                if not self.folder.critic().is_file():  # the run began with this phase
                    shutil.copyfile(self.folder.critic_before(phase.cycle), self.folder.critic())
                if self.scheduler.restart == "post_gan":
                    save_state(module.critic.network, self.folder.critic())

    def _save_generator(self, module: GANModule, stage: GeneratorStage, phase: Phase) -> None:
        metrics = self.scheduler.record.metrics or {}
        about = {**self.about, "after": phase.name, "size": phase.size, "metrics": metrics}
        exports.save_generator(module.generator.network, self.folder.generator(stage), **about)
