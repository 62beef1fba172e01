"""Every detector on simulated critic-loss curves whose inflection point is known.

Each curve is drawn from (split, family, index), so any part of the study can be repeated alone. The result of each
curve is appended to OUT/simulated.jsonl. A second call continues where the first was interrupted, and starts over if
the detectors or the curves have changed.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from nogan import inflection
from nogan.common import rng
from nogan.common.errors import UserError
from nogan.inflection import DEFAULT, DETECTORS, make_detector
from nogan.inflection.combined import ShapeWithoutPictures
from nogan.study import curves
from nogan.study.curves import (
    ALL,
    BEYOND,
    BEYOND_WITHOUT,
    FAMILIES,
    HARD,
    HARD_WITHOUT,
    KNEED,
    S_SHAPED,
    WITHOUT,
    Curve,
)
from nogan.study.record import append_row, fingerprint, markdown, publish, read_rows
from nogan.study.rows import Found, Key, PlayedCurve

NAMES = tuple(name for name in DETECTORS if name != "probe")  # a simulated curve has no pictures
AS_SHAPE = tuple(name for name in NAMES if issubclass(DETECTORS[name], ShapeWithoutPictures))
JUDGED = DEFAULT  # the detector that is measured against the targets
HARD_TARGETS = {"arctan": 0.05, "slow": 0.05, "saturation-ar": 0.10}
"""The median error allowed in the harder families that have a point."""
Context = dict[str, dict[str, Any]]  # the settings of each detector


def run(out: Path, *, per_family: int = 200, split: str = "test", workers: int = 1, record: Path | None = None) -> None:
    """Play the curves that are missing, then write the tables and the picture.

    Args:
        out: the folder of results, tables and picture.
        per_family: curves of each family.
        split: "test", or "tune" for the curves that parameters may be set on.
        workers: processes.
        record: a markdown document to fill in.

    Raises:
        UserError: a number is below 1, or ``record`` cannot be filled in.
    """
    if per_family < 1 or workers < 1:
        raise UserError(f"--curves {per_family} --workers {workers}: expected both to be at least 1.")
    results = out / "simulated.jsonl"
    version = _version()
    wanted: list[Key] = [(split, family, index) for family in ALL for index in range(per_family)]
    done: dict[Key, PlayedCurve] = {tuple(row["key"]): row for row in read_rows(results) if row["version"] == version}
    missing = [key for key in wanted if key not in done]
    for row in _play_all(missing, workers):
        append_row(results, {**row, "version": version})
        done[row["key"]] = row
    rows = [done[key] for key in wanted]
    publish("simulated", report(rows, split), lambda path: draw_examples(rows, path), out, record)


def _version() -> str:
    sources = [*Path(inflection.__file__).parent.glob("*.py"), Path(curves.__file__), Path(rng.__file__)]
    return fingerprint(sources, context(curves.draw("tune", "constant", 0)))


def _play_all(keys: list[Key], workers: int) -> Iterable[PlayedCurve]:
    if workers == 1 or len(keys) < 2:
        yield from map(play, track(keys, "simulated curves", disable=not keys))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread for each worker: its arrays are small
    with ProcessPoolExecutor(workers) as pool:
        yield from track(pool.map(play, keys, chunksize=8), "simulated curves", total=len(keys))


def context(curve: Curve) -> Context:
    """The parameters of each detector that are not its defaults.

    A simulated curve has no data set and no learning rate. `budget` and `window` are given
    values that put the published figures where they lie in the recipe. For `budget`: the phase sees 3 % of the data
    less a tenth for validation, so 1.4 % of the data lies at 52 % of the phase. For `window`: the middle of the prior
    (0.018) lies at the middle of the phase, if every other batch is the generator's.
    """
    total = {"total_steps": curve.total}
    return {name: total for name in NAMES} | {
        "budget": total | {"images": round(curve.total * 9 / 0.027), "batch_size": 9, "share": 0.014},
        "window": total | {"lr": 0.018 / (curve.total / 4)},
    }


def play(key: Key) -> PlayedCurve:
    """Draw one curve and feed it to every detector; what does as `shape` does without pictures is told its answer."""
    curve = curves.draw(*key)
    told = {name: _answer(name, conf, curve) for name, conf in context(curve).items() if name not in AS_SHAPE}
    told |= dict.fromkeys(AS_SHAPE, told["shape"])
    return {"key": key, "total": curve.total, "truth": curve.truth, "traits": curve.traits, "found": told}


def _answer(name: str, conf: dict[str, Any], curve: Curve) -> Found:
    detector = make_detector(name, **conf)
    verdict, fed, begin = None, 0, time.perf_counter()
    for step, loss in zip(curve.steps.tolist(), curve.losses.tolist(), strict=True):
        verdict = detector.update(step, loss)
        fed += 1
        if verdict:
            break
    micros = (time.perf_counter() - begin) / fed * 1e6
    return {
        "inflection": verdict.inflection if verdict else None,
        "step": verdict.step if verdict else None,
        "micros": round(micros, 2),
    }


def scores(rows: Iterable[PlayedCurve], name: str) -> dict[str, float]:
    """How one detector did on some curves.

    Returns:
        As shares of the phase, over the curves where it fired: ``error`` (median absolute error), ``error90`` (its 90th
        percentile), ``bias`` (median signed error) and ``delay`` (median time from inflection point to verdict).
        As rates in [0, 1]: ``missed``, over the curves with an inflection point, and ``false`` (false alarms), over
        those without. NaN where there is nothing to count.
    """
    errors: list[float] = []
    delays: list[float] = []
    missed: list[bool] = []
    false: list[bool] = []
    for row in rows:
        found, truth = row["found"][name], row["truth"]
        at, step = found["inflection"], found["step"]
        if truth is None:
            false.append(at is not None)
            continue
        missed.append(at is None)
        if at is not None and step is not None:
            errors.append((at - truth) / row["total"])
            delays.append((step - truth) / row["total"])

    def reduce(function: Callable[[Any], Any], values: Sequence[float]) -> float:
        return float(function(values)) if len(values) else math.nan

    absolute = [abs(error) for error in errors]
    return {
        "error": reduce(np.median, absolute),
        "error90": reduce(lambda values: np.quantile(values, 0.9), absolute),
        "bias": reduce(np.median, errors),
        "delay": reduce(np.median, delays),
        "missed": reduce(np.mean, missed),
        "false": reduce(np.mean, false),
    }


def report(rows: list[PlayedCurve], split: str) -> str:
    """All tables, in markdown."""
    count = len(rows) // len(ALL)
    parts = [
        f"{count} curves of each family, split `{split}`. Errors and delays are shares of the phase, over the curves "
        "where the detector fired.",
        f"**`{JUDGED}` against the targets**",
        targets_table(rows),
        "**Median absolute error**",
        _grid(rows, S_SHAPED + KNEED, "error"),
        "**Absolute error, 90th percentile**",
        _grid(rows, S_SHAPED + KNEED, "error90"),
        "**Median delay from the inflection point to the verdict**",
        _grid(rows, S_SHAPED + KNEED, "delay"),
        "**Missed**",
        _grid(rows, S_SHAPED + KNEED, "missed"),
        "**False alarms**, and the cost of an update (median over all curves)",
        _grid(rows, WITHOUT, "false", cost=True),
        f"**`{JUDGED}` by condition**, over the eight families",
        conditions_table(rows),
        "**Harder families**: median error, missed; false alarms",
        families_table(rows, HARD),
        "**Beyond the families that the detectors were made for**: median error, missed; false alarms",
        families_table(rows, BEYOND),
    ]
    return "\n\n".join(parts)


def targets_table(rows: list[PlayedCurve]) -> str:
    """The targets and the figures reached, with 95 % Wilson intervals for the rates."""
    lines = []

    def add(what: str, families: tuple[str, ...], key: str, target: float) -> None:
        mine = _of(rows, families)
        value = scores(mine, JUDGED)[key]
        interval = "" if key == "error" else " ({:.1%}–{:.1%})".format(*wilson(value, len(mine)))
        lines.append([what, f"≤ {target:.0%}", f"{value:.1%}{interval}", "met" if value <= target else "**not met**"])

    add("median error, S-shaped rises", S_SHAPED, "error", 0.05)
    add("median error, knees", KNEED, "error", 0.10)
    add("missed, S-shaped rises and knees", S_SHAPED + KNEED, "missed", 0.05)
    for family in S_SHAPED + KNEED:
        add(f"missed, {family}", (family,), "missed", 0.05)
    add("false alarms, all without", WITHOUT, "false", 0.05)
    for family in WITHOUT:
        add(f"false alarms, {family}", (family,), "false", 0.05)
    for family, target in HARD_TARGETS.items():
        add(f"median error, {family}", (family,), "error", target)
        add(f"missed, {family}", (family,), "missed", 0.05)
    for family in HARD_WITHOUT:
        add(f"false alarms, {family}", (family,), "false", 0.05)
    return markdown([f"`{JUDGED}`", "target", "found", ""], lines)


def conditions_table(rows: list[PlayedCurve]) -> str:
    """The detector that is judged, by the traits of the curves."""
    rows = _of(rows, FAMILIES)
    splits: list[tuple[str, Callable[[PlayedCurve], bool]]] = [
        ("white noise", lambda row: row["traits"]["autocorrelation"] == 0),
        ("autocorrelated, 0.3–0.6", lambda row: 0 < row["traits"]["autocorrelation"] < 0.6),
        ("autocorrelated, 0.6–0.9", lambda row: row["traits"]["autocorrelation"] >= 0.6),
        ("free", lambda row: not row["traits"]["pinned"]),
        ("pinned at 0.65", lambda row: row["traits"]["pinned"]),
        ("no dip", lambda row: not row["traits"]["dip"]),
        ("initial dip", lambda row: row["traits"]["dip"]),
        ("loss at every batch", lambda row: not row["traits"]["critic_only"]),
        ("loss at critic batches", lambda row: row["traits"]["critic_only"]),
        ("200–1,000 batches", lambda row: row["total"] < 1000),
        ("1,000–10,000 batches", lambda row: row["total"] >= 1000),
        ("noise up to a tenth of the rise", lambda row: row["traits"]["noise"] < 0.1 * row["traits"]["rise"]),
        ("noise above a tenth of the rise", lambda row: row["traits"]["noise"] >= 0.1 * row["traits"]["rise"]),
    ]
    lines = []
    for what, holds in splits:
        s_shaped, kneed, without = (
            scores((row for row in _of(rows, group) if holds(row)), JUDGED) for group in (S_SHAPED, KNEED, WITHOUT)
        )
        values = (
            s_shaped["error"],
            s_shaped["missed"],
            kneed["error"],
            kneed["bias"],
            kneed["missed"],
            without["false"],
        )
        lines.append([what, *map(_percent, values)])
    header = ["", "S: error", "S: missed", "knees: error", "knees: bias", "knees: missed", "false alarms"]
    return markdown(header, lines)


def families_table(rows: list[PlayedCurve], families: tuple[str, ...]) -> str:
    """Every detector on ``families``: median error and misses where there is a point, false alarms where not."""
    lines = []
    for name in NAMES:
        line = [f"`{name}`"]
        for family in families:
            score = scores(_of(rows, (family,)), name)
            without = family in BEYOND_WITHOUT + HARD_WITHOUT
            line.append(
                _percent(score["false"]) if without else f"{_percent(score['error'])}, {_percent(score['missed'])}"
            )
        lines.append(line)
    return markdown(["", *families], lines)


def wilson(rate: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a rate observed over ``count`` trials."""
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _of(rows: Iterable[PlayedCurve], families: tuple[str, ...]) -> list[PlayedCurve]:
    return [row for row in rows if row["key"][1] in families]


def _grid(rows: list[PlayedCurve], families: tuple[str, ...], key: str, cost: bool = False) -> str:
    lines = []
    for name in NAMES:
        line = [f"`{name}`", *(_percent(scores(_of(rows, (family,)), name)[key]) for family in families)]
        if cost:
            line.append(f"{np.median([row['found'][name]['micros'] for row in rows]):.0f} µs")
        lines.append(line)
    return markdown(["", *families, *(["cost"] if cost else [])], lines)


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"


def draw_examples(rows: list[PlayedCurve], path: Path) -> None:
    """Draw curve number 0 of most families, with its inflection point and those found, as a small PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    marks = {"shape": "#d62728", "curvature": "#1f77b4", "knee": "#2ca02c", "drift": "#9467bd", "burden": "#ff7f0e"}
    found = {row["key"][1]: row for row in reversed(rows)}
    drawn = (*FAMILIES, *HARD)
    figure, axes = plt.subplots(3, 5, figsize=(16, 8), sharey=True)
    for ax in axes.flat[len(drawn) :]:
        ax.set_axis_off()
    for ax, family in zip(axes.flat, drawn, strict=False):
        row = found[family]
        curve = curves.draw(*row["key"])
        thin = slice(None, None, max(1, len(curve.steps) // 500))
        ax.plot(curve.steps[thin], curve.losses[thin], ".", ms=2, color="0.75")
        ax.plot(curve.mean, color="0.35", lw=1)
        if curve.truth is not None:
            ax.axvline(curve.truth, color="black", lw=1.2)
        for level, (name, color) in enumerate(marks.items()):
            at = row["found"][name]["inflection"]
            if at is not None:
                ax.plot(at, 0.03 + 0.035 * level, "v", color=color, ms=7, clip_on=False)
        ax.set(title=f"{family}, {curve.total} batches", ylim=(0, 0.95))
        ax.tick_params(labelsize=8)
    handles = [plt.Line2D([], [], color=c, marker="v", ls="", label=name) for name, c in marks.items()]
    handles.insert(0, plt.Line2D([], [], color="black", label="truth"))
    figure.legend(handles=handles, loc="lower center", ncol=len(handles), frameon=False)
    figure.supylabel("critic loss")
    figure.tight_layout(rect=(0.01, 0.04, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)
    plt.close(figure)
