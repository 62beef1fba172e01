"""The figure of recorded benchmarks: chroma FD, colorfulness, error and jitter in one.

Runs chose their snapshots by it before ``quality`` took its place, which agrees with the eye (experiments/eye.md). What
was measured by it keeps its meaning: benchmarks/render_factor.md and section 3 of experiments/inflection.md.
"""

import math
from collections.abc import Mapping

WEIGHTS = {"chroma_fd": 1.0, "colorfulness": 0.5, "error": 0.5, "jitter": 0.25}
"""Of what :func:`terms` gives."""


def terms(metrics: Mapping[str, float]) -> dict[str, float]:
    """What is wrong with pictures, in natural logarithms: 0.1 means about a tenth worse.

    ``chroma_fd``: are the colors distributed as in the truth? ``colorfulness``: too dull, or too vivid?
    ``error``: how wrong are they (root mean square, from the PSNR)? ``jitter``: how much do they change when the
    picture moves by a few pixels, in relation to their colorfulness (a gray picture does not flicker)?
    """
    return {
        "chroma_fd": _log(metrics["chroma_fd"]),
        "colorfulness": abs(_log(metrics["colorfulness_ratio"])),
        "error": -metrics["psnr"] * math.log(10) / 20,
        "jitter": _log(metrics["shift_variation"]) - _log(metrics["colorfulness"]),
    }


def combined_quality(metrics: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS) -> float:
    """Minus the weighted sum of :func:`terms`; higher is better. NaN if a metric is."""
    return -sum(weights[name] * value for name, value in terms(metrics).items() if name in weights)


def _log(value: float) -> float:
    return math.log(max(value, 1e-6)) if math.isfinite(value) else math.nan  # a gray output has logarithms, too
