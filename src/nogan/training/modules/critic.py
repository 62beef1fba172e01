"""The critic and its conventional training: photographs against the generator's pictures."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from nogan.data.batches import Labeled
from nogan.networks.losses import critic_pretrain_loss
from nogan.training.modules.generator import Metrics
from nogan.training.modules.optimizer import adamw


class CriticModule(pl.LightningModule):
    """A patch critic with its loss and optimizer.

    On its own, ``Trainer().fit(CriticModule(network), loader)`` trains it on a loader of :class:`Labeled` batches.

    Args:
        network: pictures ``(B, 3, H, W)`` in model space to logits ``(B, patches)``, positive for a photograph.
        lr: when fitted alone.
        weight_decay: decoupled, on every parameter.
        eps: Adam's.
        beta2: Adam's.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        eps: float = 1e-8,
        beta2: float = 0.99,
    ) -> None:
        super().__init__()
        self.network = network
        self.lr = lr
        self.adam = {"weight_decay": weight_decay, "eps": eps, "betas": (0.9, beta2)}

    def forward(self, images: Tensor, vividness: Tensor | None = None) -> Tensor:
        """Logits ``(B, patches)`` of ``images`` in model space, at ``vividness`` ``(B,)`` if the critic is told one."""
        return self.network(images) if vividness is None else self.network(images, vividness)

    def pretrain_loss(self, batch: Labeled) -> tuple[Tensor, Metrics]:
        """Binary cross-entropy at every patch, and the share of pictures judged correctly."""
        logits = self.network(batch.images)
        loss = critic_pretrain_loss(logits, batch.is_real)
        judged_real = logits.detach().float().mean(dim=1) > 0
        accuracy = (judged_real == batch.is_real.bool()).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    def training_step(self, batch: Labeled, batch_idx: int) -> Tensor:
        """One step when fitted alone."""
        loss, metrics = self.pretrain_loss(Labeled(*batch))
        self.log_dict({f"critic/{name}": value for name, value in metrics.items()}, prog_bar=True)
        return loss

    def validation_step(self, batch: Labeled, batch_idx: int) -> None:
        """Loss and accuracy on held-out pictures when fitted alone."""
        _, metrics = self.pretrain_loss(Labeled(*batch))
        self.log_dict({f"val/critic_{name}": value for name, value in metrics.items()}, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over the whole critic."""
        return adamw([{"params": list(self.parameters())}], lr=self.lr, **self.adam)
