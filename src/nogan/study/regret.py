"""What a run's best snapshot is, and how far from it a rule would have ended the run."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nogan.inflection import make_detector
from nogan.inflection.quality import QUALITY, quality

Row = Mapping[str, Any]

PRIOR = 0.018  # lr x generator batches at the published inflection points, the middle of 0.016–0.020


class Stop(NamedTuple):
    """Where a rule ends a GAN phase.

    Attributes:
        at: the GAN batch named as the inflection point; None: no verdict, the phase goes through its whole budget.
        sure: the GAN batch at which the rule was sure; None: never.
    """

    at: float | None = None
    sure: int | None = None


def qualities(row: Row, weights: Mapping[str, float] = QUALITY, by: str = "oracle") -> dict[int, float]:
    """Quality of every snapshot of a run, by step, as the "oracle" or the "probe" saw it."""
    return {int(step): quality(metrics, weights) for step, metrics in row[by].items()}


# --------------------------------------------------------------------------------------------------------------- rules


def replay(row: Row, name: str, **parameters: Any) -> Stop:
    """What detector ``name`` says of the critic losses and the probe of a run, as it would have during the run."""
    known = {"total_steps": row["steps"], "batch_size": row["batch_size"], "lr": row["lr"], "images": row["images"]}
    detector = make_detector(name, **(known | parameters))
    probed = [
        (int(step) - 0.5, partial(detector.measured, int(step), metrics)) for step, metrics in row["probe"].items()
    ]
    seen = [(step, partial(detector.update, step, loss)) for step, loss in row["losses"]]
    for _, tell in sorted([*seen, *probed], key=lambda event: event[0]):  # snapshot 18 is measured after batch 17
        if verdict := tell():
            return Stop(verdict.inflection, verdict.step)
    last = detector.finish()
    return Stop(last.inflection, row["steps"] - 1) if last else Stop()


def prior(row: Row, moved: float = PRIOR) -> Stop:
    """Stop once lr x generator batches is ``moved``."""
    critic = {step for step, _ in row["losses"]}
    generator = 0
    for step in range(row["steps"]):
        generator += step not in critic
        if generator * row["lr"] >= moved:
            return Stop(step, step)
    return Stop()


def fixed(row: Row, share: float) -> Stop:
    """Stop after ``share`` of the phase, in [0, 1]."""
    step = round(share * row["steps"])
    return Stop(step, max(step - 1, 0))


def picked_by_probe(row: Row, stop: Stop) -> Stop:
    """Stop when ``stop`` does, but go back to the snapshot that the probe likes best of those there are by then."""
    end = row["steps"] - 1 if stop.sure is None else stop.sure
    there = {step: value for step, value in qualities(row, by="probe").items() if step <= end + 1}
    return Stop(max(there, key=there.__getitem__), end)


def best_fixed_share(rows: Sequence[Row], grid: Sequence[float] = tuple(np.linspace(0, 1, 51))) -> float:
    """The share of the phase at which stopping costs ``rows`` the least mean regret."""
    costs = [np.mean([regret(row, fixed(row, share)) for row in rows]) for share in grid]
    return float(grid[int(np.argmin(costs))])


# -------------------------------------------------------------------------------------------------------------- scores


def snapshot(row: Row, stop: Stop) -> int:
    """The snapshot that the program goes back to: the nearest to the point named, of those that it has by then."""
    have = sorted(int(step) for step in row["oracle"])
    if stop.at is None or stop.sure is None:
        return have[-1]
    return min((step for step in have if step <= stop.sure + 1), key=lambda step: (abs(step - stop.at), step))


def regret(row: Row, stop: Stop, weights: Mapping[str, float] = QUALITY) -> float:
    """Share of the gain of the GAN phase that ``stop`` forgoes: 0 at the best snapshot, 1 at the one before it.

    NaN where no snapshot is better than the generator before the phase.
    """
    of = qualities(row, weights)
    best, before = max(of.values()), of[0]
    return (best - of[snapshot(row, stop)]) / (best - before) if best > before else math.nan


def random_regret(row: Row, weights: Mapping[str, float] = QUALITY) -> float:
    """Expected regret of a snapshot drawn at random."""
    return float(np.mean([regret(row, Stop(int(step), row["steps"]), weights) for step in row["oracle"]]))


def saved(row: Row, stop: Stop) -> float:
    """Share of the GAN batches that need not be run."""
    return 0.0 if stop.sure is None else 1 - (stop.sure + 1) / row["steps"]


def signals(row: Row, width: float = 0.05) -> dict[str, np.ndarray]:
    """What may tell the quality of a snapshot, at each of them; high where it should be good.

    The critic's loss and its share of the batches are means over ``width`` of the phase around the snapshot.
    """
    steps = np.array(sorted(int(step) for step in row["oracle"]))
    at, losses = np.array(row["losses"], dtype=float).T
    near = np.abs(at - steps[:, None]) <= width / 2 * row["steps"]
    batches = np.abs(np.arange(row["steps"]) - steps[:, None]) <= width / 2 * row["steps"]
    probe = [row["probe"][str(step)] for step in steps]
    return {
        "time: the batch number": steps.astype(float),
        "the critic's loss": near @ losses / near.sum(axis=1),
        "the critic's share of the batches": near.sum(axis=1) / batches.sum(axis=1),
        "probe: quality": np.array([quality(metrics) for metrics in probe]),
        "probe: chroma FD": np.array([-metrics["chroma_fd"] for metrics in probe]),
        "probe: colorfulness": np.array([-abs(np.log(metrics["colorfulness_ratio"])) for metrics in probe]),
        "probe: PSNR": np.array([metrics["psnr"] for metrics in probe]),
        "probe: stability under shifts": np.array([-metrics["shift_variation"] for metrics in probe]),
        "probe: change since the last": np.array([-metrics.get("change", np.nan) for metrics in probe]),
        "probe: share of orange-red": np.array([-abs(m["orange_red"] - m["orange_red_truth"]) for m in probe]),
    }


def bootstrap_median(values: Sequence[float], draws: int = 10_000) -> tuple[float, float]:
    """95 % percentile interval of the median, over draws of ``values`` with replacement."""
    from nogan.common.rng import numpy_rng

    picks = numpy_rng("bootstrap", len(values), draws).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(np.median(np.asarray(values)[picks], axis=1), [0.025, 0.975])
    return float(low), float(high)


def sign_test(better: Sequence[float], worse: Sequence[float]) -> tuple[int, int, float]:
    """How often ``better`` is below ``worse`` and above it, and the two-sided p of the sign test; ties are dropped."""
    difference = np.asarray(better) - np.asarray(worse)
    below, above = int((difference < 0).sum()), int((difference > 0).sum())
    count, tail = below + above, min(below, above)
    p = 2 * sum(math.comb(count, k) for k in range(tail + 1)) / 2**count if count else 1.0
    return below, above, min(p, 1.0)
