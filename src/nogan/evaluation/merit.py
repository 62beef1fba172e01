"""How good a generator in a GAN phase is: what the eye dislikes in its pictures, and the color that it has gained.

Quality as the eye sees it (:func:`nogan.evaluation.eye.quality`) counts blotches in full and dull color hardly, so by
quality alone a GAN phase would seldom pay, where an observer says that it does. What the phase is for is color: the
chroma FD falls, a figure of a generator on a set of pictures. Merit is quality plus the color gained, up to a limit:

    merit = quality + weight · the color gained, ln(chroma FD before / chroma FD), between 0 and 0.3

"Before" is the generator at the start of the run's first GAN phase, whose merit is its quality. The limit is reached
where chroma FD has fallen by a quarter; from then on cleaner pictures are all that counts. Where it has risen, that
counts for nothing: balloons all of one clean hue are liked no less than brown ones. ``experiments/eye.md`` has the
choices of observers by which weight and limits were set. The weight is a matter of taste, and a setting:
``probe.color_weight``.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

COLOR_WEIGHT = 3.0
"""Of the color gained, for each e-fold by which chroma FD has fallen: the heaviest that choices do not refute."""
ENOUGH = 0.3
"""Fall of ln(chroma FD) beyond which color gained no longer counts."""


class Color(NamedTuple):
    """How far the colors of a set of pictures are from the truth's.

    Attributes:
        value: ln(chroma FD) of the set.
        shares: what each picture adds to it or takes from it; they add up to 0. The standard error of the value is that
            of their mean.
    """

    value: float
    shares: tuple[float, ...]

    def as_list(self) -> list[float]:
        """For a checkpoint."""
        return [self.value, *self.shares]

    @classmethod
    def of_list(cls, values: list[float]) -> "Color":
        """Inverse of :meth:`as_list`."""
        return cls(values[0], tuple(values[1:]))


def merit_of_each(qualities: Sequence[float], own: Color, before: Color, weight: float) -> list[float]:
    """Merit of each picture; the mean is that of the set. NaN where a quality or the color is not finite.

    Args:
        qualities: of :func:`nogan.evaluation.eye.quality`, one for each picture.
        own: of the generator.
        before: of the generator before the run's first GAN phase, on the same pictures.
        weight: of the color gained.
    """
    gained = before.value - own.value
    if not math.isfinite(gained):
        return [math.nan] * len(qualities)
    if not 0 < gained < ENOUGH:
        return [quality + weight * min(max(gained, 0.0), ENOUGH) for quality in qualities]
    shares = [theirs - mine for mine, theirs in zip(own.shares, before.shares, strict=True)]
    return [quality + weight * (gained + share) for quality, share in zip(qualities, shares, strict=True)]
