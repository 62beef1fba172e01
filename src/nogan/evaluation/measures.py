"""The held-out measures that people compare runs by: their names, how to print them, and which way is better."""

import math
from dataclasses import dataclass
from typing import Literal

from nogan.common.errors import UserError, shown


@dataclass(frozen=True)
class Measure:
    """One held-out measure, ``val/KEY`` in the metrics."""

    key: str
    label: str
    meaning: str
    better: Literal["lower", "higher"] | float | None = None  # a number: the nearer to it, the better
    unit: str = ""
    digits: int = 2
    percent: bool = False

    def show(self, value: float | None) -> str:
        """``value`` for people: ``93 %``, ``21.40 dB``."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.percent:
            return f"{100 * value:.{self.digits}f} %"
        return f"{value:.{self.digits}f}{f' {self.unit}' if self.unit else ''}".replace("-", "−")

    def badness(self, value: float) -> float:
        """A number that is smaller where ``value`` is better."""
        if self.better == "higher":
            return -value
        if isinstance(self.better, float):
            return abs(value - self.better)
        return value

    @property
    def goal(self) -> str:
        """Which way is better, in words; empty where neither is."""
        if self.better is None:
            return ""
        if isinstance(self.better, str):
            return f"{self.better} is better"
        return f"best at {self.show(self.better)}"


MEASURES = {
    measure.key: measure
    for measure in (
        Measure(
            "colorfulness_ratio", "colorfulness", "of the output, to that of the truth", 1.0, digits=0, percent=True
        ),
        Measure("psnr", "PSNR", "the right colors, pixel by pixel", "higher", "dB"),
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
        Measure("shift_variation", "shift variation", "chroma distance when the input moves by 3 px", "lower", "ΔE"),
        Measure("scale_variation", "scale variation", "chroma distance when colorized at another size", "lower", "ΔE"),
    )
}


def measure_of(name: str) -> Measure:
    """The measure that ``name`` (``val/psnr`` or ``psnr``) means; an unknown one is shown as it is."""
    key = name.removeprefix("val/")
    return MEASURES.get(key) or Measure(key, key.replace("_", " "), "", digits=3)


def direction(objective: str | None) -> Literal["minimize", "maximize"]:
    """Which way a sweep goes to improve ``objective``.

    Raises:
        UserError: neither way is better, or nobody knows.
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
