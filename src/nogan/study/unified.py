"""Whether one network with a knob equals three that are trained apart, and blends of them.

For each seed the networks of :mod:`nogan.study.unified_runs` are trained and measured. The result of a seed is a line
of OUT/unified-SET.jsonl. A second call continues where the first was interrupted, even within a run; a seed is trained
anew if the settings have changed, and measured anew if the measures have.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from rich.progress import track

from nogan.common.errors import UserError
from nogan.evaluation.measures import MEASURES, Measure
from nogan.study import runs, unified_runs
from nogan.study.record import append_row, markdown, publish, read_rows
from nogan.study.unified_runs import ENDS, LEVELS, NETWORKS, Subject

APART = [name for name in NETWORKS if name != "unified"]
TRAINED_FOR = {"video": (0.0, "warp_error"), "stable": (0.5, "chroma_fd"), "artistic": (1.0, "colorfulness_ratio")}
"""The vividness that stands for each network, and the measure that it was trained for."""
SHOWN = {
    **{key: MEASURES[key] for key in unified_runs.CRITERIA},
    "warp_error": Measure("warp_error", "warp error, x 1000", "", "lower"),
    "warp_error_stabilized": Measure("warp_error_stabilized", "stabilized", "", "lower"),
    "cdc": Measure("cdc", "CDC, x 1000", "", "lower"),
    "cdc_stabilized": Measure("cdc_stabilized", "stabilized", "", "lower"),
}
COLORS = "colorfulness_ratio"
FLICKER = ("warp_error", "warp_error_stabilized", "cdc", "cdc_stabilized")
CLOSE = 0.05
"""How far below the artistic network's the colorfulness at 1 may lie, as a share of it."""
HALF = 0.5
"""Of what training the networks apart costs together: the most that the unified one may cost."""


class Row(TypedDict):
    """What is kept of one seed."""

    set: str
    seed: int
    points: list[dict[str, Any]]  # family, at and measures of each setting
    seconds: dict[str, float]  # of processor time, of each network as if it had been trained apart
    trained: str  # hashes of what the networks and the figures depend on
    measured: str


def run(
    out: Path,
    *,
    set: str = "scenes",
    seeds: int = 5,
    first_seed: int = 0,
    photos: Path | None = None,
    images: int = 20_000,
    overrides: Sequence[str] = (),
    threads: int = 1,
    minutes: float = math.inf,
    record: Path | None = None,
) -> None:
    """Train and measure the seeds that are missing, then write the tables and the curves.

    Args:
        out: the folder of results, runs, tables and pictures.
        set: "scenes" or "photographs".
        seeds: how many.
        first_seed: the first; the others follow it.
        photos: a folder with photographs in ``train/`` and ``val/``, for "photographs".
        images: pictures in the data set, of which all phases are shares: what a run costs.
        overrides: further settings of all networks, ``KEY=VALUE``.
        threads: processor threads.
        minutes: after so many, no further seed is begun.
        record: a markdown document to fill in.

    Raises:
        UserError: a number is too small, photographs are missing, a run failed, no seed is done yet, or ``record``
            cannot be filled in.
    """
    import torch

    if seeds < 1 or threads < 1 or images < 1:
        raise UserError(f"--seeds {seeds} --images {images} --threads {threads}: expected all to be at least 1.")
    if (set == "photographs") != (photos is not None):
        raise UserError(f"--set {set}: expected --photos DIR with --set photographs, and only there.")
    subject = Subject(set, images, photos, tuple(overrides))
    crops = None if photos is None else runs.cut(photos, out / f"{set}-{images}", images).resolve()
    results, began = out / f"unified-{set}.jsonl", time.monotonic()
    trained, measured = subject.version, unified_runs.measured_by()
    done: dict[int, Row] = {
        row["seed"]: row for row in read_rows(results) if (row["trained"], row["measured"]) == (trained, measured)
    }
    wanted = range(first_seed, first_seed + seeds)
    missing = [seed for seed in wanted if seed not in done]
    torch.set_num_threads(threads)
    for seed in track(missing, f"seeds on {set}", disable=not missing):
        if time.monotonic() - began > 60 * minutes:
            print(f"--minutes {minutes:g} are over; the same command goes on.")
            break
        folder = (out / "runs" / f"unified-{set}-{seed}-{trained}").resolve()
        seconds = unified_runs.train_all(subject, seed, folder, crops)
        points = unified_runs.measure_all(subject, folder, crops, out / f"unified-{set}" / f"{seed}.png")
        done[seed] = Row(set=set, seed=seed, points=points, seconds=seconds, trained=trained, measured=measured)
        append_row(results, done[seed])
    rows = [done[seed] for seed in wanted if seed in done]
    if not rows:
        raise UserError(f"--minutes {minutes:g}: not one seed is done yet; the same command goes on.")
    publish(f"unified-{set}", report(rows), lambda path: draw_curves(rows, path), out, record, suffix=".svg")


# ------------------------------------------------------------------------------------------------------------- figures


def value(row: Row, family: str, at: str, key: str) -> float:
    """One measure of one setting of a seed."""
    for point in row["points"]:
        if (point["family"], point["at"]) == (family, at):
            return float(point["measures"][key])
    raise KeyError((family, at))


def curve(row: Row, family: str, key: str) -> list[float]:
    """A measure at each of :data:`LEVELS`, of B, C or D."""
    inner = [value(row, family, f"{level:g}", key) for level in (LEVELS if family == "B" else LEVELS[1:-1])]
    if family == "B":
        return inner
    first, last = (value(row, "A", name, key) for name in ENDS[family])
    return [first, *inner, last]


def advantage(row: Row, key: str, over: str = "C", same: str = COLORS) -> float:
    """By how much B's curve is better in ``key`` than that of ``over``, where both are the ``same``; mean over B.

    The other curve is interpolated linearly. Points of B that lie beyond all of it (at the same colorfulness: are paler
    or more vivid) do not count; NaN if none is left.
    """
    places, others = curve(row, over, same), curve(row, over, key)
    order = np.argsort(places)
    found = [
        badness(float(np.interp(at, np.array(places)[order], np.array(others)[order])), key) - badness(own, key)
        for at, own in zip(curve(row, "B", same), curve(row, "B", key), strict=True)
        if min(places) <= at <= max(places)
    ]
    return float(np.mean(found)) if found else math.nan


class Paired(NamedTuple):
    """Mean of paired differences with its 95 % interval by Student's t; NaN where there are too few."""

    mean: float
    low: float
    high: float
    seeds: int


def paired(differences: Iterable[float]) -> Paired:
    """Of the differences that are numbers."""
    from scipy.stats import t

    values = np.array([each for each in differences if math.isfinite(each)])
    if not len(values):
        return Paired(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    if len(values) == 1:
        return Paired(mean, math.nan, math.nan, 1)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Paired(mean, mean - half, mean + half, len(values))


class Target(NamedTuple):
    """A target with what was reached.

    Attributes:
        name: what is asked for.
        found: the paired figure behind it; positive favors the unified network.
        unit: factor and unit of the figure as text, such as ``dB``.
        met: None where the seeds are too few to say.
    """

    name: str
    found: Paired
    unit: str
    met: bool | None


def targets(rows: Sequence[Row]) -> list[Target]:
    """All targets, which were fixed before looking."""

    def each(better: Callable[[Row], float]) -> Paired:
        return paired(better(row) for row in rows)

    def no_worse(name: str, found: Paired, unit: str) -> Target:
        return Target(name, found, unit, None if found.seeds < 2 else found.high >= 0)

    found = []
    for network, (level, key) in TRAINED_FOR.items():
        at, measure = f"{level:g}", SHOWN[key]

        def gain(row: Row, network: str = network, at: str = at, key: str = key) -> float:
            return badness(value(row, "A", network, key), key) - badness(value(row, "B", at, key), key)

        found.append(no_worse(f"at {at} no worse than {network}: {measure.label}", each(gain), _unit(key)))
    cost = each(lambda row: HALF - row["seconds"]["unified"] / sum(row["seconds"][name] for name in APART))
    found.append(Target(f"costs at most {HALF:.0%} of the {len(APART)} apart", cost, "%", cost.mean >= 0))
    for key in ("psnr", "warp_error"):
        above = each(partial(advantage, key=key))
        found.append(no_worse(f"its curve on or above that of weight blends: {SHOWN[key].label}", above, _unit(key)))
    calm = each(lambda row: value(row, "A", "video", "warp_error") - value(row, "B", "0", "warp_error"))
    found.append(Target("at 0 flicker at most that of video, on the mean", calm, _unit("warp_error"), calm.mean >= 0))
    vivid = each(lambda row: _colors(row, "B", "1") / _colors(row, "A", "artistic") - (1 - CLOSE))
    found.append(Target(f"at 1 colorfulness within {CLOSE:.0%} of artistic's", vivid, "%", vivid.mean >= 0))
    steps = each(lambda row: float(np.diff(curve(row, "B", COLORS)).min()))
    mean = np.mean([curve(row, "B", COLORS) for row in rows], axis=0)
    found.append(
        Target("colorfulness rises with the knob: its least step", steps, "%", bool((np.diff(mean) > 0).all()))
    )
    return found


def badness(value: float, key: str) -> float:
    """A number that is smaller for better values; of colorfulness, of what is missing to the artistic network's."""
    return -value if key == COLORS else SHOWN[key].badness(value)


def _colors(row: Row, family: str, at: str) -> float:
    return value(row, family, at, COLORS)


def _unit(key: str) -> str:
    if key in FLICKER:
        return "/ 1000"
    return "%" if SHOWN[key].percent else SHOWN[key].unit


# -------------------------------------------------------------------------------------------------------------- tables


def report(rows: Sequence[Row]) -> str:
    """All tables, in markdown."""
    seeds = ", ".join(str(row["seed"]) for row in rows)
    return "\n\n".join(
        [
            f"{len(rows)} seed{'s' * (len(rows) != 1)} on {rows[0]['set']} ({seeds}).",
            "**Targets.** Paired over the seeds; a positive figure favors the unified network. 95 % intervals by "
            "Student's t.",
            targets_table(rows),
            "**Where the curves have no colorfulness in common**: how much more colorful B is than the weight blends "
            f"{_more_colorful(rows, 'psnr')}; {_more_colorful(rows, 'warp_error')}.",
            "**Every setting**, means over the seeds. A: trained apart; B: one network at a vividness; C: blends of "
            f"the weights of {' and '.join(ENDS['C'])}; D: blends of the pictures of {' and '.join(ENDS['D'])}.",
            settings_table(rows),
            "**Processor time** of each network, pretraining included: "
            + ", ".join(f"{name} {np.mean([row['seconds'][name] for row in rows]):.0f} s" for name in NETWORKS)
            + ".",
        ]
    )


def targets_table(rows: Sequence[Row]) -> str:
    """The targets and the figures reached."""
    lines = []
    for target in targets(rows):
        found, unit = target.found, target.unit
        interval = "–" if found.seeds < 2 else f"{_figure(found.low, unit)} to {_figure(found.high, unit)}"
        undecided = "one seed cannot say" if found.seeds else "nothing in common"
        met = undecided if target.met is None else "met" if target.met else "**not met**"
        shown = "–" if not found.seeds else f"{_figure(found.mean, unit)} {unit}".strip()
        lines.append([target.name, shown, interval, str(found.seeds), met])
    return markdown(["target", "difference", "95 % interval", "seeds", ""], lines)


def _more_colorful(rows: Sequence[Row], same: str) -> str:
    found = paired(advantage(row, COLORS, same=same) for row in rows)
    label = SHOWN[same].label.removesuffix(", x 1000")
    if not found.seeds:
        return f"at the same {label}: no point in common either"
    interval = f", {_figure(found.low, '%')} to {_figure(found.high, '%')}" if found.seeds > 1 else ""
    return f"at the same {label}: {_figure(found.mean, '%')} %{interval} ({found.seeds} seed{'s' * (found.seeds != 1)})"


def _figure(value: float, unit: str) -> str:
    factor = {"%": 100, "/ 1000": 1000}.get(unit, 1)
    return f"{factor * value:+.2f}".replace("-", "−")


def settings_table(rows: Sequence[Row]) -> str:
    """A line for each setting."""
    settings = [(point["family"], point["at"]) for point in rows[0]["points"]]
    lines = []
    for family, at in sorted(settings, key=lambda setting: setting[0]):
        means = {key: float(np.mean([value(row, family, at, key) for row in rows])) for key in SHOWN}
        shown = (_shown(key, mean) for key, mean in means.items())
        lines.append([f"{family} {at}", *shown])
    return markdown(["", *(measure.label for measure in SHOWN.values())], lines)


def _shown(key: str, mean: float) -> str:
    return f"{1000 * mean:.2f}" if key in FLICKER else SHOWN[key].show(mean)


# ------------------------------------------------------------------------------------------------------------- picture


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw B, C and D and the networks of A: colorfulness against PSNR, and against flicker; means over the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.hashsalt": "nogan", "font.size": 10}):
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2))
        for axis, key in zip(axes, ("psnr", "warp_error"), strict=True):
            factor = 1000 if key in FLICKER else 1
            for (family, label), color in zip(_LABELS.items(), ("#e45756", "#4c78a8", "#59a14f"), strict=True):
                each = [(curve(row, family, COLORS), curve(row, family, key)) for row in rows]
                for colors, values in each:
                    axis.plot(100 * np.array(colors), factor * np.array(values), color=color, lw=0.6, alpha=0.35)
                colors, values = np.mean(each, axis=0)
                axis.plot(100 * colors, factor * values, "o-", color=color, ms=4, lw=2, label=label)
            for name in APART:
                x, y = (np.mean([value(row, "A", name, one) for row in rows]) for one in (COLORS, key))
                axis.plot(100 * x, factor * y, "s", color="0.2", ms=6)
                axis.annotate(name, (100 * x, factor * y), textcoords="offset points", xytext=(6, 5), size=9)
            axis.set(xlabel="colorfulness, % of the truth's", ylabel=_AXES[key])
            axis.spines[["top", "right"]].set_visible(False)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncol=3, frameon=False, fontsize=9)
        figure.tight_layout(rect=(0, 0.06, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


_LABELS = {"B": "B: one network, v = 0 … 1", "C": "C: weight blends", "D": "D: blends of two networks' pictures"}
_AXES = {"psnr": "PSNR, dB (higher is better)", "warp_error": "warp error x 1000 (lower is better)"}
