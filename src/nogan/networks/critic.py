"""The critic: a patch discriminator with spectral norm, dropout and self-attention, and no batch norm.

Source: DeOldify (https://github.com/jantic/DeOldify).
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from nogan.common.errors import UserError
from nogan.networks.blocks import ConfiguredModule, SelfAttention, sn_conv
from nogan.networks.vividness import VIVID, Vividness

INPUT_DROPOUT_SHARE = 0.5
"""Dropout after the first convolution, as a share of the later ones."""


class ConvLeaky(nn.Module):
    """Spectral-norm convolution with bias → LeakyReLU 0.2 (→ self-attention)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, *, attention: bool = False
    ) -> None:
        super().__init__()
        self.conv = sn_conv(in_channels, out_channels, kernel, stride=stride, padding=1, bias=True)
        self.attention = SelfAttention(out_channels) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H', W')``."""
        return self.attention(F.leaky_relu(self.conv(x), 0.2, inplace=True))


class Critic(ConfiguredModule):
    """Model space ``(B, 3, H, W)`` to logits ``(B, N)``, one for each overlapping patch, high for real photographs.

    ``conv4 /2 → dropout → doublings x [conv3 → dropout → conv4 /2] → conv3 → conv4``; each doubling halves the size and
    doubles the channels, so a side of S px gives S / 2^(doublings + 1) − 3 patches: 9 at 192 px and three doublings.

    Args:
        width: channels after the first convolution.
        doublings: number of doublings; the smallest image is 2^(doublings + 3) px.
        dropout: probability that a channel is dropped in a doubling (half of it after the first convolution).
        attention: self-attention after the first doubling.
        vividness: the arguments of :class:`~nogan.networks.vividness.Vividness`, for a critic that is told at which
            vividness a picture was to be colored; or None.
    """

    def __init__(
        self,
        width: int = 256,
        *,
        doublings: int = 3,
        dropout: float = 0.15,
        attention: bool = True,
        vividness: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.doublings = doublings
        self.min_size = 2 ** (doublings + 3)
        layers: list[nn.Module] = [ConvLeaky(3, width, 4, 2), nn.Dropout2d(dropout * INPUT_DROPOUT_SHARE)]
        for index in range(doublings):
            layers += [ConvLeaky(width, width, 3, 1), nn.Dropout2d(dropout)]
            layers += [ConvLeaky(width, 2 * width, 4, 2, attention=attention and index == 0)]
            width *= 2
        self.layers = nn.Sequential(*layers, ConvLeaky(width, width, 3, 1))
        self.head = sn_conv(width, 1, 4, padding=0)
        # Last, so that the other first weights are those of the critic without it. It changes the features that the
        # head weighs, which makes the logits those of a projection discriminator (Miyato & Koyama, arXiv:1802.05637).
        self.vividness = None if vividness is None else Vividness([width], **vividness)

    def forward(self, x: Tensor, vividness: Tensor | None = None) -> Tensor:
        """Model space ``(B, 3, H, W)`` to logits ``(B, N)`` in float32.

        Args:
            x: pictures.
            vividness: ``(B,)`` in [0, 1], for a critic that is told; 1 where none is given.

        Raises:
            UserError: a side below ``min_size``.
        """
        height, width = x.shape[-2:]
        if min(height, width) < self.min_size:
            raise UserError(
                f"image of {width} x {height} px: a critic of {self.doublings} doublings needs at least "
                f"{self.min_size} px a side; take larger images, or fewer doublings (model.critic.doublings)"
            )
        features = self.layers(x)
        if self.vividness is not None:
            (change,) = self.vividness(x.new_full((len(x),), VIVID) if vividness is None else vividness)
            features = change.of(features)
        return self.head(features).flatten(1).float()
