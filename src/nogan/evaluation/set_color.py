"""How far the colors of a set of pictures are from the truth's, and what each picture adds to that."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nogan.evaluation.merit import Color
from nogan.evaluation.metrics import chroma_features, frechet_distance, rgb_to_lab

_LEAST = 1e-6  # chroma FD, so that the truth's logarithm is finite
_AT_ONCE = 32  # pictures whose features are held in memory


def color_of(output: Tensor, target: Tensor, *, shares: bool = True) -> Color:
    """:class:`Color` of outputs and photographs, RGB ``(N, 3, H, W)`` in [0, 1].

    The shares are the pseudo-values of the jackknife, N · all − (N − 1) · all but one, less their mean (Tukey 1958).
    Chroma FD is that of Gaussians, whose moments are sums over the pictures, so that leaving one out costs no more than
    two eigenvalue problems of 18 x 18. With ``shares=False`` they are left at 0.
    """
    own, true = _Moments.of(output), _Moments.of(target)
    whole = _log_distance(own.whole(), true.whole())
    count = len(output)
    if count < 2 or not shares:
        return Color(whole, (0.0,) * count)
    pseudo = torch.tensor(
        [count * whole - (count - 1) * _log_distance(own.without(i), true.without(i)) for i in range(count)],
        dtype=torch.float64,
    )
    return Color(whole, tuple((pseudo - pseudo.mean()).tolist()))


class _Moments(NamedTuple):
    """Sums over the rows of :func:`nogan.evaluation.metrics.chroma_features`, by picture."""

    rows: int  # of one picture
    sums: Tensor  # (N, D)
    outers: Tensor  # (N, D, D)

    @classmethod
    def of(cls, rgb: Tensor) -> "_Moments":
        sums, outers, rows = [], [], 1
        for batch in rgb.split(_AT_ONCE):
            features = chroma_features(rgb_to_lab(batch)).to("cpu", torch.float64).unflatten(0, (len(batch), -1))
            rows = features.shape[1]
            sums.append(features.sum(1))
            outers.append(features.mT @ features)
        return cls(rows, torch.cat(sums), torch.cat(outers))

    def whole(self) -> tuple[Tensor, Tensor]:
        return self._gaussian(self.sums.sum(0), self.outers.sum(0), len(self.sums))

    def without(self, index: int) -> tuple[Tensor, Tensor]:
        total, outer = self.sums.sum(0) - self.sums[index], self.outers.sum(0) - self.outers[index]
        return self._gaussian(total, outer, len(self.sums) - 1)

    def _gaussian(self, total: Tensor, outer: Tensor, pictures: int) -> tuple[Tensor, Tensor]:
        count = self.rows * pictures
        mean = total / count
        return mean, outer / count - torch.outer(mean, mean)


def _log_distance(own: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> float:
    distance: Any = frechet_distance(*own, *true)
    return math.log(max(distance, _LEAST)) if math.isfinite(distance) else math.nan
