"""The measures of one picture, by name: the one table that ``nogan evaluate`` and a run's probe take them from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from nogan.evaluation import eye, metrics


@dataclass(frozen=True)
class Pair:
    """An output beside its truth, RGB ``(B, 3, H, W)`` float32 in [0, 1]; Lab is computed once, where it is needed."""

    output: Tensor
    truth: Tensor

    @cached_property
    def output_lab(self) -> Tensor:
        """CIELAB ``(B, 3, H, W)`` of the output: see :func:`~nogan.evaluation.metrics.rgb_to_lab`."""
        return metrics.rgb_to_lab(self.output)

    @cached_property
    def truth_lab(self) -> Tensor:
        """CIELAB ``(B, 3, H, W)`` of the truth."""
        return metrics.rgb_to_lab(self.truth)


def _shift(pair: Pair) -> Tensor:
    return metrics.mean_ab(pair.output_lab) - metrics.mean_ab(pair.truth_lab)


PER_IMAGE: dict[str, Callable[[Pair], Tensor]] = {
    "cf": lambda pair: metrics.colorfulness(pair.output),
    "cf_ddcolor": lambda pair: metrics.colorfulness_ddcolor(pair.output),
    "psnr": lambda pair: metrics.psnr(pair.output, pair.truth),
    "ssim": lambda pair: metrics.ssim(pair.output, pair.truth),
    "ciede2000": lambda pair: metrics.ciede2000(pair.output_lab, pair.truth_lab),
    "orange_red": lambda pair: metrics.orange_red_of_lab(pair.output_lab),
    "a_shift": lambda pair: _shift(pair)[:, 0],
    "b_shift": lambda pair: _shift(pair)[:, 1],
    "wrong_strong": lambda pair: eye.wrong_strong(pair.output, pair.truth),
    "false_variation": lambda pair: eye.false_variation(pair.output, pair.truth),
    "unexplained": lambda pair: eye.unexplained(pair.output),
    "quality": lambda pair: eye.quality(pair.output, pair.truth),
}
"""Values ``(B,)`` of a pair, by the key of the measure in :data:`nogan.evaluation.measures.MEASURES`."""


@dataclass(frozen=True)
class OfMeans:
    """A measure of a whole set that is made of two means over its images.

    Attributes:
        key: what the means are of, in :data:`PER_IMAGE`.
        combine: gives the measure, of the outputs' mean and the truth's; numbers, or arrays of bootstrap samples.
    """

    key: str
    combine: Callable[[Any, Any], Any]


OF_MEANS = {
    "colorfulness_ratio": OfMeans("cf", lambda output, truth: output / truth),
    "delta_cf": OfMeans("cf", lambda output, truth: abs(output - truth)),
    "delta_cf_ddcolor": OfMeans("cf_ddcolor", lambda output, truth: abs(output - truth)),
}
"""Measures that are made of means."""

OF_SHARES = {"wrong_strong_seen": ("wrong_strong", eye.SEEN_SHARE)}
"""Measures that are the share of pictures whose value of another one is above a limit."""


def needed_for(keys: Iterable[str]) -> set[str]:
    """What has to be measured of each picture for the measures ``keys``."""
    keys = set(keys)
    means = {of.key for key, of in OF_MEANS.items() if key in keys}
    return (keys & set(PER_IMAGE)) | means | {of for key, (of, _) in OF_SHARES.items() if key in keys}
