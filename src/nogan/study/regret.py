"""What a run's best snapshot is, and how far from it a detector would have ended the run."""

import math
from collections.abc import Mapping

QUALITY = {"chroma_fd": 1.0, "colourfulness": 0.5, "error": 0.5, "jitter": 0.25}
"""Weights of what :func:`terms` gives; fixed before the first run of the study."""


def terms(metrics: Mapping[str, float]) -> dict[str, float]:
    """What is wrong with a snapshot's pictures, in natural logarithms: 0.1 is a tenth worse, whatever it is.

    ``chroma_fd``: are the colours distributed as in the truth? ``colourfulness``: too dull, or too vivid?
    ``error``: how wrong are they (root mean square, from the PSNR)? ``jitter``: how much do they change when the
    picture moves by a few pixels, for their colourfulness (a gray picture does not flicker)?
    """
    return {
        "chroma_fd": math.log(metrics["chroma_fd"]),
        "colourfulness": abs(math.log(metrics["colourfulness_ratio"])),
        "error": -metrics["psnr"] * math.log(10) / 20,
        "jitter": math.log(metrics["shift_variation"] / metrics["colourfulness"]),
    }


def quality(metrics: Mapping[str, float], weights: Mapping[str, float] = QUALITY) -> float:
    """Held-out quality of a snapshot: minus the weighted sum of :func:`terms`; higher is better."""
    return -sum(weights[name] * value for name, value in terms(metrics).items() if name in weights)
