"""How good a snapshot's pictures are, in one figure that the probe measures."""

import math
from collections.abc import Mapping

KEY = "quality"
"""The figure's name among the probe's metrics: the mean over its pictures of :func:`nogan.evaluation.eye.quality`."""


def quality(metrics: Mapping[str, float]) -> float:
    """Held-out quality of a snapshot, higher is better, 0 for the truth; NaN if it was not measured."""
    return metrics.get(KEY, math.nan)
