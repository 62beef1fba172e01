"""What protects an optimizer step: a batch too large for memory is split, one that is not finite is skipped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nogan.data.batches import Labeled, Pair
from nogan.networks.blocks import SpectralNorm
from nogan.training.modules.generator import Metrics

Batch = Pair | Labeled


def parts_of(batch: Batch, count: int) -> list[Batch]:
    """``batch`` in ``count`` parts as equal as possible (fewer where it has fewer images)."""
    count = min(count, len(batch[0]))
    chunks = [(None,) * count if tensor is None else tensor.tensor_split(count) for tensor in batch]
    return [type(batch)(*chunk) for chunk in zip(*chunks, strict=True)]


def accumulate(
    batch: Batch,
    count: int,
    network: nn.Module,
    loss_of: Callable[[Batch], tuple[Tensor, Metrics]],
    backward: Callable[[Tensor], None],
) -> Metrics:
    """Compute the gradients of the mean loss over ``batch`` in ``count`` parts; returns the metrics of the whole.

    Spectral norm's power iteration runs with the first part only, as it would with the whole batch. Batch norm and
    dropout see the parts, so with them the result differs from that of the unsplit batch.
    """
    total: Metrics = {}
    parts = parts_of(batch, count)
    for number, part in enumerate(parts):
        share = len(part[0]) / len(batch[0])
        with held_power_iteration(network, number > 0):
            loss, metrics = loss_of(part)
        backward(loss * share)
        total = {name: total.get(name, 0.0) + value * share for name, value in metrics.items()}
    return total


@contextmanager
def held_power_iteration(network: nn.Module, held: bool) -> Iterator[None]:
    """While ``held``, the spectral norms of ``network`` keep their vectors: no power iteration."""
    norms = [module for module in network.modules() if isinstance(module, SpectralNorm)] if held else []
    modes = [norm.training for norm in norms]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.train(mode)


class Safeguard:
    """Undoes a batch whose loss or gradient is not finite, so that the network is as it was before.

    The gradients are dropped before the optimizer's step. The buffers are put back, since a forward pass in train mode
    moves batch norm statistics and the vectors of spectral norm.

    Args:
        network: the one that trains.
    """

    def __init__(self, network: nn.Module) -> None:
        self.buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self.parameters = list(network.parameters())
        self.copies = [torch.empty_like(buffer) for buffer in self.buffers]

    def remember(self) -> None:
        """Copy the buffers, before the batch."""
        if self.buffers:
            torch._foreach_copy_(self.copies, self.buffers)

    @torch.no_grad()
    def fetch(self, metrics: Metrics, *, check_gradients: bool = True) -> tuple[bool, Metrics]:
        """Bring ``metrics`` to the CPU, and check that the loss is finite, and the gradients if ``check_gradients``.

        Both in one transfer: it is the only time in a batch that the CPU waits for the device.

        Returns:
            Whether all of that is finite; the metrics on the CPU.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        finite = torch.isfinite(metrics["loss"])
        if check_gradients and gradients:
            finite = finite & torch.isfinite(nn.utils.get_total_norm(gradients))
        *values, finite = torch.stack([*metrics.values(), finite.float()]).cpu().unbind()
        return bool(finite), dict(zip(metrics, values, strict=True))

    @torch.no_grad()
    def undo(self, *, drop_gradients: bool = True) -> None:
        """Put the buffers back and drop the gradients; a gradient scaler keeps them, sees them and skips the step."""
        for parameter in self.parameters if drop_gradients else ():
            parameter.grad = None
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.copies)


class SkippedBatch(NamedTuple):
    """A batch that was skipped."""

    batch: int
    loss: float


class TooManySkippedBatches(Exception):
    """More batches in a row than allowed had a loss or gradient that is not finite."""

    def __init__(self, phase: str, skipped: list[SkippedBatch]) -> None:
        losses = ", ".join(f"{batch.loss:.3g}" for batch in skipped[-5:])
        super().__init__(
            f"{len(skipped)} batches in a row had a loss or gradient that is not finite, in {phase}, "
            f"up to batch {skipped[-1].batch} (last losses: {losses})"
        )
