"""The measures of a colorizer: their names, their texts, and which values are better.

What they are is in :mod:`nogan.evaluation.metrics` and :mod:`nogan.evaluation.per_image`; a run's probe and
``nogan evaluate`` take the same ones.
"""

import math
from dataclasses import dataclass
from typing import Literal

from nogan.common.errors import UserError, shown

SHIFT = 3
"""Pixels by which the input moves for ``shift_variation``."""

SCALE = 1.25
"""Factor on the size of the input for ``scale_variation``."""


@dataclass(frozen=True)
class Measure:
    """One measure, ``val/KEY`` in the metrics of a run.

    Attributes:
        key: its name.
        label: its name on pages.
        meaning: a few words of explanation.
        better: which values are better; for a number, those nearer to it; None where neither is.
        unit: of its values.
        digits: decimals shown.
        percent: whether it is shown in percent; in the files 0.2 stands for 20 %.
        definition: what it is, in a sentence or two; empty for what only a run measures.
        source: where it was defined.
        per_image: whether single images have values of it; else it belongs to a whole set.
    """

    key: str
    label: str
    meaning: str
    better: Literal["lower", "higher"] | float | None = None
    unit: str = ""
    digits: int = 2
    percent: bool = False
    definition: str = ""
    source: str = ""
    per_image: bool = True

    def show(self, value: float | None) -> str:
        """``value`` as text: ``93 %``, ``21.40 dB``; a dash where it is missing or not finite."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.percent:
            return f"{100 * value:.{self.digits}f} %"
        return f"{value:.{self.digits}f}{f' {self.unit}' if self.unit else ''}".replace("-", "−")

    def badness(self, value: float) -> float:
        """A number that is smaller for better values."""
        if self.better == "higher":
            return -value
        if isinstance(self.better, float):
            return abs(value - self.better)
        return value

    @property
    def goal(self) -> str:
        """Which values are better, in words; empty where none are."""
        if self.better is None:
            return ""
        if isinstance(self.better, str):
            return f"{self.better} is better"
        return f"best at {self.show(self.better)}"


HASLER = "Hasler and Süsstrunk, Measuring colorfulness in natural images, 2003 (doi:10.1117/12.477378)"

MEASURES = {
    measure.key: measure
    for measure in (
        Measure(
            "colorfulness_ratio",
            "colorfulness",
            "of the output, to that of the truth",
            1.0,
            digits=0,
            percent=True,
            definition="Mean colorfulness of the outputs divided by that of the truth.",
            source=HASLER,
            per_image=False,
        ),
        Measure(
            "psnr",
            "PSNR",
            "the right colors, pixel by pixel",
            "higher",
            "dB",
            definition="Peak signal-to-noise ratio over the three channels of RGB; 100 dB for equal pictures.",
        ),
        Measure("chroma_fd", "chroma FD", "Fréchet distance of the colors to the truth's", "lower", digits=1),
        Measure(
            "orange_red",
            "orange-red",
            "share of orange-red pixels: skin goes orange first",
            None,
            digits=1,
            percent=True,
        ),
        Measure("a_shift", "a* shift", "cast towards red (+) or green (−)", 0.0),
        Measure("b_shift", "b* shift", "cast towards yellow (+) or blue (−)", 0.0),
        Measure("change", "change", "mean chroma distance to the snapshot before", None, "ΔE"),
        Measure(
            "shift_variation", "shift variation", f"chroma distance when the input moves by {SHIFT} px", "lower", "ΔE"
        ),
        Measure("scale_variation", "scale variation", "chroma distance when colorized at another size", "lower", "ΔE"),
        Measure(
            "colorfulness",
            "CF",
            "colorfulness: 0 on gray, some 15 to 100",
            None,
            digits=1,
            definition="Colorfulness M(3), with the signed opponents, on the scale of 0 to 255.",
            source=HASLER,
        ),
    )
}


def measure_of(name: str) -> Measure:
    """The measure called ``name``, with or without ``val/``; for an unknown name a measure without explanation."""
    key = name.removeprefix("val/")
    return MEASURES.get(key) or Measure(key, key.replace("_", " "), "", digits=3)


def direction(objective: str | None) -> Literal["minimize", "maximize"]:
    """Whether a sweep minimizes or maximizes ``objective``.

    Raises:
        UserError: the measure is unknown, or neither lower nor higher values are better.
    """
    ways: dict[object, Literal["minimize", "maximize"]] = {"lower": "minimize", "higher": "maximize"}
    measure = MEASURES.get((objective or "").removeprefix("val/"))
    if objective is None or not objective.startswith("val/") or measure is None or measure.better not in ways:
        known = ", ".join(f"val/{m.key}" for m in MEASURES.values() if m.better in ways)
        raise UserError(
            f"objective={shown(objective)}: expected one of {known}, or with it "
            "hydra.sweeper.direction=minimize|maximize"
        )
    return ways[measure.better]
