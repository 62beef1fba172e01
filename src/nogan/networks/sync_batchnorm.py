"""Batch norm with the statistics of the whole batch, whose parts are on several devices and may be of unequal size.

PyTorch's ``nn.SyncBatchNorm`` works on GPUs only. :class:`SyncBatchNorm` works on CPUs, too, so that a run of several
CPU processes equals one of a single process.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm


def synchronize(network: nn.Module) -> None:
    """Let every batch norm of ``network`` take its statistics over the batches of all processes.

    Only the class of the layers changes. Parameters, buffers, names and modes stay the same, so that state dicts fit
    and optimizers can continue.
    """
    for norm in _batch_norms(network):
        if not isinstance(norm, SyncBatchNorm | nn.SyncBatchNorm):
            norm.plain_class = type(norm)
            norm.__class__ = SyncBatchNorm


def desynchronize(network: nn.Module) -> None:
    """Undo :func:`synchronize`."""
    for norm in _batch_norms(network):
        if isinstance(norm, SyncBatchNorm):
            norm.__class__ = norm.plain_class  # type: ignore[assignment]  # back to the class that it had
            del norm.plain_class


def _batch_norms(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


class SyncBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes in train mode, in float32; plain batch norm in eval mode.

    PyTorch's kernels do it on a GPU. :func:`synchronize` makes these of other batch norms.
    """

    plain_class: type[_BatchNorm]
    """The class that the layer had before."""

    # What nn.SyncBatchNorm.forward needs of its self. Not a subclass, which DistributedDataParallel refuses on CPUs.
    process_group = None  # all processes
    _check_input_dim = nn.SyncBatchNorm._check_input_dim
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to the same shape; in train mode every process must call it, with at least one image."""
        if not self.training or x.is_meta or not dist.is_initialized() or dist.get_world_size() == 1:
            x = super().forward(x)
        elif x.is_cuda:
            x = nn.SyncBatchNorm.forward(self, x)  # type: ignore[arg-type]  # has all that it uses, see above
        else:
            x = self._normalize_together(x)
        for built_in in ("drop", "act"):  # of timm's BatchNormAct2d
            if built_in in self._modules:
                x = self.get_submodule(built_in)(x)
        return x

    def _normalize_together(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            wide, axes = x.float(), (0, *range(2, x.ndim))
            shape = (1, -1, *[1] * (x.ndim - 2))
            # Squared distances from the mean, because a mean of squares loses digits where the mean is large.
            count = wide.new_full((1,), x.numel() / x.shape[1])
            sums = _SumOverRanks.apply(torch.cat([wide.sum(axes), count]))
            count = sums[-1].detach()
            mean = sums[:-1] / count
            centered = wide - mean.view(shape)
            variance = _SumOverRanks.apply(centered.square().sum(axes)) / count
            out = centered * torch.rsqrt(variance + self.eps).view(shape)
            if self.affine:
                out = out * self.weight.view(shape) + self.bias.view(shape)
            if self.track_running_stats:
                self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
            return out.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance, factor)


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks; its gradient is the sum of the gradients on all ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.apply(gradient.contiguous())
