"""The measures of one picture, by name: the one table that ``nogan evaluate`` and a run's probe take them from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
}
"""Values ``(B,)`` of a pair, by the key of the measure in :data:`nogan.evaluation.measures.MEASURES`."""
