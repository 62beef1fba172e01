"""The LightningModules: generator, critic and the two together."""

from nogan.modules.critic import CriticModule, Labelled
from nogan.modules.gan import GANModule
from nogan.modules.generator import GeneratorModule, Pair

__all__ = ["CriticModule", "GANModule", "GeneratorModule", "Labelled", "Pair"]
