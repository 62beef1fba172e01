"""What the processes of a run do together. Each drives one device and is called a rank; with one process, all is as it was.

Batch sizes of the plan are global: a batch is divided between the ranks as evenly as it goes (:func:`part`), and what a rank
computes counts by its share of the images (:func:`weight`), so that gradients and losses are those of the whole batch,
whatever the number of ranks.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def part(total: int, rank: int, world: int) -> slice:
    """The consecutive part of ``total`` items that falls to ``rank``; the first ranks get one more if need be."""
    size, more = divmod(total, world)
    start = rank * size + min(rank, more)
    return slice(start, start + size + (rank < more))


def weight(images: int, batch_size: int) -> float:
    """The factor on a rank's mean over its ``images`` that makes the mean over the ranks that over all ``batch_size``."""
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
