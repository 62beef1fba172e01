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


_HASLER = "Hasler and Süsstrunk, Measuring colorfulness in natural images, 2003 (doi:10.1117/12.477378)"
_DDCOLOR = "Kang et al., DDColor, 2023 (arXiv:2212.11613), and its code: github.com/piddnad/DDColor"
_HEUSEL = "Heusel et al., GANs trained by a two time-scale update rule, 2017 (arXiv:1706.08500)"
_OURS = "this program"

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
            definition="Mean CF of the outputs divided by the mean CF of the truth.",
            source=_HASLER,
            per_image=False,
        ),
        Measure(
            "psnr",
            "PSNR",
            "the right colors, pixel by pixel",
            "higher",
            "dB",
            definition="Peak signal-to-noise ratio over the three channels of RGB, mean over the images; equal "
            "pictures count as 100 dB.",
            source="as in DDColor's and others' tables",
        ),
        Measure(
            "chroma_fd",
            "chroma FD",
            "Fréchet distance of the colors to the truth's",
            "lower",
            "",
            digits=1,
            definition="Squared Fréchet distance between the local colors of outputs and truth: mean and deviation of "
            "L*, a* and b* in cells of three sizes. It asks for the right kind of colors, not for each in its place.",
            source=_OURS,
            per_image=False,
        ),
        Measure(
            "orange_red",
            "orange-red",
            "share of orange-red pixels: skin goes orange first",
            None,
            digits=1,
            percent=True,
            definition="Share of the pixels with a Lab hue from 15° to 65° and a chroma of 30 or more. Best near the "
            "truth's.",
            source=_OURS,
        ),
        Measure(
            "a_shift",
            "a* shift",
            "cast towards red (+) or green (−)",
            0.0,
            definition="Mean a* of the output minus that of the truth.",
            source=_OURS,
        ),
        Measure(
            "b_shift",
            "b* shift",
            "cast towards yellow (+) or blue (−)",
            0.0,
            definition="Mean b* of the output minus that of the truth.",
            source=_OURS,
        ),
        Measure("change", "change", "mean chroma distance to the snapshot before", None, "ΔE"),
        Measure(
            "shift_variation",
            "shift variation",
            f"chroma distance when the input moves by {SHIFT} px",
            "lower",
            "ΔE",
            definition=f"Mean distance of a* and b* to the output for an input that is moved by {SHIFT} px right and "
            "down, moved back.",
            source=_OURS,
        ),
        Measure(
            "scale_variation",
            "scale variation",
            "chroma distance when colorized at another size",
            "lower",
            "ΔE",
            definition=f"Mean distance of a* and b* to the output when the network sees the picture at {SCALE:g} times "
            "the size.",
            source=_OURS,
        ),
        Measure(
            "fid",
            "FID",
            "Fréchet distance of Inception's features to the truth's",
            "lower",
            digits=2,
            definition="Squared Fréchet distance between Inception's 2048 features of all outputs and of the truth; "
            "the protocol says which Inception. Small sets bias it upward.",
            source=_HEUSEL,
            per_image=False,
        ),
        Measure(
            "cf",
            "CF",
            "colorfulness: 0 on gray, some 15 (slight) to 100 (extreme)",
            None,
            digits=2,
            definition="Colorfulness M(3) with signed opponents on the scale of 0 to 255, mean over the images.",
            source=_HASLER,
        ),
        Measure(
            "delta_cf",
            "ΔCF",
            "distance of the mean CF to the truth's",
            "lower",
            digits=2,
            definition="|mean CF of the outputs − mean CF of the truth|.",
            source=_HASLER,
            per_image=False,
        ),
        Measure(
            "cf_ddcolor",
            "CF (DDColor)",
            "colorfulness of absolute opponents, as DDColor's code has it",
            None,
            digits=2,
            definition="As CF, but of the absolute values of the opponents, mean over the images.",
            source=_DDCOLOR,
        ),
        Measure(
            "delta_cf_ddcolor",
            "ΔCF (DDColor)",
            "distance of the mean CF (DDColor) to the truth's",
            "lower",
            digits=2,
            definition="|mean CF (DDColor) of the outputs − that of the truth|.",
            source=_DDCOLOR,
            per_image=False,
        ),
        Measure(
            "ssim",
            "SSIM",
            "structural similarity",
            "higher",
            digits=4,
            definition="Structural similarity of RGB (Gaussian window of 11 px), mean over the images. The luma is the "
            "photograph's, so values are high, also of gray.",
            source="Wang et al., 2004 (doi:10.1109/TIP.2003.819861), by torchmetrics",
        ),
        Measure(
            "lpips",
            "LPIPS",
            "perceptual distance by AlexNet's features",
            "lower",
            digits=4,
            definition="Learned perceptual distance, version 0.1 with AlexNet, mean over the images.",
            source="Zhang et al., 2018 (arXiv:1801.03924), by torchmetrics",
        ),
        Measure(
            "ciede2000",
            "CIEDE2000",
            "mean color difference; 1 is just noticeable side by side",
            "lower",
            "ΔE",
            definition="Color difference CIEDE2000, mean over pixels, then over images.",
            source="CIE 142-2001 (D65, 2° observer), by scikit-image",
        ),
        Measure(
            "wrong_strong",
            "wrong strong color",
            "share of pixels with a strong color that is far from the truth",
            "lower",
            digits=2,
            percent=True,
            definition="Share of the pixels whose chroma is above 30 and whose distance to the truth in a*, b* is "
            "above 45, mean over the images.",
            source=_OURS,
        ),
        Measure(
            "wrong_strong_seen",
            "pictures with it",
            "share of pictures with wrong strong color on more than 2 % of the area",
            "lower",
            digits=0,
            percent=True,
            definition="Share of the pictures whose wrong strong color covers more than 2 % of the area.",
            source=_OURS,
            per_image=False,
        ),
        Measure(
            "false_variation",
            "blotches",
            "variation of the chroma where the truth has none",
            "lower",
            "ΔE",
            definition="Deviation of a* and b* beyond the truth's in windows in which the truth is even.",
            source=_OURS,
        ),
        Measure(
            "quality",
            "quality by eye",
            "blotches, wrong strong color and dullness in one, weighed by an observer's choices",
            "higher",
            digits=2,
            definition="Minus the sum of blotches, of 0.1 for each percent of wrong strong color, and of the natural "
            "logarithm of missing colorfulness: 0 is the truth. Weights from choices between pairs of pictures.",
            source=_OURS,
        ),
        Measure(
            "merit",
            "merit",
            "quality by eye, and the color gained in GAN phases: snapshots are compared by it",
            "higher",
            digits=2,
            definition="Quality by eye plus probe.color_weight (3) times the fall of ln(chroma FD) since "
            "the first GAN phase began, from 0 to 0.3. Snapshots and the end of a GAN phase are judged by it.",
            source=_OURS,
            per_image=False,
        ),
        Measure(
            "unexplained",
            "unexplained",
            "share of pixels with a strong color that surroundings and lightness do not explain",
            "lower",
            digits=2,
            percent=True,
            definition="Share of the pixels whose chroma is above 30 and far from what surroundings and lightness "
            "explain; needs no truth, and photographs have some.",
            source=_OURS,
        ),
    )
}

TABLE = (
    *("fid", "cf", "delta_cf", "cf_ddcolor", "delta_cf_ddcolor", "colorfulness_ratio"),
    *(
        "psnr",
        "ssim",
        "lpips",
        "ciede2000",
        "chroma_fd",
        "wrong_strong",
        "wrong_strong_seen",
        "false_variation",
        "quality",
    ),
    *("unexplained", "orange_red", "a_shift", "b_shift", "shift_variation", "scale_variation"),
)
"""What ``nogan evaluate`` measures, in the order of its tables."""

OF_A_RUN = (
    *("merit", "quality", "colorfulness_ratio", "psnr", "chroma_fd", "orange_red", "a_shift", "b_shift"),
    *("change", "shift_variation", "scale_variation"),
)
"""What a run measures without being asked; ``objective=`` adds one of the others."""


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
