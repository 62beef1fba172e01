"""How good a snapshot's pictures are, in one figure that the probe measures; and which snapshot of a phase is best."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

KEY = "quality"
"""The figure's name among the probe's metrics: the mean over its pictures of :func:`nogan.evaluation.eye.quality`."""

COLORED = 0.5
"""Share of the largest gain in chroma FD, in logarithms, that a snapshot must have to be taken for the best."""


class Seen(NamedTuple):
    """What the probe found of a snapshot.

    Attributes:
        step: batches of the phase.
        quality: see :func:`quality`.
        chroma_fd: Fréchet distance of the colors to the truth's; NaN where it was not measured.
    """

    step: int
    quality: float
    chroma_fd: float


def quality(metrics: Mapping[str, float]) -> float:
    """Held-out quality of a snapshot, higher is better, 0 for the truth; NaN if it was not measured."""
    return metrics.get(KEY, math.nan)


def best(seen: Sequence[Seen]) -> Seen | None:
    """The best of a phase's snapshots, in the order of their steps: the one of highest quality that has gained color.

    By quality alone a GAN phase would seldom pay: it prefers the generator before the phase to nearly every later one,
    where an observer often does not, because it counts blotches in full and dull color hardly (``experiments/eye.md``).
    Between GAN-trained generators it agrees with the observer. So a snapshot must have brought the distribution of
    colors nearer to the truth's, which is what the phase is for: by half (:data:`COLORED`) of what the best of them
    has, ln(chroma FD before / chroma FD). Where none has, the generator before the phase is the best; where chroma FD
    is not measured, quality decides alone. The earlier of two that are as good; None of no snapshot.
    """
    return max(colored(seen), key=lambda each: each.quality, default=None)


def colored(seen: Sequence[Seen]) -> list[Seen]:
    """Those of a phase's snapshots that have gained enough color: see :func:`best`."""
    gains = [_gained(seen[0].chroma_fd, each.chroma_fd) for each in seen]
    if any(map(math.isnan, gains)):
        return list(seen)
    least = COLORED * max(gains, default=0.0)
    return [each for each, gain in zip(seen, gains, strict=True) if least > 0 and gain >= least] or list(seen[:1])


def _gained(before: float, after: float) -> float:
    return math.log(max(before, 1e-6) / max(after, 1e-6)) if math.isfinite(before + after) else math.nan
