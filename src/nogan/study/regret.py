"""How far from a run's best snapshot a rule would have ended the run."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from nogan.inflection import make_detector
from nogan.inflection.quality import QUALITY, quality
from nogan.study.rows import RealRun

PRIOR = 0.018  # lr x generator batches at the published inflection points, the middle of 0.016–0.020


class Stop(NamedTuple):
    """Where a rule ends a GAN phase.

    Attributes:
        at: the GAN batch named as the inflection point; None: no verdict, and the phase runs to its end.
        sure: the GAN batch at which the rule became sure; None: never.
    """

    at: float | None = None
    sure: int | None = None


def qualities(
    row: RealRun, weights: Mapping[str, float] = QUALITY, by: Literal["oracle", "probe"] = "oracle"
) -> dict[int, float]:
    """Quality of every snapshot of a run, by step, as the oracle or the probe measured it."""
    return {int(step): quality(metrics, weights) for step, metrics in row[by].items()}


# --------------------------------------------------------------------------------------------------------------- rules


def replay(row: RealRun, name: str, **parameters: Any) -> Stop:
    """What detector ``name`` would have said during the run, from its critic losses and its probe.

    Args:
        row: the run.
        name: the detector.
        **parameters: the detector's own, in place of its defaults.
    """
    known = {"total_steps": row["steps"], "batch_size": row["batch_size"], "lr": row["lr"], "images": row["images"]}
    detector = make_detector(name, **(known | parameters))
    probed = [
        (int(step) - 0.5, partial(detector.measured, int(step), metrics)) for step, metrics in row["probe"].items()
    ]
    seen = [(step, partial(detector.update, int(step), loss)) for step, loss in row["losses"]]
    for _, tell in sorted([*seen, *probed], key=lambda event: event[0]):  # snapshot 18 is measured after batch 17
        if verdict := tell():
            return Stop(verdict.inflection, verdict.step)
    last = detector.finish()
    return Stop(last.inflection, row["steps"] - 1) if last else Stop()


def prior(row: RealRun, moved: float = PRIOR) -> Stop:
    """Stop when learning rate x generator batches reaches ``moved``."""
    critic = {step for step, _ in row["losses"]}
    generator = 0
    for step in range(row["steps"]):
        generator += step not in critic
        if generator * row["lr"] >= moved:
            return Stop(step, step)
    return Stop()


def fixed(row: RealRun, share: float) -> Stop:
    """Stop after ``share`` of the phase, in [0, 1]."""
    step = round(share * row["steps"])
    return Stop(step, max(step - 1, 0))


def picked_by_probe(row: RealRun, stop: Stop) -> Stop:
    """Stop when ``stop`` does, but go back to the snapshot that the probe rates best of those made by then."""
    end = row["steps"] - 1 if stop.sure is None else stop.sure
    there = {step: value for step, value in qualities(row, by="probe").items() if step <= end + 1}
    return Stop(max(there, key=there.__getitem__), end)


def best_fixed_share(rows: Sequence[RealRun], grid: Sequence[float] = tuple(np.linspace(0, 1, 51))) -> float:
    """The share of the phase at which stopping gives ``rows`` the least mean regret."""
    costs = [np.mean([regret(row, fixed(row, share)) for row in rows]) for share in grid]
    return float(grid[int(np.argmin(costs))])


# -------------------------------------------------------------------------------------------------------------- scores


def snapshot(row: RealRun, stop: Stop) -> int:
    """The snapshot that the program goes back to: of those made by then, the nearest to the point named."""
    have = sorted(int(step) for step in row["oracle"])
    if stop.at is None or stop.sure is None:
        return have[-1]
    at, sure = stop.at, stop.sure
    return min((step for step in have if step <= sure + 1), key=lambda step: (abs(step - at), step))


def regret(row: RealRun, stop: Stop, weights: Mapping[str, float] = QUALITY) -> float:
    """Share of the GAN phase's gain that ``stop`` forgoes: 0 at the best snapshot, 1 at the generator before the phase.

    NaN if no snapshot is better than the generator before the phase.
    """
    of = qualities(row, weights)
    best, before = max(of.values()), of[0]
    return (best - of[snapshot(row, stop)]) / (best - before) if best > before else math.nan


def random_regret(row: RealRun, weights: Mapping[str, float] = QUALITY) -> float:
    """Expected regret of a snapshot drawn at random."""
    return float(np.mean([regret(row, Stop(int(step), row["steps"]), weights) for step in row["oracle"]]))


def saved(row: RealRun, stop: Stop) -> float:
    """Share of the GAN batches that ``stop`` saves."""
    return 0.0 if stop.sure is None else 1 - (stop.sure + 1) / row["steps"]


def signals(row: RealRun, width: float = 0.05) -> dict[str, np.ndarray]:
    """Signals that may tell the quality of each snapshot; each is higher where the quality should be higher.

    Args:
        row: the run.
        width: the critic's loss and its share of the batches are means over this share of the phase, around each
            snapshot.

    Returns:
        Each signal by its name: one value for each snapshot, in the order of their steps.
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
    """95 % bootstrap interval of the median of ``values``: percentiles over draws with replacement."""
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
