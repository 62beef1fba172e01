"""Batch norm whose statistics are those of the whole batch, also where its parts lie on several devices.

PyTorch's own ``nn.SyncBatchNorm`` knows GPUs only. :class:`SyncBatchNorm` runs elsewhere, too, so that a run on several
CPU processes is the same as one on a single process. Parts may be of unequal size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm


def synchronize(network: nn.Module) -> None:
    """Let every batch norm of ``network`` take its statistics over the batches of all processes.

    The layers stay the objects that they are, with their parameters, buffers, names and modes, and change only their
    class: a state dict fits before and after, and an optimizer goes on.
    """
    for norm in _batch_norms(network):
        if not isinstance(norm, SyncBatchNorm | nn.SyncBatchNorm):
            norm.plain_class = type(norm)
            norm.__class__ = SyncBatchNorm


def desynchronize(network: nn.Module) -> None:
    """Undo :func:`synchronize`."""
    for norm in _batch_norms(network):
        if isinstance(norm, SyncBatchNorm):
            norm.__class__ = norm.plain_class
            del norm.plain_class


def _batch_norms(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


class SyncBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes in train mode, in float32; plain batch norm in eval mode.

    PyTorch's kernels do it on a GPU. :func:`synchronize` makes these of other batch norms.
    """

    # What PyTorch's forward pass looks for. Its class itself is no base: DistributedDataParallel refuses it on CPUs.
    process_group = None  # all processes
    _check_input_dim = nn.SyncBatchNorm._check_input_dim
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to the same shape; in train mode every process must call it, and with at least one image."""
        if not self.training or x.is_meta or not dist.is_initialized() or dist.get_world_size() == 1:
            x = super().forward(x)
        elif x.is_cuda:
            x = nn.SyncBatchNorm.forward(self, x)
        else:
            x = self._normalize_together(x)
        for built_in in ("drop", "act"):  # of timm's BatchNormAct2d
            if built_in in self._modules:
                x = self._modules[built_in](x)
        return x

    def _normalize_together(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            wide, axes = x.float(), (0, *range(2, x.ndim))
            shape = (1, -1, *[1] * (x.ndim - 2))
            # The mean first, then squared distances from it: a mean of squares loses digits where the mean is large.
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
                self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
            return out.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance, factor)


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks. What each rank's loss makes of it comes back to every rank's summand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.apply(gradient.contiguous())
