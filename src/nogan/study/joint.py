"""Simulated GAN phases of which both are known: the critic's loss, and how good the generator really is.

A phase has a true merit at each snapshot: that of its family, with waves that are real, too. The probe sees it on
some pictures, each with its own level, its own share of what is gained, and its own scatter. The critic's loss rises as
the merit does, or, in half of the phases, knows nothing of it. Everything is drawn from ``(split, family, index)``.
Times are shares of the phase.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from nogan.common.errors import UserError
from nogan.common.rng import numpy_rng
from nogan.study.record import fill_in, markdown
from nogan.study.regret import Stop, forgone, merits, replay, saved
from nogan.study.rows import AVERAGED, RealRun

SNAPSHOTS = 50
PICTURES = 128
WORTHS = (0.02, 0.05, 0.1, 0.2)
Family = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def _saturating(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Most of the gain by 20–60 % of the phase, and a little more to the end."""
    return 1 - np.exp(-3 * x / rng.uniform(0.2, 0.6))


def _peak(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Best at 20–70 %, and 20–80 % of the gain lost by the end."""
    at, loss = rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.8)
    fall = (np.maximum(x - at, 0) / (1 - at)) ** rng.uniform(1, 2)
    return np.sin(math.pi / 2 * np.minimum(x / at, 1)) - loss * fall


def _rising(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """About as fast at the end as before."""
    return x ** rng.uniform(0.8, 1.5)


def _trough(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The critic's first grip costs up to half of the gain; then it saturates."""
    at, deep = rng.uniform(0.03, 0.12), rng.uniform(0.2, 0.5)
    later = 1 - np.exp(-3 * np.maximum(x - at, 0) / rng.uniform(0.3, 0.6))
    return (1 + deep) * later - deep * np.minimum(x / at, 1)


def _pause(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A rise that pauses for a while, and goes on."""
    first, pause, height = rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.2), rng.uniform(0.3, 0.6)
    again = np.clip((x - first - pause) / rng.uniform(0.2, 0.4), 0, 1)
    return height * np.minimum(x / first, 1) + (1 - height) * again


def _worse(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Nothing is gained."""
    return -x * rng.uniform(0.2, 1)


FAMILIES: dict[str, Family] = {
    "saturating": _saturating,
    "peak": _peak,
    "rising": _rising,
    "trough": _trough,
    "pause": _pause,
    "worse": _worse,
}
RULES: dict[str, Callable[[RealRun], Stop]] = {
    **{f"`pays`, worth {worth:g}": partial(replay, name="pays", kind=AVERAGED, worth=worth) for worth in WORTHS},
    **{f"`{name}`": partial(replay, name=name, kind=AVERAGED) for name in ("combined", "probe")},
    "the whole budget": lambda row: Stop(kind=AVERAGED),
}


def draw(split: str, family: str, index: int) -> RealRun:
    """Phase number ``index`` of ``family``; ``split`` is "tune" for setting parameters or "test" for the report."""
    rng = numpy_rng("joint", split, family, index)
    total = round(math.exp(rng.uniform(math.log(300), math.log(3000))))
    steps = np.unique(np.round(np.linspace(0, total, SNAPSHOTS + 1)).astype(int))
    times = steps / total
    size = rng.uniform(0.3, 2.0)  # of the gain
    shape = FAMILIES[family](rng, times)
    waves = rng.uniform(0.01, 0.06) * _wander(rng, len(times), 1)[:, 0]
    true = size * (shape + waves - waves[0])
    seen = rng.normal(-2.5, 1.2, PICTURES) + np.outer(true, rng.normal(1, 0.5, PICTURES))
    seen += rng.uniform(0.1, 0.4) * _wander(rng, len(times), PICTURES)
    follows = shape if rng.random() < 0.5 else 1 - np.exp(-3 * times / rng.uniform(0.1, 0.9))
    rise = np.interp(np.arange(total) / total, times, follows) / np.abs(follows).max()
    losses = 0.2 + 0.4 * rise + rng.uniform(0.01, 0.05) * rng.standard_normal(total)
    names = [str(step) for step in steps.tolist()]
    return {
        "data": family,
        "seed": index,
        "steps": total,
        "batch_size": 16,
        "lr": 1e-4,
        "images": 16 * total,
        "generator_steps": total // 2,
        "losses": [[step, float(losses[step])] for step in range(0, total, 2)],
        "verdict": None,
        "seconds": 0.0,
        "commit": None,
        "probe": {AVERAGED: dict(zip(names, seen.tolist(), strict=True))},
        "oracle": {AVERAGED: dict(zip(names, true.tolist(), strict=True))},
        "others": {},
    }


def _wander(rng: np.random.Generator, count: int, columns: int, phi: float = 0.8) -> np.ndarray:
    """AR(1) noise of unit variance, ``(count, columns)``."""
    values = rng.standard_normal((count, columns))
    values[1:] *= math.sqrt(1 - phi * phi)
    for i in range(1, count):
        values[i] += phi * values[i - 1]
    return values


def run(out: Path, *, per_family: int = 200, split: str = "test", record: Path | None = None) -> None:
    """Draw the phases, let the rules judge them, and write the tables.

    Args:
        out: the folder of the tables.
        per_family: phases of each family.
        split: "test", or "tune" for the phases that parameters may be set on.
        record: a markdown document to fill in.

    Raises:
        UserError: ``per_family`` is below 1, or ``record`` cannot be filled in.
    """
    if per_family < 1:
        raise UserError(f"--curves {per_family}: expected at least 1.")
    rows = {family: [draw(split, family, index) for index in range(per_family)] for family in FAMILIES}
    text = report(rows, split)
    out.mkdir(parents=True, exist_ok=True)
    (out / "joint.md").write_text(text + "\n")
    print(text)
    if record:
        fill_in(record, "joint", text)


def report(rows: dict[str, list[RealRun]], split: str) -> str:
    """All tables, in markdown."""
    found = {
        name: {family: [rule(row) for row in mine] for family, mine in rows.items()} for name, rule in RULES.items()
    }
    cost = [[name, *(_regret(rows[family], each) for family, each in by.items())] for name, by in found.items()]
    time = [[name, *(_saved(rows[family], each) for family, each in by.items())] for name, by in found.items()]
    count = len(next(iter(rows.values())))
    return "\n\n".join(
        [
            f"{count} phases of each family, split `{split}`.",
            "**Share of the best snapshot's gain that is forgone**: mean, and the worst of ten; in `worse`, where "
            "nothing is gained, the share of the whole loss",
            markdown(["", *rows], cost),
            "**Batches saved**, mean",
            markdown(["", *rows], time),
        ]
    )


def _regret(rows: Sequence[RealRun], found: Sequence[Stop]) -> str:
    costs = [forgone(row, stop) / _scale(row) for row, stop in zip(rows, found, strict=True)]
    return f"{np.mean(costs):.0%}, {np.quantile(costs, 0.9):.0%}"


def _scale(row: RealRun) -> float:
    """What there was to gain, or to lose."""
    values = list(merits(row, AVERAGED).values())
    return max(max(values) - values[0], (values[0] - min(values)) if row["data"] == "worse" else 0.0, 1e-9)


def _saved(rows: Sequence[RealRun], found: Sequence[Stop]) -> str:
    return f"{np.mean([saved(row, stop) for row, stop in zip(rows, found, strict=True)]):.0%}"
