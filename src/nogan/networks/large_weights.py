"""Large weights on CPUs: convolutions over few positions as matrix products, and spectral norm in fewer passes.

There, PyTorch's convolutions spend most of their time on bringing a large weight into another order and its gradient
back, and its spectral norm on copies of the weight (benchmarks/speed.md). A matrix product takes both as they lie in
memory. Small weights take PyTorch's own way.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_WEIGHTS = 1 << 21
"""Elements of a weight from which this pays."""

MAX_POSITIONS = 2048
"""Positions of a convolution's result, of all images together, up to which a matrix product pays."""


def is_large(weight: Tensor) -> bool:
    """Whether ``weight`` is a convolution's, large, and on a CPU, and PyTorch does not only trace what is done."""
    large = weight.device.type == "cpu" and weight.ndim == 4 and weight.numel() >= MIN_WEIGHTS
    return large and not torch.compiler.is_compiling() and _is_channels_last(weight)


def prefers_matrix(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> bool:
    """Whether a training step's convolution ``conv`` of ``x`` is faster as a matrix product."""
    if not (is_large(weight) and weight.requires_grad and torch.is_grad_enabled()):
        return False
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    square = isinstance(conv.padding, tuple) and all(
        len(set(sides)) == 1 for sides in (conv.stride, conv.kernel_size, conv.padding)
    )
    height, width = (side // conv.stride[0] for side in x.shape[2:])
    return plain and square and _is_channels_last(x) and len(x) * height * width <= MAX_POSITIONS


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


class NormalizedWeight(torch.autograd.Function):
    """``weight / sigma`` with ``sigma = u · W v``, its gradient with regard to ``sigma`` included.

    W is ``weight``, ``(out, in, K, K)`` with channels last, as a matrix; u and v are its singular vectors, v in the
    order of ``weight.flatten(1)``. They are moved in place by one power iteration where ``iterate`` says so.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, eps: float, iterate: bool) -> Tensor:
        """See the class."""
        matrix = _matrix(weight)
        right = _as_rows(v, weight)
        if iterate:
            right = F.normalize(torch.mv(matrix.T, u), dim=0, eps=eps)
            v.copy_(right.view(*weight.shape[2:], -1).permute(2, 0, 1).flatten())
        product = torch.mv(matrix, right)
        if iterate:
            u.copy_(F.normalize(product, dim=0, eps=eps))
        sigma = torch.dot(u, product)
        ctx.save_for_backward(weight, sigma, u.clone(), right)
        return weight / sigma

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        """See the class."""
        weight, sigma, u, right = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_sigma = -torch.dot(_matrix(grad).flatten(), _matrix(weight).flatten()) / sigma**2
        found = grad / sigma
        _matrix(found).addr_(u * of_sigma, right)
        return found, None, None, None, None


def matrix_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """``F.conv2d``, all channels last; under autocast in its precision.

    Args:
        x: ``(B, in, H, W)``.
        weight: ``(out, in, K, K)``.
        bias: ``(out,)``, or None.
        stride: of both axes.
        padding: zeros on each side.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    y = _MatrixConv.apply(x, weight, stride, padding)
    return y if bias is None else y + bias.view(-1, 1, 1)


class _MatrixConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        rows, (batch, height, width) = _rows(x, weight.shape[-1], stride, padding)
        # Into a tensor of its own and not a view, which no layer behind it may change in place.
        y = torch.empty((batch, len(weight), height, width), dtype=rows.dtype, memory_format=torch.channels_last)
        torch.mm(rows, _matrix(weight).T, out=y.permute(0, 2, 3, 1).view(len(rows), -1))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding, kernel = ctx.stride, ctx.padding, weight.shape[-1]
        flat = grad.permute(0, 2, 3, 1).reshape(-1, len(weight)).to(weight.dtype)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _summed(flat @ _matrix(weight), x, kernel, stride, padding, (grad.shape[2], grad.shape[3]))
        if ctx.needs_input_grad[1]:
            rows, _ = _rows(x, kernel, stride, padding)
            of_weight = (flat.T @ rows).view(len(weight), kernel, kernel, -1).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None


def _matrix(weight: Tensor) -> Tensor:
    """``(out, in, K, K)``, channels last, as ``(out, K · K · in)``, without a copy."""
    return weight.permute(0, 2, 3, 1).view(len(weight), -1)


def _as_rows(v: Tensor, weight: Tensor) -> Tensor:
    """A vector in the order of ``weight.flatten(1)`` in that of :func:`_matrix`."""
    return v.view(weight.shape[1:]).permute(1, 2, 0).reshape(-1).clone()


def _rows(x: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, tuple[int, int, int]]:
    """What the kernel sees at each position, ``(B · H' · W', K · K · in)``, and B, H' and W'."""
    pixels = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    windows = pixels.unfold(1, kernel, stride).unfold(2, kernel, stride)  # (B, H', W', in, K, K)
    batch, height, width, channels = windows.shape[:4]
    rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(batch * height * width, kernel * kernel * channels)
    return rows, (batch, height, width)


def _summed(rows: Tensor, x: Tensor, kernel: int, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
    """The gradient of ``x`` from that of its :func:`_rows`; ``size`` is that of the convolution's result."""
    batch, channels, height, width = x.shape
    windows = rows.view(batch, *size, kernel, kernel, channels)
    total = rows.new_zeros(batch, height + 2 * padding, width + 2 * padding, channels)
    for row in range(kernel):
        for column in range(kernel):
            last = (row + stride * (size[0] - 1) + 1, column + stride * (size[1] - 1) + 1)
            total[:, row : last[0] : stride, column : last[1] : stride] += windows[:, :, :, row, column]
    return total[:, padding : padding + height, padding : padding + width].permute(0, 3, 1, 2).to(x.dtype)
