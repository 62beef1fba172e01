"""Choices between two pictures whose makers are not named, and the ranking that follows from them.

``nogan evaluate --blind`` writes a page that shows the pairs of :func:`pairs`, and gives a file of choices, which
:func:`read_choices` reads. :func:`bradley_terry` ranks the colorizers; the page computes the same.
"""

import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nogan.common.errors import UserError
from nogan.common.image_files import printable

FORMAT, VERSION = "nogan-choices", 1

Side = Literal["left", "right", "neither"]

PRIOR = 1.0
"""Drawn games that each pair of colorizers begins with, so that one that wins every time has a finite strength."""

STEPS = 100
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Choice:
    """What a person chose.

    Attributes:
        image: name of the photograph.
        left: the colorizer whose picture was on the left.
        right: the one on the right.
        chosen: which was better; ``neither`` counts as half a win for each.
    """

    image: str
    left: str
    right: str
    chosen: Side


@dataclass(frozen=True)
class Strength:
    """A colorizer's place in a ranking.

    Attributes:
        name: of the colorizer.
        strength: natural logarithm of its odds against an average one of those ranked; 0 is average.
        low: lower end of its 95 % interval.
        high: upper end.
        wins: how often it was chosen; a choice of neither counts half.
        shown: in how many pairs it was.
    """

    name: str
    strength: float
    low: float
    high: float
    wins: float
    shown: int


@dataclass(frozen=True)
class Duel:
    """Two colorizers of a ranking: the probability that ``a`` is chosen over ``b``, with its 95 % interval."""

    a: str
    b: str
    probability: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """The strongest first, and every pair of them."""

    colorizers: list[Strength]
    duels: list[Duel]

    def to_json(self) -> dict[str, Any]:
        """As the page gives it."""
        return asdict(self)


def pairs(images: Sequence[str], colorizers: Sequence[str], seed: int) -> list[tuple[str, str, str]]:
    """Image, left and right colorizer of every pair on every image, in an order and on sides that ``seed`` decides."""
    order = random.Random(seed)
    found = [
        (image, *order.sample(pair, 2))  # the sides
        for image in images
        for pair in combinations(colorizers, 2)
    ]
    order.shuffle(found)
    return [(image, left, right) for image, left, right in found]


def bradley_terry(choices: Iterable[Choice], colorizers: Sequence[str] = ()) -> Ranking:
    """Rank colorizers by choices between pairs of them.

    Under the model of Bradley and Terry ("Rank analysis of incomplete block designs", 1952) colorizer i is chosen over
    j with the odds exp(s_i - s_j). The strengths s, which sum to 0, are those of the largest likelihood, found by
    Newton's method, with :data:`PRIOR` drawn games of each pair added. Intervals are ±1.96 standard errors, from the
    inverse of the Fisher information.

    Args:
        choices: between any two of the colorizers.
        colorizers: those that may not have been shown at all; the others are found in ``choices``.

    Raises:
        UserError: there are fewer than two colorizers.
    """
    choices = list(choices)
    names = list(dict.fromkeys([*colorizers, *(name for choice in choices for name in (choice.left, choice.right))]))
    if len(names) < 2:
        raise UserError(f"{len(names)} colorizers in {len(choices)} choices: expected at least two to rank")
    count = len(names)
    wins = np.zeros((count, count))  # of the row over the column
    for choice in choices:
        left, right = names.index(choice.left), names.index(choice.right)
        share = {"left": 1.0, "right": 0.0, "neither": 0.5}[choice.chosen]
        wins[left, right] += share
        wins[right, left] += 1 - share
    games = wins + wins.T
    likely = wins + PRIOR / 2 * (1 - np.eye(count))
    strengths = np.zeros(count)
    for _ in range(STEPS):
        expected = 1 / (1 + np.exp(strengths[None] - strengths[:, None]))  # that the row is chosen over the column
        inverse = _inverse_information(likely + likely.T, expected)
        step = inverse @ (likely - (likely + likely.T) * expected).sum(axis=1)
        strengths += step
        if np.abs(step).max() < 1e-12:
            break
    strengths -= strengths.mean()
    covariance = inverse - 1 / count
    errors = NORMAL_95 * np.sqrt(np.diag(covariance))
    order = sorted(range(count), key=lambda i: (-strengths[i], i))
    return Ranking(
        [
            Strength(
                names[i],
                float(strengths[i]),
                float(strengths[i] - errors[i]),
                float(strengths[i] + errors[i]),
                float(wins[i].sum()),
                int(games[i].sum()),
            )
            for i in order
        ],
        [_duel(names, strengths, covariance, i, j) for i, j in combinations(order, 2)],
    )


def _inverse_information(games: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Of the strengths; the direction in which all rise alike, of which nothing is known, has the value 1."""
    count = len(games)
    weights = games * expected * (1 - expected)
    np.fill_diagonal(weights, 0)
    return np.linalg.inv(np.diag(weights.sum(axis=1)) - weights + 1 / count)


def _duel(names: Sequence[str], strengths: np.ndarray, covariance: np.ndarray, i: int, j: int) -> Duel:
    apart = float(strengths[i] - strengths[j])
    error = NORMAL_95 * math.sqrt(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j])
    low, middle, high = (1 / (1 + math.exp(-value)) for value in (apart - error, apart, apart + error))
    return Duel(names[i], names[j], middle, low, high)


def read_choices(path: Path) -> list[Choice]:
    """The choices in a file that the page gave.

    Raises:
        UserError: it is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"expected {FORMAT} in version {VERSION}")
        found = [Choice(*(row[key] for key in ("image", "left", "right", "chosen"))) for row in content["choices"]]
        if any(choice.chosen not in ("left", "right", "neither") for choice in found):
            raise ValueError("chosen is neither left nor right nor neither")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{printable(path)}: not a file of choices of nogan evaluate --blind ({error})") from error
    return found
