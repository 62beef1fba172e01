"""One optimizer step, taken with care: in parts if the batch is too large, and not at all if it went wrong."""

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
    chunks = zip(*(tensor.tensor_split(min(count, len(batch[0]))) for tensor in batch), strict=True)
    return [type(batch)(*chunk) for chunk in chunks]


def accumulate(
    batch: Batch,
    count: int,
    network: nn.Module,
    loss_of: Callable[[Batch], tuple[Tensor, Metrics]],
    backward: Callable[[Tensor], None],
) -> Metrics:
    """Gradients of the mean loss over ``batch``, computed in ``count`` parts; returns the metrics of the whole.

    Spectral norm's power iteration runs with the first part only, as it would with the whole batch. What a batch norm
    or dropout sees is the part, so with them the result differs from that of the unsplit batch.
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
    """Spectral norms of ``network`` use the vectors that they have, while ``held``."""
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
    """Undoes a batch whose loss or gradient is not finite, so that nothing of it stays in the network.

    Gradients are dropped before the step; a forward pass in train mode also moves batch norm statistics and the vectors
    of spectral norm, so the buffers are put back as well.

    Args:
        network: the one that trains.
    """

    def __init__(self, network: nn.Module) -> None:
        self.buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self.parameters = list(network.parameters())
        self.copies = [torch.empty_like(buffer) for buffer in self.buffers]

    def remember(self) -> None:
        """Keep the buffers as they are before the batch."""
        if self.buffers:
            torch._foreach_copy_(self.copies, self.buffers)

    @torch.no_grad()
    def fetch(self, metrics: Metrics, *, check_gradients: bool = True) -> tuple[bool, Metrics]:
        """Whether the loss and, unless a gradient scaler looks after them, the gradients are finite; and the metrics.

        These come to the CPU with the verdict, in one transfer: it is the only time in a batch to wait for the device.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        finite = torch.isfinite(metrics["loss"])
        if check_gradients and gradients:
            finite = finite & torch.isfinite(nn.utils.get_total_norm(gradients))
        *values, finite = torch.stack([*metrics.values(), finite.float()]).cpu().unbind()
        return bool(finite), dict(zip(metrics, values, strict=True))

    @torch.no_grad()
    def undo(self, *, drop_gradients: bool = True) -> None:
        """Put the buffers back and drop the gradients, unless a gradient scaler is to see them and skip the step."""
        for parameter in self.parameters if drop_gradients else ():
            parameter.grad = None
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.copies)


class Bad(NamedTuple):
    """A batch that was skipped."""

    batch: int
    loss: float


class TooManyBadBatches(Exception):
    """Batch after batch had a loss or gradient that is not finite."""

    def __init__(self, phase: str, bad: list[Bad]) -> None:
        losses = ", ".join(f"{one.loss:.3g}" for one in bad[-5:])
        super().__init__(
            f"{len(bad)} batches in a row had a loss or gradient that is not finite, in {phase}, "
            f"up to batch {bad[-1].batch} (last losses: {losses})"
        )
