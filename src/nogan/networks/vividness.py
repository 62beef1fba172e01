"""One knob for one network: the decoder is told how vivid its colors may be, from 0 (steady) to 1 (vivid).

A small network turns the number into a scale and a shift for every channel of the decoder's normalized features. All of
them start at no change, so that the network gives the same picture at any vividness until the GAN phase, where the
critic's judgment counts by the vividness of each picture, has taught it otherwise. A critic can be told the number in
the same way.

Sources: Perez et al., "FiLM: visual reasoning with a general conditioning layer", arXiv:1709.07871; Dosovitskiy &
Djolonga, "You only train once: loss-conditional training of deep networks", ICLR 2020.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

VIVIDNESS = "vividness."
"""What the names of the knob's tensors in a network begin with."""

VIVID = 1.0
"""The vividness of a picture for which none is given."""


class Change(NamedTuple):
    """A scale and a shift, each ``(B, C, 1, 1)``, for normalized features ``(B, C, H, W)``."""

    scale: Tensor
    shift: Tensor

    def of(self, features: Tensor) -> Tensor:
        """The changed features, in their own precision."""
        return torch.addcmul(features + self.shift.to(features.dtype), features, self.scale.to(features.dtype))


class Vividness(nn.Module):
    """What the vividness changes in each normalization of a decoder, or in the features of a critic.

    Args:
        channels: of each normalization, in the decoder's order.
        hidden: width of the network that reads the vividness.
        rate: how much faster than the rest of the network it learns. Its last layers are multiplied by this number, so
            that an optimizer whose steps do not depend on the size of the gradient, as Adam's, moves the product by so
            much more (the "equalized learning rate" of Karras et al., arXiv:1710.10196).
    """

    def __init__(self, channels: Sequence[int], *, hidden: int = 32, rate: float = 10.0) -> None:
        super().__init__()
        self.rate = rate
        self.embed = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        layers = [nn.Linear(hidden, 2 * count) for count in channels]
        self.changes = nn.ModuleList(layers)
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, vividness: Tensor) -> list[Change]:
        """``(B,)`` in [0, 1] to the change of each normalization, in float32."""
        with torch.autocast(vividness.device.type, enabled=False):
            code = self.embed(vividness.float()[:, None])
            both = [(self.rate * layer(code))[:, :, None, None].chunk(2, dim=1) for layer in self.changes]
        return [Change(*halves) for halves in both]
