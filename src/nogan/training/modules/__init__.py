"""The LightningModules: generator, critic and the two together."""

from nogan.training.modules.critic import CriticModule
from nogan.training.modules.gan import GANModule
from nogan.training.modules.generator import GeneratorModule

__all__ = ["CriticModule", "GANModule", "GeneratorModule"]
