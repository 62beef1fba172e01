"""How far the colors of a set of pictures are from the truth's, and what each picture adds to that."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nogan.evaluation.merit import Color
from nogan.evaluation.metrics import ChromaFrechet, chroma_rows, frechet_distance, rgb_to_lab

_LEAST = 1e-6  # chroma FD, so that the truth's logarithm is finite
_AT_ONCE = 32  # pictures in Lab at a time


def color_of(output: Tensor, target: Tensor, *, shares: bool = True) -> Color:
    """:class:`Color` of outputs and photographs, RGB ``(N, 3, H, W)`` in [0, 1]; ``shares`` as in the following."""
    return color_of_rows(*(_rows_of(rgb) for rgb in (output, target)), shares=shares)


def color_of_rows(output: Tensor, target: Tensor, *, shares: bool = True) -> Color:
    """:class:`Color` of outputs and photographs, from their :func:`nogan.evaluation.metrics.chroma_rows`.

    The shares are the pseudo-values of the jackknife, N · all − (N − 1) · all but one, less their mean (Tukey 1958).
    Chroma FD is that of Gaussians, whose moments are sums over the pictures, so that leaving one out costs no more than
    two eigenvalue problems of 18 x 18. With ``shares=False`` they are left at 0.

    Args:
        output: ``(N * 256, 18)``.
        target: of the same shape.
        shares: whether they are wanted.
    """
    own, true = _Moments.of(output), _Moments.of(target)
    whole = _log_distance(own.whole(), true.whole())
    count = len(own.sums)
    if count < 2 or not shares:
        return Color(whole, (0.0,) * count)
    pseudo = torch.tensor(
        [count * whole - (count - 1) * _log_distance(own.without(i), true.without(i)) for i in range(count)],
        dtype=torch.float64,
    )
    return Color(whole, tuple((pseudo - pseudo.mean()).tolist()))


def _rows_of(rgb: Tensor) -> Tensor:
    return torch.cat([chroma_rows(rgb_to_lab(batch)) for batch in rgb.split(_AT_ONCE)])


def _laid_out(rows: Tensor) -> Tensor:
    """Rows ``(N, 256, 18)`` as ``chroma_rows`` lays out those of a lone picture: their order in memory is that of sums,
    and so of their last bits, which would differ between rows that were made together and one by one."""
    return rows.mT.contiguous().mT if len(rows) == 1 else rows


class _Moments(NamedTuple):
    """Sums over the rows of each picture."""

    sums: Tensor  # (N, D)
    outers: Tensor  # (N, D, D)

    @classmethod
    def of(cls, rows: Tensor) -> "_Moments":
        batches = list(map(_laid_out, rows.unflatten(0, (-1, ChromaFrechet.ROWS)).split(_AT_ONCE)))
        return cls(torch.cat([rows.sum(1) for rows in batches]), torch.cat([rows.mT @ rows for rows in batches]))

    def whole(self) -> tuple[Tensor, Tensor]:
        return self._gaussian(self.sums.sum(0), self.outers.sum(0), len(self.sums))

    def without(self, index: int) -> tuple[Tensor, Tensor]:
        total, outer = self.sums.sum(0) - self.sums[index], self.outers.sum(0) - self.outers[index]
        return self._gaussian(total, outer, len(self.sums) - 1)

    def _gaussian(self, total: Tensor, outer: Tensor, pictures: int) -> tuple[Tensor, Tensor]:
        count = ChromaFrechet.ROWS * pictures
        mean = total / count
        return mean, outer / count - torch.outer(mean, mean)


def _log_distance(own: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> float:
    distance: Any = frechet_distance(*own, *true)
    return math.log(max(distance, _LEAST)) if math.isfinite(distance) else math.nan
