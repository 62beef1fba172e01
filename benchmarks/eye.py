"""How often each figure agrees with observers' choices between two colorizers' pictures of one photograph.

    python benchmarks/eye.py experiments/evaluation

The folder has ``choices.json``, as ``nogan evaluate --blind`` gives it, and ``choices-NAME.json`` of observers who came
later, all of whom saw the same pairs; ``values.csv``, the figures of every picture; and ``sets.csv``: the chroma FD of
each colorizer's pictures together, and that of the generator before its first GAN phase on the same ones. An image is
named KIND/NAME; kinds begin with ``photos`` or ``scenes``. A figure agrees with a choice if it is better for the chosen
picture; equal values count half. Choices of neither are left out. Intervals are 95 %, by resampling the photographs,
since choices on one are not independent.
"""

import argparse
import csv
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from nogan.evaluation.blind import Choice, bradley_terry, read_choices
from nogan.evaluation.eye import weighed
from nogan.evaluation.merit import COLOR_WEIGHT, ENOUGH

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


def merit(
    own: Figures, truth: Figures, weight: float = COLOR_WEIGHT, limits: tuple[float, float] = (0, ENOUGH)
) -> float:
    """:mod:`nogan.evaluation.merit` of one picture: the color gained is that of its colorizer, within ``limits``."""
    return by_eye(own, truth) + weight * min(max(own["gained"], limits[0]), limits[1])


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
    """95 % interval of the mean, by resampling the images; NaN is left out."""
    names = {name: number for number, name in enumerate(sorted(set(images)))}
    own, known = np.array([names[image] for image in images]), ~np.isnan(agreed)
    sums, counts = (np.bincount(own, weights, len(names)) for weights in (np.nan_to_num(agreed), known.astype(float)))
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLED, len(names)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    return float(low), float(high)


def parts(first: Sequence[Choice], later: Sequence[Choice]) -> dict[str, list[Choice]]:
    """The decided choices: all; of the first round and of the later one; of each sort of picture."""
    decided, again = ([c for c in choices if c.chosen != "neither"] for choices in (first, later))
    both = [*decided, *again]
    rounds = {"all": both, "first round": decided, "second round": again} if again else {"all": both}
    return rounds | {sort: [c for c in both if c.image.startswith(sort)] for sort in ("photos", "scenes")}


def table(parted: Mapping[str, Sequence[Choice]], values: Mapping[tuple[str, str], Figures]) -> list[str]:
    """The agreement of every figure, as Markdown."""
    lines = [
        "| figure | " + " | ".join(f"{name} ({len(part)})" for name, part in parted.items()) + " |",
        "|---" * (len(parted) + 1) + "|",
    ]
    for name, figure in FIGURES.items():
        cells = []
        for part in parted.values():
            agreed = agreements(part, values, figure)
            low, high = interval(agreed, [choice.image for choice in part])
            cells.append(f"{100 * np.nanmean(agreed):.0f} % ({100 * low:.0f}–{100 * high:.0f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


TERMS: dict[str, Callable[[Figures, Figures], float]] = {
    "blotches": lambda own, truth: float(np.nan_to_num(own["false_variation"])),
    "a percent of wrong strong color": lambda own, truth: 100 * own["wrong_strong"],
    "dullness": lambda own, truth: max(0.0, math.log((truth["cf"] + 1) / (own["cf"] + 1))),
}


def refitted(choices: Sequence[Choice], values: Mapping[tuple[str, str], Figures]) -> list[str]:
    """The terms of quality with weights fitted to the choices, and tried on kinds of pictures that were left out."""
    rows, kinds = [], np.array([choice.image.split("/")[0] for choice in choices])
    for choice in choices:
        better, other = (choice.left, choice.right) if choice.chosen == "left" else (choice.right, choice.left)
        truth = values[choice.image, "truth"]
        rows.append(
            [
                term(values[choice.image, better], truth) - term(values[choice.image, other], truth)
                for term in TERMS.values()
            ]
        )
    differences = np.array(rows)
    of_each = np.array([1 / np.sum(kinds == kind) for kind in kinds])  # so that every kind counts alike
    weights = _logistic(differences, of_each)
    tried = [
        np.mean(differences[kinds == k] @ _logistic(differences[kinds != k], of_each[kinds != k]) > 0)
        for k in dict.fromkeys(kinds)
    ]
    fitted = ", ".join(f"{-weight:.2f} for {name}" for name, weight in zip(TERMS, weights, strict=True))
    return [
        f"\nQuality refitted to all: {fitted}.",
        f"Fitted without a kind of picture and tried on it: {100 * np.mean(tried):.0f} %.",
    ]


def _logistic(differences: np.ndarray, of_each: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Weights with which the chosen ones score higher, by Newton's method."""
    scale = differences.std(axis=0)
    rows, share, weights = differences / scale, of_each / of_each.sum(), np.zeros(differences.shape[1])
    for _ in range(20):
        chance = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (share * (1 - chance)) - ridge * weights
        bend = rows.T @ (rows * (share * chance * (1 - chance))[:, None]) + ridge * np.eye(len(weights))
        weights = weights + np.linalg.solve(bend, slope)
    return weights / scale


WEIGHTS, LIMITS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0), (0.2, 0.3, 0.4, 0.5, 0.7, math.inf)


def colors(parted: Mapping[str, Sequence[Choice]], values: Mapping[tuple[str, str], Figures]) -> list[str]:
    """What the color gained adds to the agreement of quality, in points, by its weight and limit."""
    lines = []
    for sort in ("all", "photos", "scenes"):
        part = parted[sort]
        images = [choice.image for choice in part]
        quality = agreements(part, values, by_eye)
        lines += [
            f"\n**Agreement beyond that of quality, {sort}**, in points, by weight (rows) and limit (columns)\n",
            "| | " + " | ".join(f"{limit:g}" for limit in LIMITS) + f" | {ENOUGH:g}, falls counted too |",
            "|---" * (len(LIMITS) + 2) + "|",
        ]
        for weight in WEIGHTS:
            cells = []
            for limits in (*((0.0, limit) for limit in LIMITS), (-math.inf, ENOUGH)):
                more = agreements(part, values, partial(merit, weight=weight, limits=limits)) - quality
                low, high = interval(more, images)
                mark = " \\*" if low > 0 or high < 0 else ""
                cells.append(f"{100 * more.mean():+.1f}{mark}")
            lines.append(f"| {weight:g} | " + " | ".join(cells) + " |")
        between = [choice for choice in part if choice.left.startswith("pre") != choice.right.startswith("pre")]
        found = [100 * agreements(between, values, figure).mean() for figure in (by_eye, merit)]
        lines.append(
            f"\nBefore a GAN phase against after it ({len(between)}): quality {found[0]:.0f} %, merit {found[1]:.0f} %"
        )
    return [*lines, "\n\\* the 95 % interval does not hold 0"]


def observers(later: Mapping[str, Sequence[Choice]]) -> list[str]:
    """How often two observers of the same pairs choose the same."""
    lines = [""]
    for (one, own), (other, others) in combinations(later.items(), 2):
        same = np.mean([a.chosen == b.chosen for a, b in zip(own, others, strict=True)])
        lines.append(f"Observers {one} and {other} choose the same in {100 * same:.0f} % of {len(own)} pairs.")
    return lines


def before_and_after(choices: Sequence[Choice], values: Mapping[tuple[str, str], Figures]) -> list[str]:
    """How often a colorizer was chosen over the generator before its GAN phase, beside what the figures say of it."""
    lines = [
        "\n**After a GAN phase or before it**\n",
        "| | chosen over before | quality | merit | chroma FD |",
        "|---" * 5 + "|",
    ]
    for kind in sorted({choice.image.split("/")[0] for choice in choices}):
        part = [choice for choice in choices if choice.image.startswith(kind + "/") and choice.chosen != "neither"]
        names = {name for choice in part for name in (choice.left, choice.right) if not name.startswith("pre")}
        for name in sorted(names, key=lambda name: (int("".join(filter(str.isdigit, name.split("-")[0]))), name)):
            duels = [c for c in part if name in (c.left, c.right) and "pre" in (c.left[:3], c.right[:3])]
            if not duels:
                continue
            won = sum((choice.left == name) == (choice.chosen == "left") for choice in duels)
            pre = next(n for n in (duels[0].left, duels[0].right) if n != name)
            own, before_it = (
                [(v, values[i, "truth"]) for (i, n), v in values.items() if n == which and i.startswith(kind + "/")]
                for which in (name, pre)
            )
            figures = (
                np.mean([figure(*pair) for pair in pairs]) for figure in (by_eye, merit) for pairs in (before_it, own)
            )
            quality_before, quality_after, merit_before, merit_after = figures
            lines.append(
                f"| {kind} {name} | {won} of {len(duels)} | {quality_before:.2f} → {quality_after:.2f} | "
                f"{merit_before:.2f} → {merit_after:.2f} | {math.exp(-own[0][0]['gained']):.0%} |"
            )
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
                (v, values[i, "truth"])
                for (i, name), v in values.items()
                if name == place.name and i.startswith(kind + "/")
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
    first, values = read_choices(folder / "choices.json"), read_values(folder)
    later = {file.stem.removeprefix("choices-"): read_choices(file) for file in sorted(folder.glob("choices-*.json"))}
    again = [choice for choices in later.values() for choice in choices]
    parted = parts(first, again)
    lines = [*table(parted, values), *observers(later), *refitted(parted["all"], values), *colors(parted, values)]
    lines += [*before_and_after([*first, *again], values), *rankings([*first, *again], values)]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
