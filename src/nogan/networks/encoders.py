"""Encoders: image classifiers without their heads, as pyramids of features.

An encoder is an ``nn.Module`` that turns model space ``(B, 3, H, W)`` into a list of features, shallowest first, each at
half the size of the one before. It also offers

- ``channels`` and ``reductions``: a tuple each, one entry for each feature;
- ``groups()``: its modules in two lists, split behind the feature at reduction 8 (a ResNet: stem … layer2, then the rest).
"""

import torch.nn.functional as F
from torch import Tensor, nn

TINY_CHANNELS = (16, 32, 48, 80)
"""Channels of the tiny encoder at reductions 2, 4, 8, 16."""


class TinyEncoder(nn.Module):
    """Four plain stages, each two 3x3 convolutions of which the first halves the size: to train from scratch on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = TINY_CHANNELS
        self.reductions = (2, 4, 8, 16)
        inputs = (3, *TINY_CHANNELS[:-1])
        self.stages = nn.ModuleList(_TinyStage(i, o) for i, o in zip(inputs, TINY_CHANNELS, strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def groups(self) -> tuple[list[nn.Module], list[nn.Module]]:
        return list(self.stages[:3]), list(self.stages[3:])


class _TinyStage(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        for conv in (self.down, self.conv):
            nn.init.kaiming_normal_(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.down(x)), inplace=True)
        return F.relu(self.norm2(self.conv(x)), inplace=True)


def build_encoder(name: str, *, pretrained: bool = True, weights: str | None = None) -> nn.Module:
    """The encoder called ``name``."""
    if name == "tiny":
        return TinyEncoder()
    raise NotImplementedError(name)
