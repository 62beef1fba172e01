"""The losses: what makes a colouring look right (pixels and features), and what makes it fool the critic.

All of them are computed in float32, also under autocast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class FeatureLoss:
    """L1 of the pixels plus weighted L1 of a frozen classifier's features; ``network=None`` is the pixels alone."""

    def __init__(self, network: str | None = "vgg16_bn", *, pixel_weight: float = 1.0) -> None:
        self.pixel_weight = pixel_weight
        if network is not None:
            raise NotImplementedError(network)

    def __call__(self, output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        pixel = self.pixel_weight * F.l1_loss(output.float(), target.float())
        return pixel, {"pixel": pixel.detach()}


def adversarial_loss(logits: Tensor, is_real: bool | Tensor) -> Tensor:
    """Binary cross-entropy of the critic's logits ``(B, N)``, the target expanded to every patch.

    Args:
        logits: ``(B, N)``, high for "real".
        is_real: one answer for all images, or ``(B,)`` with one for each.
    """
    logits = logits.float()
    target = torch.as_tensor(is_real, dtype=logits.dtype, device=logits.device).view(-1, 1).expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, target)


def generator_adversarial_loss(fake_logits: Tensor) -> Tensor:
    """BCE(D(G(x)), 1): the generator wants its pictures to be taken for photographs."""
    return adversarial_loss(fake_logits, True)


def critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½ [BCE(D(y), 1) + BCE(D(G(x)), 0)]: 0.693 is chance."""
    return (adversarial_loss(real_logits, True) + adversarial_loss(fake_logits, False)) / 2


def critic_pretrain_loss(logits: Tensor, is_real: Tensor) -> Tensor:
    """BCE of a mixed batch: logits ``(B, N)``, ``is_real`` ``(B,)`` with 1 for a photograph and 0 for a fake."""
    return adversarial_loss(logits, is_real)
