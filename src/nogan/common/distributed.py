"""Communication between the processes ("ranks") of a run, one for each device; for a lone process, no-ops.

Batch sizes of the plan are global. A batch is divided between the ranks as evenly as possible (:func:`part`), and each
rank's loss is weighted by its number of images (:func:`weight`), so that gradients and losses are those of the whole
batch for any number of ranks.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

Value = TypeVar("Value")


def world_size() -> int:
    """Number of processes that train together; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, counted from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def part(total: int, rank: int, world: int) -> slice:
    """The consecutive items, of ``total``, that ``rank`` of ``world`` handles; parts differ by one item at most."""
    size, more = divmod(total, world)
    start = rank * size + min(rank, more)
    return slice(start, start + size + (rank < more))


def weight(images: int, batch_size: int) -> float:
    """Factor for a rank's mean over its ``images`` images of a global batch of ``batch_size``.

    The mean over ranks of the weighted values is then the mean over the whole batch, for parts of unequal size too.
    """
    return images * world_size() / batch_size


def mean_over_ranks(values: Mapping[str, Tensor], weight: float = 1.0) -> dict[str, Tensor]:
    """The mean over ranks of ``weight`` times each scalar, by one all-reduce in float32.

    A scalar that is not finite on one rank becomes not finite on all, so that every rank skips the same batch.
    """
    if world_size() == 1:
        return dict(values)
    stacked = torch.stack([value.detach().float() for value in values.values()]) * (weight / world_size())
    dist.all_reduce(stacked)
    return dict(zip(values, stacked.unbind(), strict=True))


def all_reduce_max(*values: int) -> list[int]:
    """The maximum of each value over all ranks: if one rank must stop or save, all do so at the same batch."""
    if world_size() == 1:
        return list(values)
    numbers = torch.tensor(values, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
    return numbers.tolist()


def broadcast_from_rank_zero(value: Value) -> Value:
    """Rank zero's ``value`` on every rank: for what only rank zero knows, and for decisions that must agree."""
    if world_size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def all_gather(value: Value) -> list[Value]:
    """The ``value`` of every rank, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until every rank has arrived, e.g. until files that rank zero writes can be read by the others."""
    if world_size() > 1:
        dist.barrier()


@torch.no_grad()
def broadcast_buffers(module: nn.Module) -> None:
    """Copy the buffers of ``module`` from rank zero: those of unsynchronized batch norms differ between the ranks."""
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
