"""ReLU, pixel shuffle and blur of an upsampling in one kernel, forwards and backwards, on GPUs with channels last.

PyTorch has a kernel for each, but none for channels last: together they took a third of the time of a training step
(benchmarks/gpu.md).
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

BLOCK = 1024  # elements a program


def fits(x: Tensor) -> bool:
    """Whether the kernels take ``x``: on a GPU, channels last, and not while PyTorch only traces what is done."""
    return (
        x.is_cuda
        and type(x) is Tensor
        and not torch.compiler.is_compiling()
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and _has_triton()
    )


def relu_shuffle_blur(x: Tensor) -> Tensor:
    """``(B, 4C, H, W)`` to ``(B, C, 2H, 2W)``: ``blur(pixel_shuffle(relu(x)))`` of :mod:`nogan.networks.blocks`."""
    return _Fused.apply(x)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        batch, channels, height, width = x.shape
        y = x.new_empty(batch, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)
        if y.numel():
            forward, _ = _kernels()
            grid = (batch * 2 * height, -(-2 * width * (channels // 4) // BLOCK))
            forward[grid](x, y, height, width, channels // 4, BLOCK=BLOCK)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        batch, channels, height, width = x.shape
        if grad.stride(1) != 1:
            grad = grad.contiguous(memory_format=torch.channels_last)
        found = torch.empty_like(x)
        if x.numel():
            _, backward = _kernels()
            grid = (batch * height, -(-width * channels // BLOCK))
            strides = (grad.stride(0), grad.stride(2), grad.stride(3))  # it may be a part of a wider tensor
            backward[grid](grad, x, found, *strides, height, width, channels // 4, BLOCK=BLOCK)
        return found


@cache
def _has_triton() -> bool:
    """Whether Triton is installed; it comes with PyTorch for Linux."""
    return find_spec("triton") is not None


@cache
def _kernels() -> tuple[Any, Any]:
    """The two kernels, forwards and backwards."""
    from nogan.networks import shuffle_kernels

    return shuffle_kernels.forward, shuffle_kernels.backward
