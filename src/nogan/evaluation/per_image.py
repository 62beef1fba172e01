"""The measures of one picture, by name: the one table that ``nogan evaluate`` and a run's probe take them from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from nogan.evaluation.metrics import colorfulness, psnr, rgb_to_lab


@dataclass(frozen=True)
class Pair:
    """An output beside its truth, RGB ``(B, 3, H, W)`` float32 in [0, 1]; Lab is computed once, where it is needed."""

    output: Tensor
    truth: Tensor

    @cached_property
    def output_lab(self) -> Tensor:
        """CIELAB ``(B, 3, H, W)`` of the output: see :func:`~nogan.evaluation.metrics.rgb_to_lab`."""
        return rgb_to_lab(self.output)

    @cached_property
    def truth_lab(self) -> Tensor:
        """CIELAB ``(B, 3, H, W)`` of the truth."""
        return rgb_to_lab(self.truth)


PER_IMAGE: dict[str, Callable[[Pair], Tensor]] = {
    "colorfulness": lambda pair: colorfulness(pair.output),
    "psnr": lambda pair: psnr(pair.output, pair.truth),
}
"""Values ``(B,)`` of a pair, by the key of the measure in :data:`nogan.evaluation.measures.MEASURES`."""
