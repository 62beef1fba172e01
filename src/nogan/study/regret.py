"""How far from a run's best generator a rule would have ended the run."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nogan.inflection import make_detector
from nogan.inflection.merit import KEY
from nogan.study.rows import AVERAGED, SINGLE, RealRun

LEAST_GAIN = 0.1
"""Merit below which the best snapshot has gained nothing worth the name: a share of less says nothing."""
LOST = 0.1  # of the gain, at the end of a phase that has passed its best
PRIOR = 0.018  # lr x generator batches at the published inflection points, the middle of 0.016–0.020


class Stop(NamedTuple):
    """Where a rule ends a GAN phase, and what it then has.

    Attributes:
        at: the GAN batch named as the inflection point; None: no verdict, and the phase runs to its end.
        sure: the GAN batch at which the rule became sure; None: never.
        kind: of the snapshots that it chooses from, such as ``SINGLE``.
    """

    at: float | None = None
    sure: int | None = None
    kind: str = SINGLE


# --------------------------------------------------------------------------------------------------------------- rules


def replay(row: RealRun, name: str, kind: str = SINGLE, pictures: int | None = None, **parameters: Any) -> Stop:
    """What detector ``name`` would have said during the run, from its critic losses and its probe.

    Args:
        row: the run.
        name: the detector.
        kind: of the snapshots that the probe measures.
        pictures: how many it measures, the first ones; None: all.
        **parameters: the detector's own, in place of its defaults.
    """
    known = {"total_steps": row["steps"], "batch_size": row["batch_size"], "lr": row["lr"], "images": row["images"]}
    detector = make_detector(name, **(known | parameters))

    def measure(step: int, merits: list[float]) -> Any:
        detector.pictured(step, merits)
        return detector.measured(step, {KEY: float(np.mean(merits))})

    probed: list[tuple[float, Callable[[], Any]]] = [
        (int(step) - 0.5, partial(measure, int(step), merits[:pictures]))
        for step, merits in row["probe"].get(kind, {}).items()
    ]
    seen: list[tuple[float, Callable[[], Any]]] = [
        (step, partial(detector.update, int(step), loss)) for step, loss in row["losses"]
    ]
    for _, tell in sorted([*seen, *probed], key=lambda event: event[0]):  # snapshot 18 is measured after batch 17
        if verdict := tell():
            return Stop(verdict.inflection, verdict.step, kind)
    last = detector.finish()
    return Stop(last.inflection, row["steps"] - 1, kind) if last else Stop(kind=kind)


def prior(row: RealRun, moved: float = PRIOR, kind: str = SINGLE) -> Stop:
    """Stop when learning rate x generator batches reaches ``moved``."""
    critic = {step for step, _ in row["losses"]}
    generator = 0
    for step in range(row["steps"]):
        generator += step not in critic
        if generator * row["lr"] >= moved:
            return Stop(step, step, kind)
    return Stop(kind=kind)


def fixed(row: RealRun, share: float, kind: str = SINGLE) -> Stop:
    """Stop after ``share`` of the phase, in [0, 1]."""
    step = round(share * row["steps"])
    return Stop(step, max(step - 1, 0), kind)


def best_fixed_share(
    rows: Sequence[RealRun], kind: str = SINGLE, grid: Sequence[float] = tuple(np.linspace(0, 1, 51))
) -> float:
    """The share of the phase at which stopping forgoes the least merit in ``rows``, on average."""
    costs = [sum(forgone(row, fixed(row, share, kind)) for row in rows) for share in grid]
    return float(grid[int(np.argmin(costs))])


# -------------------------------------------------------------------------------------------------------------- scores


def merits(row: RealRun, kind: str = SINGLE) -> dict[int, float]:
    """Merit of every snapshot of ``kind``, by step, as the oracle measured it."""
    return {int(step): value for step, value in row["oracle"][kind].items()}


def snapshot(row: RealRun, stop: Stop) -> int:
    """The snapshot that the program goes back to: of those made by then, the nearest to the point named."""
    have = sorted(int(step) for step in row["oracle"][stop.kind])
    if stop.at is None or stop.sure is None:
        return have[-1]
    at, sure = stop.at, stop.sure
    return min((step for step in have if step <= sure + 1), key=lambda step: (abs(step - at), step))


def best_of(row: RealRun, kind: str = AVERAGED) -> int:
    """The step of the snapshot of ``kind`` that a run should go back to, as the oracle knows it."""
    of = merits(row, kind)
    return max(of, key=lambda step: of[step])


def gain(row: RealRun, kind: str = AVERAGED) -> float:
    """What the best snapshot of ``kind`` has over the generator before the phase; 0 where that is the best."""
    of = merits(row, kind)
    return max(of.values()) - of[0]


def forgone(row: RealRun, stop: Stop, against: str = AVERAGED) -> float:
    """Merit that ``stop`` lacks to the best snapshot of kind ``against``; below 0 where it is higher."""
    return max(merits(row, against).values()) - merits(row, stop.kind)[snapshot(row, stop)]


def gains(row: RealRun, kind: str = AVERAGED) -> bool:
    """Whether the phase brought anything: its best snapshot has gained ``LEAST_GAIN``.

    The best of many snapshots is a little above the first by chance alone, and a share of that has no meaning.
    """
    return gain(row, kind) >= LEAST_GAIN


def relative_fd(row: RealRun, stop: Stop) -> float:
    """Chroma FD of the oracle's pictures at ``stop``, as a share of that before the phase."""
    of = row["others"]["chroma_fd"][stop.kind]
    return of[str(snapshot(row, stop))] / of["0"]


def has_passed_its_best(row: RealRun, kind: str = AVERAGED) -> bool:
    """Whether the last snapshot of ``kind`` has lost a tenth or more of what the best one had, or should have, gained.

    Where that gain is nothing, or next to nothing, a tenth of ``LEAST_GAIN`` has to be lost.
    """
    return forgone(row, Stop(kind=kind)) >= LOST * max(gain(row, kind), LEAST_GAIN)


def regret(row: RealRun, stop: Stop, against: str = AVERAGED) -> float:
    """Share of the gain of the best snapshot of kind ``against`` that ``stop`` forgoes.

    0 for that snapshot, 1 without a GAN phase, above 1 where it is worse than none; NaN where the phase brought nothing
    (:func:`gains`). :func:`forgone` is known of every run.
    """
    return forgone(row, stop, against) / gain(row, against) if gains(row, against) else math.nan


def random_regret(row: RealRun, kind: str = SINGLE, against: str = AVERAGED) -> float:
    """Expected regret of a snapshot drawn at random."""
    steps = row["oracle"][kind]
    return float(np.mean([regret(row, Stop(int(step), row["steps"], kind), against) for step in steps]))


def saved(row: RealRun, stop: Stop) -> float:
    """Share of the GAN batches that ``stop`` saves."""
    return 0.0 if stop.sure is None else 1 - (stop.sure + 1) / row["steps"]


def signals(row: RealRun, kind: str = AVERAGED, width: float = 0.05) -> dict[str, np.ndarray]:
    """Signals that may tell the merit of each snapshot; each is higher where the merit should be higher.

    Args:
        row: the run.
        kind: of the snapshots.
        width: the critic's loss and its share of the batches are means over this share of the phase, around each
            snapshot.

    Returns:
        Each signal by its name: one value for each snapshot, in the order of their steps. NaN where the critic had no
        batch around it.
    """
    steps = np.array(sorted(int(step) for step in row["oracle"][kind]))
    at, losses = np.array(row["losses"], dtype=float).T
    near = np.abs(at - steps[:, None]) <= width / 2 * row["steps"]
    batches = np.abs(np.arange(row["steps"]) - steps[:, None]) <= width / 2 * row["steps"]
    probe = row["probe"][kind]
    return {
        "time: the batch number": steps.astype(float),
        "the critic's loss": _share(near @ losses, near.sum(axis=1)),
        "the critic's share of the batches": _share(near.sum(axis=1), batches.sum(axis=1)),
        "probe: merit": np.array([float(np.mean(probe[str(step)])) for step in steps]),
        "probe: merit of its first 32": np.array([float(np.mean(probe[str(step)][:32])) for step in steps]),
    }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where there is no whole."""
    return np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole > 0)


def bootstrap_median(values: Sequence[float], draws: int = 10_000) -> tuple[float, float]:
    """95 % bootstrap interval of the median of ``values``: percentiles over draws with replacement."""
    from nogan.common.rng import numpy_rng

    if not values:
        return math.nan, math.nan
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


def medians(columns: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each column, of its finite values; NaN without any."""
    finite = {name: [value for value in values if math.isfinite(value)] for name, values in columns.items()}
    return {name: float(np.median(values)) if values else math.nan for name, values in finite.items()}
