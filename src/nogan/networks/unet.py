"""The generator: a U-Net over a classifier's encoder, with spectral norm and self-attention.

Source: DeOldify (https://github.com/jantic/DeOldify), whose "deep" decoder (artistic) has two convolutions a block and
whose "wide" decoder (stable, video) has one. ``docs/deoldify.md`` maps the names here to the original's.
"""

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nogan.common.errors import UserError
from nogan.networks.blocks import (
    ALIGN_FROM,
    ALIGNED,
    ConfiguredModule,
    ConvReluNorm,
    SelfAttention,
    ShuffleUp,
    full_precision,
    halved,
    join,
    on_tensor_cores,
    resize_like,
    sn_conv,
)
from nogan.networks.encoders import Encoder, encoder_groups
from nogan.networks.original import DEOLDIFY_SIZE
from nogan.networks.vividness import VIVID, Change, Vividness

MIN_SIZE = 32
"""Smallest height and width, px."""

MIN_CHANNELS = 4
"""Least width of a block of the decoder, for any width factor."""

ATTENTION_REDUCTION = 8
"""Reduction of the features that have self-attention."""

SKIP_NORM_BIAS = 1e-3
"""Initial bias of the batch norms on the skips and after the encoder."""


class Convs(nn.ModuleList):
    """Normalized convolutions one after the other, each with the next of several changes."""

    def forward(self, x: Tensor, changes: Iterator[Change | None]) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H, W)``; takes as many of ``changes`` as there are convolutions."""
        for conv in self:
            x = conv(x, next(changes))
        return x

    @property
    def norms(self) -> list[nn.BatchNorm2d]:
        """The normalization of each."""
        return [conv.norm for conv in self if isinstance(conv, ConvReluNorm)]


class UpBlock(nn.Module):
    """Upsample x2, join the skip, then ReLU and the block's convolutions (and self-attention, if asked).

    Args:
        in_channels: channels from below.
        up_channels: channels of the upsampled part.
        skip_channels: channels of the skip; 0 where the encoder has no feature of this size.
        out_channels: channels returned.
        depth: number of convolutions (2 deep, 1 wide).
        attention: whether self-attention follows.
    """

    def __init__(
        self, in_channels: int, up_channels: int, skip_channels: int, out_channels: int, *, depth: int, attention: bool
    ) -> None:
        super().__init__()
        self.up = ShuffleUp(in_channels, up_channels, norm="spectral")
        self.skip_norm = _skip_norm(skip_channels) if skip_channels else None
        inputs = (up_channels + skip_channels, *[out_channels] * (depth - 1))
        self.convs = Convs(ConvReluNorm(channels, out_channels) for channels in inputs)
        self.attention = SelfAttention(out_channels) if attention else nn.Identity()

    def forward(
        self, x: Tensor, skip: Tensor | None, size: tuple[int, int], changes: Iterator[Change | None]
    ) -> Tensor:
        """``x`` from below and ``skip`` (or none) to the block's result, of height and width ``size``.

        Takes the next of ``changes`` for each of its normalizations but the skip's.
        """
        x = resize_like(self.up(x, next(changes)), size)
        if self.skip_norm is not None:
            x = join(x, self.skip_norm(skip))
        return self.attention(self.convs(F.relu(x), changes))

    @property
    def changeable(self) -> list[nn.BatchNorm2d]:
        """The normalizations that take a change, in the order in which they do."""
        assert isinstance(self.up.norm, nn.BatchNorm2d)
        return [self.up.norm, *self.convs.norms]


class Residual(nn.Module):
    """Two 3x3 spectral-norm convolutions with bias, each followed by ReLU, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = sn_conv(channels, channels, 3, bias=True)
        self.conv2 = sn_conv(channels, channels, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return F.relu(self.conv2(F.relu(self.conv1(x), inplace=True)), inplace=True) + x


class UNet(ConfiguredModule):
    """Gray to color, model space to model space, any size from 32 px up.

    Args:
        encoder: see :mod:`nogan.networks.encoders`.
        decoder: "deep" (two convolutions a block, as wide as what goes in, times ``width``) or "wide" (one convolution
            a block, 256 times ``width`` channels wide, half of that in the last).
        width: factor on the width of the decoder.
        attention: self-attention at reduction 8.
        vividness: the arguments of :class:`~nogan.networks.vividness.Vividness`, for a network with that knob; or None.

    Attributes:
        config: the arguments of :func:`nogan.networks.build_generator` that build the same architecture again.
        trained_size: side in px of the pictures that it was trained on, where its file says so; else 192, DeOldify's.
        render_factor: the one that suits it, where its file says so.
    """

    trained_size = DEOLDIFY_SIZE
    render_factor: int | None = None

    def __init__(
        self,
        encoder: Encoder,
        *,
        decoder: str,
        width: float,
        attention: bool,
        vividness: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        *skips, channels = encoder.channels
        skip_channels = dict(zip(encoder.reductions, skips, strict=False))
        depth = {"deep": 2, "wide": 1}[decoder]

        self.bridge_norm = _skip_norm(channels)
        self.middle = Convs([ConvReluNorm(channels, 2 * channels), ConvReluNorm(2 * channels, channels)])
        self.reductions = _halvings(encoder.reductions[-1])
        blocks = []
        for reduction in self.reductions:
            skip, last = skip_channels.get(reduction, 0), reduction == 2
            if decoder == "deep":
                up = channels // 2
                out = max(int((up + skip) // (2 if last else 1) * width), MIN_CHANNELS)
            else:
                up = out = max(int(512 * width) // (4 if last else 2), MIN_CHANNELS)
            attends = attention and reduction == ATTENTION_REDUCTION
            blocks.append(UpBlock(channels, up, skip, out, depth=depth, attention=attends))
            channels = out
        self.blocks = nn.ModuleList(blocks)
        self.final_up = ShuffleUp(channels, channels, norm="weight")
        self.residual = Residual(channels + 3)
        self.head = sn_conv(channels + 3, 3, 1, bias=True)
        # Last, so that the other first weights are those of the network without it.
        channels_changed = [norm.num_features for norm in self.changeable]
        self.vividness = None if vividness is None else Vividness(channels_changed, **vividness)

    def forward(self, x: Tensor, vividness: Tensor | None = None) -> Tensor:
        """Model space ``(B, 3, H, W)`` in and out; the output within (-3, 3), in float32 under autocast too.

        Args:
            x: gray, on three channels.
            vividness: ``(B,)`` in [0, 1], for a network with that knob; 1 where none is given.

        Raises:
            UserError: a side below 32 px.
        """
        size = (x.shape[-2], x.shape[-1])
        if min(size) < MIN_SIZE:
            raise UserError(f"image of {size[1]} x {size[0]} px: a generator needs at least {MIN_SIZE} px a side")
        changes = self._changes(x, vividness)
        *skips, y = self.encoder(x)
        skip_at = dict(zip(self.encoder.reductions, skips, strict=False))

        y = self.middle(F.relu(self.bridge_norm(y)), changes)
        for block, reduction in zip(self.blocks, self.reductions, strict=True):
            skip = skip_at.get(reduction)
            fitting = halved(size, reduction) if skip is None else (skip.shape[-2], skip.shape[-1])
            y = block(y, skip, fitting, changes)
        y = resize_like(self.final_up(y), size)
        if on_tensor_cores(y) and y.shape[1] >= ALIGN_FROM:  # `x` in half precision, too: with it all would be float32
            y = self.residual(join(y, x.to(y.dtype), ALIGNED))
        else:
            y = self.residual(join(y, x))
        # In float32, because the steps of bfloat16 are as large as 8-bit levels.
        with full_precision(y):
            return torch.sigmoid(self.head(y.float())) * 6 - 3

    def _changes(self, x: Tensor, vividness: Tensor | None) -> Iterator[Change | None]:
        if self.vividness is None:
            return repeat(None)
        return iter(self.vividness(x.new_full((len(x),), VIVID) if vividness is None else vividness))

    @property
    def changeable(self) -> list[nn.BatchNorm2d]:
        """The normalizations that the vividness changes, in order."""
        blocks = (block for block in self.blocks if isinstance(block, UpBlock))
        return [*self.middle.norms, *(norm for block in blocks for norm in block.changeable)]

    def layer_groups(self) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
        """Modules in three groups, for discriminative learning rates: encoder to reduction 8, rest of it, decoder."""
        shallow, deep = encoder_groups(self.encoder)
        return shallow, deep, [module for name, module in self.named_children() if name != "encoder"]


def _halvings(deepest: int) -> tuple[int, ...]:
    """Reductions of the results of the up blocks, deepest first: (16, 8, 4, 2) for 32."""
    return tuple(2**power for power in range(deepest.bit_length() - 2, 0, -1))


def _skip_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.bias, SKIP_NORM_BIAS)
    return norm
