"""The generator and its conventional training: gray in, color out, on the feature loss."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from nogan.data.batches import Pair
from nogan.networks.build import layer_groups
from nogan.networks.losses import consistency_loss
from nogan.plan.schedule import layer_group_lr
from nogan.training.modules.optimizer import adamw

Metrics = dict[str, Tensor]


class GeneratorModule(pl.LightningModule):
    """A colorizing network with its loss and optimizer.

    On its own, ``Trainer().fit(GeneratorModule(network, loss), loader)`` trains it at a constant learning rate on a
    loader of :class:`Pair` batches. Inside :class:`~nogan.training.modules.gan.GANModule` it lends its losses and
    optimizer to the program.

    Args:
        network: gray to color, ``(B, 3, H, W)`` to the same shape, in model space; see :func:`layer_groups`.
        loss: ``(output, target) -> (total, parts)``.
        consistency_weight: of :func:`~nogan.networks.losses.consistency_loss`, for batches with a moved gray.
        lr: of the decoder, when fitted alone; the encoder trains at a tenth of it.
        weight_decay: decoupled, on every parameter that trains, biases and batch norm included.
        eps: Adam's.
        beta2: Adam's.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        *,
        consistency_weight: float = 0.0,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        eps: float = 1e-8,
        beta2: float = 0.99,
    ) -> None:
        super().__init__()
        self.network = network
        self.feature_loss = loss
        self.consistency_weight = consistency_weight
        self.lr = lr
        self.adam = {"weight_decay": weight_decay, "eps": eps, "betas": (0.9, beta2)}

    def forward(self, gray: Tensor, vividness: Tensor | None = None) -> Tensor:
        """Color ``(B, 3, H, W)`` of ``gray``, both in model space, at ``vividness`` ``(B,)`` if the network has one."""
        return self.network(gray) if vividness is None else self.network(gray, vividness)

    def colorize(self, batch: Pair) -> tuple[Tensor, Tensor, Metrics]:
        """The colors for a batch, and what is to be added to their loss so that they are consistent.

        Returns:
            Outputs ``(B, 3, H, W)``; the weighted loss of consistency, 0 for a batch without a moved gray; its parts.
        """
        if batch.moved_gray is None or batch.movement is None:
            outputs = self(batch.gray, batch.vividness)
            return outputs, outputs.new_zeros(()), {}
        # In one pass: one power iteration of spectral norm, and batch norm sees both.
        vividness = None if batch.vividness is None else batch.vividness.repeat(2)
        both = self(torch.cat([batch.gray, batch.moved_gray]), vividness)
        outputs, moved = both.chunk(2)
        steady = None if batch.vividness is None else 1 - batch.vividness
        loss = self.consistency_weight * consistency_loss(outputs, moved, batch.movement, steady)
        return outputs, loss, {"consistency_loss": loss.detach()}

    def pretrain_loss(self, batch: Pair) -> tuple[Tensor, Metrics]:
        """The feature loss of one batch, and its parts; with that of consistency, where the batch has a moved gray."""
        outputs, consistency, more = self.colorize(batch)
        loss, parts = self.feature_loss(outputs, batch.color)
        if more:
            loss = loss + consistency
        return loss, {"loss": loss.detach(), **parts, **more}

    def training_step(self, batch: Pair, batch_idx: int) -> Tensor:
        """One step when fitted alone."""
        loss, metrics = self.pretrain_loss(Pair(*batch))
        self.log_dict({f"generator/{name}": value for name, value in metrics.items()}, prog_bar=True)
        return loss

    def validation_step(self, batch: Pair, batch_idx: int) -> None:
        """The feature loss on held-out pairs when fitted alone."""
        loss, _ = self.pretrain_loss(Pair(*batch))
        self.log("val/feature_loss", loss, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with one parameter group for each layer group."""
        groups = [
            {"params": list(nn.ModuleList(modules).parameters()), "lr": lr}
            for modules, lr in zip(layer_groups(self.network), layer_group_lr(self.lr), strict=True)
        ]
        return adamw(groups, **self.adam)
