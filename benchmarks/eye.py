"""How often each figure agrees with an observer's choices between two colorizers' pictures of one photograph.

    python benchmarks/eye.py experiments/evaluation

The folder has ``choices.json``, as ``nogan evaluate --blind`` gives it, ``values.csv``, the figures of every picture,
and ``sets.csv``: the chroma FD of each colorizer's pictures together, and that of the generator before its first GAN
phase on the same ones. A figure agrees with a choice if it is better for the chosen picture; equal values count half.
Choices of neither are left out. Intervals are 95 %, by resampling the photographs, since choices on one are not
independent.
"""

import argparse
import csv
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from nogan.evaluation.blind import Choice, bradley_terry, read_choices
from nogan.evaluation.eye import weighed
from nogan.evaluation.merit import ENOUGH, WEIGHT

Figures = Mapping[str, float]
RESAMPLED = 2000
EPSILON = 1e-3


def log_colorfulness(own: Figures, truth: Figures) -> float:
    """How far the colorfulness is from the truth's, in natural logarithms; gray counts as 1 of some 40."""
    return abs(math.log((own["cf"] + 1) / (truth["cf"] + 1)))


def before(own: Figures, truth: Figures) -> float:
    """The quality by which runs chose their snapshots before, of one picture and without its jitter."""
    fd, error = math.log(max(own["chroma_fd"], EPSILON)), -own["psnr"] * math.log(10) / 20
    return -(fd + 0.5 * abs(math.log((own["cf"] + EPSILON) / (truth["cf"] + EPSILON))) + 0.5 * error)


def by_eye(own: Figures, truth: Figures) -> float:
    """:func:`nogan.evaluation.eye.quality` of one picture."""
    values = (own["false_variation"], own["wrong_strong"], own["cf"], truth["cf"])
    return float(weighed(*(torch.tensor(value) for value in values)))


def merit(own: Figures, truth: Figures, weight: float = WEIGHT, enough: float = ENOUGH) -> float:
    """:mod:`nogan.evaluation.merit` of one picture: the color gained is that of its colorizer."""
    return by_eye(own, truth) + weight * min(own["gained"], enough)


FIGURES: dict[str, Callable[[Figures, Figures], float]] = {  # higher is better
    "quality, by eye": by_eye,
    "merit": merit,
    "quality as before (without jitter)": before,
    "PSNR": lambda own, truth: own["psnr"],
    "SSIM": lambda own, truth: own["ssim"],
    "CIEDE2000": lambda own, truth: -own["ciede2000"],
    "mean distance in a\\*, b\\*": lambda own, truth: -own["chroma_distance"],
    "chroma FD of the picture": lambda own, truth: -own["chroma_fd"],
    "wrong strong color": lambda own, truth: -own["wrong_strong"],
    "blotches (false variation)": lambda own, truth: -own["false_variation"],
    "unexplained color": lambda own, truth: -own["unexplained"],
    "orange-red, distance to the truth": lambda own, truth: -abs(own["orange_red"] - truth["orange_red"]),
    "cast": lambda own, truth: -math.hypot(own["a_shift"], own["b_shift"]),
    "colorfulness, higher": lambda own, truth: own["cf"],
    "colorfulness, nearer to the truth": lambda own, truth: -log_colorfulness(own, truth),
}


def read_values(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Figures by image and colorizer; ``gained`` is the color that the colorizer has gained, in ln(chroma FD)."""
    with (folder / "sets.csv").open(encoding="utf-8", newline="") as file:
        gained = {
            (row["kind"], row["colorizer"]): math.log(float(row["chroma_fd_before"]) / float(row["chroma_fd"]))
            for row in csv.DictReader(file)
        }
    with (folder / "values.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["image"], row["colorizer"]): {key: float(row[key]) for key in row if key not in ("image", "colorizer")}
        | {"gained": gained.get((row["image"].split("/")[0], row["colorizer"]), 0.0)}
        for row in rows
    }


def agreements(
    choices: Sequence[Choice], values: Mapping[tuple[str, str], Figures], figure: Callable[[Figures, Figures], float]
) -> np.ndarray:
    """For each choice 1 where the figure agrees, 0 where it does not, ½ where it does not differ; NaN: not measured."""
    found = []
    for choice in choices:
        truth = values[choice.image, "truth"]
        left, right = (figure(values[choice.image, name], truth) for name in (choice.left, choice.right))
        better, other = (left, right) if choice.chosen == "left" else (right, left)
        found.append(math.nan if math.isnan(better - other) else 0.5 if better == other else float(better > other))
    return np.array(found)


def interval(agreed: np.ndarray, images: Sequence[str]) -> tuple[float, float]:
    """95 % interval of the mean, by resampling the images."""
    names = sorted(set(images))
    sums = np.array(
        [
            [np.nansum(agreed[[i == n for i in images]]), np.sum(~np.isnan(agreed[[i == n for i in images]]))]
            for n in names
        ]
    )
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLED, len(names)))
    means = sums[drawn, 0].sum(axis=1) / sums[drawn, 1].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def table(choices: Sequence[Choice], values: Mapping[tuple[str, str], Figures]) -> list[str]:
    """The agreement of every figure, as Markdown: over all choices, and over those of each kind of picture."""
    decided = [choice for choice in choices if choice.chosen != "neither"]
    kinds = sorted({choice.image.split("/")[0] for choice in decided})
    parts = {"all": decided, **{kind: [c for c in decided if c.image.split("/")[0] == kind] for kind in kinds}}
    lines = [
        "| figure | " + " | ".join(f"{name} ({len(part)})" for name, part in parts.items()) + " |",
        "|---" * (len(parts) + 1) + "|",
    ]
    for name, figure in FIGURES.items():
        cells = []
        for part in parts.values():
            agreed = agreements(part, values, figure)
            low, high = interval(agreed, [choice.image for choice in part])
            cells.append(f"{100 * np.nanmean(agreed):.0f} % ({100 * low:.0f}–{100 * high:.0f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


WEIGHTS, LIMITS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0), (0.2, 0.3, 0.4, 0.5, 0.7, math.inf)


def colors(choices: Sequence[Choice], values: Mapping[tuple[str, str], Figures]) -> list[str]:
    """Agreement of merit by weight and limit of the color gained, and with both chosen without what they are tried on.

    Chosen is the largest weight, at the limit that agrees best, with which merit agrees as often as quality does.
    """
    decided = [choice for choice in choices if choice.chosen != "neither"]
    before = np.array([choice.left.startswith("pre") != choice.right.startswith("pre") for choice in decided])
    agreed = {
        (weight, limit): agreements(decided, values, partial(merit, weight=weight, enough=limit))
        for weight in WEIGHTS
        for limit in LIMITS
    }
    lines = ["\n**Merit by weight (rows) and limit (columns)**: agreement in percent\n"]
    lines += ["| | " + " | ".join(f"{limit:g}" for limit in LIMITS) + " |", "|---" * (len(LIMITS) + 1) + "|"]
    for weight in WEIGHTS:
        lines.append(
            f"| {weight:g} | " + " | ".join(f"{100 * agreed[weight, limit].mean():.1f}" for limit in LIMITS) + " |"
        )

    def chosen(among: np.ndarray) -> tuple[float, float]:
        rates = {key: found[among].mean() for key, found in agreed.items()}
        good = [key for key in agreed if rates[key] >= rates[0.0, LIMITS[0]]]
        heaviest = max(weight for weight, _ in good)
        return max((key for key in good if key[0] == heaviest), key=lambda key: rates[key])

    images = [choice.image for choice in decided]
    folds = dict(zip(dict.fromkeys(images), np.random.default_rng(0).permutation(len(set(images))) % 10, strict=True))
    fold = np.array([folds[image] for image in images])
    left = {f"tenth {k} of the photographs": fold == k for k in range(10)}
    names = sorted({name for choice in decided for name in (choice.left, choice.right)})
    out = {name: np.array([name in (choice.left, choice.right) for choice in decided]) for name in names}
    for what, parts in (("a tenth of the photographs", left), ("a colorizer", out)):
        settings = {name: chosen(~part) for name, part in parts.items()}
        tried = np.concatenate([agreed[settings[name]][part] for name, part in parts.items()])
        lines.append(
            f"\nChosen without {what}, tried on it: {100 * tried.mean():.0f} %; weight and limit "
            + ", ".join(f"{weight:g} at {limit:g}" for weight, limit in dict.fromkeys(settings.values()))
        )
    for kind in ("photos", "scenes"):
        of = before & np.array([image.startswith(kind) for image in images])
        cells = [f"{100 * found[of].mean():.0f} %" for found in (agreed[0.0, 0.2], agreed[WEIGHT, ENOUGH])]
        lines.append(f"\nBefore its GAN phase against after, {kind} ({of.sum()}): quality {cells[0]}, merit {cells[1]}")
    return lines


def rankings(choices: Sequence[Choice], values: Mapping[tuple[str, str], Figures]) -> list[str]:
    """For each kind of picture the colorizers by strength, beside the means of a few figures."""
    lines = []
    for kind in sorted({choice.image.split("/")[0] for choice in choices}):
        lines += [
            f"\n**{kind.capitalize()}**\n",
            "| colorizer | strength | chosen of shown | quality by eye | merit | blotches | wrong strong color | "
            "CF / truth | PSNR | CIEDE2000 |",
            "|---" * 10 + "|",
        ]
        part = [choice for choice in choices if choice.image.split("/")[0] == kind]
        for place in bradley_terry(part).colorizers:
            own = [
                (v, values[i, "truth"]) for (i, name), v in values.items() if name == place.name and i.startswith(kind)
            ]
            mean = {key: np.mean([v[key] for v, _ in own]) for key in ("psnr", "ciede2000", "cf", "wrong_strong")}
            blotches = np.nanmean([v["false_variation"] for v, _ in own])
            eye = np.mean([by_eye(v, truth) for v, truth in own])
            with_color = np.mean([merit(v, truth) for v, truth in own])
            ratio = mean["cf"] / np.mean([truth["cf"] for _, truth in own])
            lines.append(
                f"| {place.name} | {place.strength:+.2f} ({place.low:+.2f} to {place.high:+.2f}) | {place.wins:g} of "
                f"{place.shown} | {eye:.2f} | {with_color:.2f} | {blotches:.2f} | {100 * mean['wrong_strong']:.2f} % | "
                f"{ratio:.2f} | {mean['psnr']:.2f} | {mean['ciede2000']:.2f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    choices, values = read_choices(folder / "choices.json"), read_values(folder)
    print("\n".join([*table(choices, values), *colors(choices, values), *rankings(choices, values)]))


if __name__ == "__main__":
    main()
