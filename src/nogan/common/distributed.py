"""What the processes of a run do together. Each drives one device and is called a rank; alone, it does nothing more.

Batch sizes of the plan are global: a batch is divided between the ranks as evenly as it goes (:func:`part`), and what a
rank computes counts by its share of the images (:func:`weight`), so that gradients and losses are those of the whole
batch, whatever the number of ranks.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

Value = TypeVar("Value")


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def part(total: int, rank: int, world: int) -> slice:
    """The consecutive part of ``total`` items that falls to ``rank``; the first ranks get one more if need be."""
    size, more = divmod(total, world)
    start = rank * size + min(rank, more)
    return slice(start, start + size + (rank < more))


def weight(images: int, batch_size: int) -> float:
    """The factor on a rank's mean over its ``images`` with which the mean over all ranks is that of the whole batch."""
    return images * world_size() / batch_size


def mean_over_ranks(values: Mapping[str, Tensor], weight: float = 1.0) -> dict[str, Tensor]:
    """The same scalars on every rank: the mean of ``weight`` times each rank's own, in one exchange, in float32.

    A value that is not finite on one rank is not finite on any, so that all ranks draw the same conclusion.
    """
    if world_size() == 1:
        return dict(values)
    stacked = torch.stack([value.detach().float() for value in values.values()]) * (weight / world_size())
    dist.all_reduce(stacked)
    return dict(zip(values, stacked.unbind(), strict=True))


def highest(*mine: int) -> list[int]:
    """Each number's highest value on any rank: what one must do, such as stopping for a signal, all do at once."""
    if world_size() == 1:
        return list(mine)
    numbers = torch.tensor(mine, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
    return numbers.tolist()


def from_first(value: Value) -> Value:
    """The first rank's ``value`` on every rank: for what only it can see, or where all must decide alike."""
    if world_size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def from_all(value: Value) -> list[Value]:
    """Every rank's ``value``, in their order, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until every rank has come here: what the first wrote, the others can read."""
    if world_size() > 1:
        dist.barrier()


@torch.no_grad()
def take_buffers_of_first(module: nn.Module) -> None:
    """Copy the buffers of ``module`` from the first rank: unsynchronized batch norms differ between the ranks."""
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
