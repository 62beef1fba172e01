"""Synchronized batch norm for the generator, as a plugin of Lightning's strategies on several devices."""

from pytorch_lightning.plugins import LayerSync
from torch import nn

from nogan.networks.sync_batchnorm import desynchronize, synchronize
from nogan.training.modules.gan import GANModule


class SyncedGenerator(LayerSync):
    """Lets the generator's batch norms see the whole batch while a run trains. The critic has none."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Before the network is wrapped for several devices."""
        assert isinstance(model, GANModule)
        synchronize(model.generator.network)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """After training."""
        assert isinstance(model, GANModule)
        desynchronize(model.generator.network)
        return model
