"""Names of colorizers: ``CHECKPOINT``, with a weight ``CHECKPOINT:0.6``, at a vividness ``CHECKPOINT:v0.5``.

Both together are ``CHECKPOINT:v0.5:0.6``. A file or folder that exists as it is written is taken whole.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nogan.common.errors import UserError

_VIVIDNESS = re.compile(r"(?P<checkpoint>.+):v(?P<vividness>\d+(?:\.\d*)?|\.\d+)")


class Requested(NamedTuple):
    """A checkpoint, and the vividness that it is asked to have; None if none is asked for."""

    checkpoint: str
    vividness: float | None

    def __str__(self) -> str:
        return self.checkpoint if self.vividness is None else f"{self.checkpoint}:v{self.vividness:g}"


def requested(word: str) -> Requested:
    """``"a:v0.5"`` to ``("a", 0.5)``; ``"a"`` to ``("a", None)``. Inverse of ``str``."""
    match = None if Path(word).exists() else _VIVIDNESS.fullmatch(word)
    return Requested(match["checkpoint"], float(match["vividness"])) if match else Requested(word, None)


def weights_of(words: Iterable[str]) -> dict[str, float]:
    """``["a:0.6", "b", "c:v0.5:0.4"]`` to ``{"a": 0.6, "b": 1.0, "c:v0.5": 0.4}``; weights of one name are added.

    Raises:
        UserError: a weight is not above 0.
    """
    weights: dict[str, float] = {}
    for word in words:
        name, weight = _weighted(word)
        if not 0 < weight < math.inf:
            raise UserError(f"{word}: the weight of {name} must be above 0")
        weights[name] = weights.get(name, 0.0) + weight
    return weights


def _weighted(word: str) -> tuple[str, float]:
    name, colon, weight = word.rpartition(":")
    if not colon or Path(word).exists():
        return word, 1.0
    try:
        return name, float(weight)
    except ValueError:  # of a name with a colon in it
        return word, 1.0
