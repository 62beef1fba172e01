"""The blocks that the generator and the critic share: normalized convolutions, pixel-shuffle upsampling, attention.

Weights under spectral or weight norm are computed in float32 even under autocast; so are, by PyTorch's own rules, the
statistics of batch norm. Spectral norm takes one power iteration a forward pass in train mode, and none in eval mode.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, weight_norm
from torch.overrides import TorchFunctionMode

from nogan.networks.large_weights import NormalizedWeight, is_large, matrix_conv, prefers_matrix
from nogan.networks.shuffle import fits, relu_shuffle_blur
from nogan.networks.vividness import Change

Conv = TypeVar("Conv", bound=nn.Conv1d | nn.Conv2d)


class ConfiguredModule(nn.Module):
    """Base of the generator and the critic.

    Attributes:
        config: the arguments of the function that built it, which build the same architecture again.
    """

    config: dict[str, Any]


Configured = TypeVar("Configured", bound=ConfiguredModule)


ALIGNED = 32
"""On tensor cores, a number of channels that is not a multiple of 8 takes nearly twice the time of the next multiple
(benchmarks/gpu.md)."""

ALIGN_FROM = 128
"""Convolutions with fewer channels are not worth the padding."""


def on_tensor_cores(x: Tensor) -> bool:
    """Whether convolutions of ``x`` run in half precision on a GPU."""
    return x.is_cuda and torch.is_autocast_enabled("cuda")


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` whose spectral or weight norm stays float32 under autocast.

    Given more channels than it has, it assumes that those after its own are zeros (see :func:`join`). On tensor cores
    it pads its channels, in and out, where their number is slow there.
    """

    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Conv2d``."""
        weight, bias, extra = _float32_weight(self, x), self.bias, x.shape[1] - self.in_channels
        more = extra if self.out_channels == self.in_channels else 0
        aligns = not extra and on_tensor_cores(x) and min(self.in_channels, self.out_channels) >= ALIGN_FROM
        if aligns:
            extra, more = (-count % ALIGNED if count % 8 else 0 for count in (self.in_channels, self.out_channels))
            x = F.pad(x, (0, 0, 0, 0, 0, extra)) if extra else x
        if extra or more:
            weight = F.pad(weight, (0, 0) * (weight.ndim - 2) + (0, extra, 0, more))
            bias = None if bias is None else F.pad(bias, (0, more))
        elif prefers_matrix(self, x, weight):
            assert isinstance(self.padding, tuple)
            return matrix_conv(x, weight, bias, self.stride[0], self.padding[0])
        y = self._conv_forward(x, weight, bias)
        return y[:, : self.out_channels].contiguous(memory_format=torch.channels_last) if aligns and more else y


class TokenConv(nn.Conv1d):
    """A convolution of width 1 over tokens, as a matrix product: in and out, the channels are the last axis.

    Its spectral or weight norm stays float32 under autocast.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``."""
        return F.linear(tokens, _float32_weight(self, tokens).squeeze(2), self.bias)


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of ``x``; PyTorch has none for the meta device."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def _float32_weight(conv: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    """The (possibly parametrized) weight, computed outside autocast: once a call, since each is a power iteration."""
    with full_precision(x):
        return conv.weight


def initialize(conv: Conv) -> Conv:
    """Kaiming-normal weight and zero bias, in place; drawn from the global generator, which callers seed."""
    nn.init.kaiming_normal_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def icnr_(weight: Tensor, upscale: int = 2) -> Tensor:
    """Initialize the weight of a pixel-shuffle convolution, in place, to nearest-neighbor upsampling: no checkerboard.

    Source: Aitken et al., "Checkerboard artifact free sub-pixel convolution", arXiv:1707.02937.
    """
    kernel = nn.init.kaiming_normal_(weight.new_empty(weight.shape[0] // upscale**2, *weight.shape[1:]))
    with torch.no_grad():
        return weight.copy_(kernel.repeat_interleave(upscale**2, dim=0))


class Unfilled(TorchFunctionMode):
    """Within it, networks are built without initial weights, for those that are given theirs at once.

    Drawing them, and the first power iterations of spectral norm, take seconds in a network of full size. What is in
    memory by chance stays there.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Draw nothing, and give an empty vector for the product with a matrix."""
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        if func is nn.init.kaiming_uniform_:
            return kwargs["tensor"]
        if func is torch.mv:
            return args[0].new_empty(len(args[0]))
        return func(*args, **kwargs)


class SpectralNorm(_SpectralNorm):
    """PyTorch's spectral norm, its power iteration in DeOldify's order: v from u first, then u from v.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks", arXiv:1802.05957.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """The normalized weight; in train mode after one power iteration."""
        if is_large(weight):
            return NormalizedWeight.apply(weight, self._u, self._v, self.eps, self.training)
        return super().forward(weight)

    @torch.autograd.no_grad()
    def _power_method(self, weight_mat: Tensor, n_power_iterations: int) -> None:
        for _ in range(n_power_iterations):
            # In place, because DistributedDataParallel broadcasts these buffers.
            self._v = F.normalize(torch.mv(weight_mat.T, self._u), dim=0, eps=self.eps, out=self._v)
            self._u = F.normalize(torch.mv(weight_mat, self._v), dim=0, eps=self.eps, out=self._u)


def spectral_norm(conv: Conv) -> Conv:
    """Put the weight of ``conv`` under spectral norm, one power iteration a forward pass in train mode."""
    parametrize.register_parametrization(conv, "weight", SpectralNorm(conv.weight, eps=1e-12))
    return conv


def sn_conv(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int | None = None, bias: bool = False
) -> Conv2d:
    """Convolution under spectral norm (one power iteration a step), Kaiming-initialized; "same" padding by default."""
    padding = kernel // 2 if padding is None else padding
    return spectral_norm(initialize(Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias)))


class ConvReluNorm(nn.Module):
    """3x3 spectral-norm convolution → ReLU → batch norm, in this order (DeOldify's)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = sn_conv(in_channels, out_channels, 3)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, change: Change | None = None) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H, W)``, the result of the norm changed by ``change``."""
        y = self.norm(F.relu(self.conv(x), inplace=True))
        return y if change is None else change.of(y)


class ShuffleUp(nn.Module):
    """Doubles the size: 1x1 convolution → norm → ReLU → pixel shuffle → blur.

    Args:
        in_channels: channels given.
        out_channels: channels returned.
        norm: "spectral" puts the convolution under spectral norm and adds batch norm (the U-Net's blocks); "weight"
            puts it under weight norm, with a bias and no batch norm (DeOldify's last upsampling).
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: str) -> None:
        super().__init__()
        spectral = norm == "spectral"
        conv = initialize(Conv2d(in_channels, 4 * out_channels, 1, bias=not spectral))
        icnr_(conv.weight)
        self.conv = spectral_norm(conv) if spectral else weight_norm(conv)
        self.norm = nn.BatchNorm2d(4 * out_channels) if spectral else nn.Identity()

    def forward(self, x: Tensor, change: Change | None = None) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, 2H, 2W)``, the result of the norm changed by ``change``."""
        y = self.norm(self.conv(x))
        if change is not None:
            y = change.of(y)
        return relu_shuffle_blur(y) if fits(y) else blur(pixel_shuffle(F.relu(y, inplace=True)))


def pixel_shuffle(x: Tensor) -> Tensor:
    """``(B, 4C, H, W)`` to ``(B, C, 2H, 2W)``, in the memory format of ``x``.

    PyTorch's own keeps channels last on CPUs only; elsewhere the next convolution would have to copy its result.
    """
    if x.device.type == "cpu" or not x.is_contiguous(memory_format=torch.channels_last):
        return F.pixel_shuffle(x, 2)
    return _shuffle_channels_last(x)


def _shuffle_channels_last(x: Tensor) -> Tensor:
    """:func:`pixel_shuffle` of a tensor whose channels lie last, in one copy, forwards and backwards."""
    batch, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).view(batch, height, width, channels // 4, 2, 2)
    return pixels.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def blur(x: Tensor) -> Tensor:
    """2x2 mean, stride 1, edge replicated on the left and the top: the size stays.

    Source: Sugawara et al., "Super-resolution using convolutional neural networks without any checkerboard artifacts",
    arXiv:1806.02658.
    """
    if x.is_cuda and not torch.compiler.is_compiling():
        # Padded first: on GPUs, with channels last, the gradients of the pool's own padding are those of the
        # neighboring pixel (PyTorch 2.11; https://github.com/pytorch/pytorch/issues/188344).
        y = F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), kernel_size=2, stride=1)
        y[:, :, 0] *= 2  # the zeros do not count in the mean
        y[..., 0] *= 2
        return y
    # The mean over the pixels inside the picture equals the mean with a replicated edge. It needs no padded copy, and
    # avoids the backward pass of replicate padding, whose strides torch.compile gets wrong (PyTorch 2.15). Negative
    # padding crops, because the gradient of a slice loses channels last.
    return F.pad(F.avg_pool2d(x, kernel_size=2, stride=1, padding=1, count_include_pad=False), (0, -1, 0, -1))


MAX_MAP = 4096
"""Positions up to which training on a GPU holds the whole attention map in memory."""


class SelfAttention(nn.Module):
    """``gamma · V softmax(QᵀK) + x`` over all positions, the softmax over the *first* axis of QᵀK; gamma starts at 0.

    With N = H·W positions, each column of the (N, N) map sums to 1: column j mixes the values for position j by
    ``softmax_i(q_i · k_j)``. That is ordinary attention with the roles of Q and K exchanged, and no scaling.

    Source: Zhang et al., "Self-Attention GAN", arXiv:1805.08318.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query, self.key, self.value = (
            spectral_norm(initialize(TokenConv(channels, out, bias=False))) for out in (inner, inner, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        # One head, with adjacent channels in memory, as PyTorch's fused kernels need.
        tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
        q, k, v = (layer(tokens) for layer in (self.query, self.key, self.value))
        if torch.is_grad_enabled() and on_tensor_cores(x) and tokens.shape[2] <= MAX_MAP:
            # PyTorch's fused kernels are slow with values this wide, five times slower in the backward pass. Softmax
            # computes in float32 in any case; under autocast its result would be float32, too.
            with full_precision(x):
                mixed = torch.softmax(k @ q.transpose(-1, -2), dim=-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(k, q, v, scale=1.0)
        return self.gamma * mixed.squeeze(1).transpose(1, 2).reshape(x.shape) + x


def join(x: Tensor, other: Tensor, multiple: int = 1) -> Tensor:
    """Channels of ``x``, then of ``other``, in the memory format of ``x``; ``torch.cat`` of two formats gives NCHW.

    After them come channels of zeros, up to a multiple of ``multiple``.
    """
    extra = -(x.shape[1] + other.shape[1]) % multiple
    parts = [x, other, *([other.new_zeros(len(x), extra, *x.shape[2:])] if extra else [])]
    if x.is_contiguous(memory_format=torch.channels_last):
        parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    return torch.cat(parts, dim=1)


def resize_like(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest resize of ``(B, C, H, W)`` to ``size``; the same tensor where it already fits.

    An export always resizes, because later sizes may differ where the traced ones agree; it must not even compare
    them, which would restrict the exported program to sizes that agree.
    """
    fits = not torch.compiler.is_exporting() and tuple(x.shape[-2:]) == tuple(size)
    return x if fits else F.interpolate(x, size, mode="nearest")


def halved(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Height and width of a feature map at ``reduction``: rounded up, as a strided, padded convolution does."""
    # Of positive numbers alone: ONNX divides integers towards zero, and not down as Python does.
    return (size[0] + reduction - 1) // reduction, (size[1] + reduction - 1) // reduction


def fold_spectral_norm(network: Configured) -> Configured:
    """Replace spectral and weight norm by plain weights, in place, for inference; returns ``network``, in eval mode.

    Outputs in eval mode do not change. The state dict then holds ``weight`` in place of the parametrization, as in a
    network built with ``normalized_weights=False``. Batch norm is not folded.
    """
    network.eval()
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            # Not by parametrize.remove_parametrizations, which removes the property `weight` from the module's class:
            # deep copies share that class, so that the network that this one is a copy of would break.
            weight = module.weight
            assert isinstance(weight, Tensor)
            weight = weight.detach().clone()
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
            module.weight = nn.Parameter(weight)
    network.config = {**network.config, "normalized_weights": False}
    return network
