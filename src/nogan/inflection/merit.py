"""The one figure of a snapshot's held-out pictures by which snapshots, rules and cycles are compared."""

import math
from collections.abc import Mapping

KEY = "merit"
"""The figure's name among the probe's metrics, the mean over its pictures: :mod:`nogan.evaluation.merit`."""


def merit(metrics: Mapping[str, float]) -> float:
    """Held-out merit of a snapshot, higher is better; NaN if it was not measured."""
    return metrics.get(KEY, math.nan)
