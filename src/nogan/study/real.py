"""Every detector on real runs, where the snapshot that is best on held-out pictures is known.

Each run is trained to its end by `train.py experiment=inflection`, which only marks the inflection point. The result of
each run is appended to OUT/real.jsonl. A second call continues where the first was interrupted, even
within a run, and starts over if the settings of the runs have changed. Detectors are replayed from that file at each
call.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from nogan.common.errors import UserError
from nogan.inflection import DETECTORS
from nogan.inflection.quality import QUALITY
from nogan.study import runs
from nogan.study.record import append_row, markdown, publish, read_rows
from nogan.study.regret import (
    Stop,
    best_fixed_share,
    bootstrap_median,
    fixed,
    picked_by_probe,
    prior,
    qualities,
    random_regret,
    regret,
    replay,
    saved,
    sign_test,
    signals,
)
from nogan.study.rows import RealRun

OTHER_QUALITIES = {
    "as fixed beforehand": QUALITY,
    "chroma FD alone": {"chroma_fd": 1.0},
    "all four alike": dict.fromkeys(QUALITY, 1.0),
}
Rule = Callable[[RealRun], Stop]
RULES: dict[str, Rule] = {
    **{f"`{name}`": partial(replay, name=name) for name in DETECTORS},
    "`shape` says when, the probe which": lambda row: picked_by_probe(row, replay(row, "shape")),
    "lr x generator batches = 0.018": prior,
    "the whole budget": lambda row: Stop(),
}
LEAVE_ONE_OUT = "a fixed share, best on the other runs"
RANDOM = "a snapshot at random"
JUDGED = ("combined", "probe", "shape")  # by the pictures and the loss, by the pictures alone, by the loss alone
HEARS_PROBE = ("probe", "combined")
TUNED_ON = {"scenes": range(10), "photographs": range(3), "scenes-long": range(2)}
"""The seeds of the runs that the parameters of `combined` and `probe` were set on; all other runs were made later."""
RIVALS = ("the whole budget", "`budget`", "lr x generator batches = 0.018", LEAVE_ONE_OUT)


def run(
    out: Path,
    *,
    root: Path,
    seeds: int = 14,
    photos: Path | None = None,
    photo_seeds: int = 3,
    long_seeds: int = 3,
    first_seed: int = 0,
    threads: int = 1,
    record: Path | None = None,
) -> None:
    """Train the runs that are missing, replay the detectors, write the tables and the picture.

    Args:
        out: the folder of results, tables and picture.
        root: the repository.
        seeds: runs on the built-in scenes.
        photos: a folder with photographs in ``train/`` and ``val/``, for runs on them.
        photo_seeds: runs on the photographs.
        long_seeds: runs on each with a longer GAN phase.
        first_seed: the seed of the first run of each set; the others follow it.
        threads: processor threads of a run.
        record: a markdown document to fill in.

    Raises:
        UserError: a number is too small, a run failed, or ``record`` cannot be filled in.
    """
    count = {
        "scenes": seeds,
        "photographs": photo_seeds if photos else 0,
        "scenes-long": long_seeds,
        "photographs-long": long_seeds if photos else 0,
    }
    wanted = _interleaved(count, first_seed)
    if not wanted or threads < 1:
        raise UserError(f"--seeds {seeds} --threads {threads}: expected at least one run and one thread.")
    results = out / "real.jsonl"
    versions = {data: runs.version(root, data) for data, _ in wanted}
    done: dict[tuple[str, int], RealRun] = {
        (row["data"], row["seed"]): row for row in read_rows(results) if row["version"] == versions.get(row["data"])
    }
    missing = [key for key in wanted if key not in done]
    for data, seed in track(missing, "real runs", disable=not missing):
        crops = runs.cut(photos, out / data, runs.CROPS[data]) if photos and data in runs.CROPS else None
        row = runs.make(root, out / "real", data, seed, threads, crops)
        append_row(results, {**row, "version": versions[data]})
        done[data, seed] = row
    rows = [done[key] for key in sorted(wanted, key=lambda key: (list(runs.SETS).index(key[0]), key[1]))]
    publish("real", report(rows), lambda path: draw_runs(rows, path), out, record)


def _interleaved(count: Mapping[str, int], first_seed: int) -> list[tuple[str, int]]:
    """(data, seed) of every run, one of each set in turn, so that an interrupted study has runs of every set."""
    turns = range(max(0, *count.values()))
    return [(data, first_seed + turn) for turn in turns for data in count if turn < count[data]]


# -------------------------------------------------------------------------------------------------------------- tables


def report(rows: Sequence[RealRun]) -> str:
    """All tables, in markdown."""
    sets: dict[str, Sequence[RealRun]] = {
        data: [row for row in rows if row["data"] == data] for data in dict.fromkeys(row["data"] for row in rows)
    }
    parts = [
        "Runs: " + ", ".join(f"{len(mine)} on `{data}`" for data, mine in sets.items()) + ". Quartiles in brackets.",
        "**Targets**: regret (median; 95 % bootstrap interval), and run by run against the baselines (sign test)",
        targets_table({"all runs": rows, **sets}),
    ]
    if held_out := [row for row in rows if row["seed"] not in TUNED_ON.get(row["data"], ())]:
        parts += [f"**Regret on the {len(held_out)} runs that no parameter was set on**", regret_table(held_out)]
    for data, mine in sets.items():
        parts += [f"**Regret on `{data}`**", regret_table(mine)]
    parts += [
        "**What each signal knows**: Spearman's correlation with the held-out quality over the snapshots of a run, and "
        "the regret of taking the snapshot at which the signal is best; medians over all runs",
        signals_table(rows),
        "**Other patiences**, over all runs: what the critic's loss adds to the probe",
        patience_table(rows),
        "**Median regret with other definitions of quality**, over all runs",
        definitions_table(rows),
        "**Run by run**, in GAN batches: where the best snapshot lies, and what `shape` says",
        runs_table(rows),
    ]
    return "\n\n".join(parts)


def stops(rows: Sequence[RealRun]) -> dict[str, list[Stop]]:
    """Where each rule ends each of ``rows``, the runs on one data set."""
    found = {name: [rule(row) for row in rows] for name, rule in RULES.items()}
    if len(rows) > 1:
        others = [[other for other in rows if other is not row] for row in rows]
        found[LEAVE_ONE_OUT] = [fixed(row, best_fixed_share(rest)) for row, rest in zip(rows, others, strict=True)]
    return found


def regrets(rows: Sequence[RealRun], found: Sequence[Stop], weights: dict[str, float] = QUALITY) -> list[float]:
    """Regret of each run under its stop."""
    return [regret(row, stop, weights) for row, stop in zip(rows, found, strict=True)]


def targets_table(sets: Mapping[str, Sequence[RealRun]]) -> str:
    """The targets and the figures reached."""
    lines = []
    for data, rows in sets.items():
        found = stops(rows)
        mine = {name: regrets(rows, found[f"`{name}`"]) for name in JUDGED}
        cells = []
        for values in mine.values():
            low, high = bootstrap_median(values)
            cells.append(f"{np.median(values):.0%} ({low:.0%} to {high:.0%}){_unless(float(np.median(values)) <= 0.1)}")
        lines.append([data, "median regret", "≤ 10%", *cells])
        for rival in (name for name in RIVALS if name in found):
            theirs = regrets(rows, found[rival])
            cells = []
            for values in mine.values():
                below, above, p = sign_test(values, theirs)
                cells.append(
                    f"{below} better, {above} worse, p = {p:.2g}{_unless(bool(np.median(values) < np.median(theirs)))}"
                )
            lines.append([data, f"against {rival}", f"< {np.median(theirs):.0%}", *cells])
    return markdown(["", "", "target", *(f"`{name}`" for name in JUDGED)], lines)


def _unless(met: bool) -> str:
    return "" if met else ", **not met**"


def regret_table(rows: Sequence[RealRun]) -> str:
    """Every rule on the runs of one data set."""
    lines = []
    for name, found in stops(rows).items():
        named = [stop.at / row["steps"] for stop, row in zip(found, rows, strict=True) if stop.at is not None]
        lines.append(
            [
                name,
                f"{len(named)} of {len(rows)}",
                f"{np.median(named):.0%}" if named else "–",
                _spread(regrets(rows, found)),
                f"{max(regrets(rows, found)):.0%}",
                f"{np.median([saved(row, stop) for row, stop in zip(rows, found, strict=True)]):.0%}",
            ]
        )
    lines.append([RANDOM, "–", "–", _spread([random_regret(row) for row in rows]), "–", "–"])
    return markdown(["", "verdicts", "point named at", "median regret", "worst", "batches saved"], lines)


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.0%} ({low:.0%}–{high:.0%})"


def signals_table(rows: Sequence[RealRun]) -> str:
    """How well each signal tells the quality of snapshots."""
    from scipy.stats import spearmanr

    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        of = qualities(row)
        steps, oracle = np.array(sorted(of)), np.array([of[step] for step in sorted(of)])
        for name, values in signals(row).items():
            known = np.isfinite(values)
            told = found.setdefault(name, [])
            if len(np.unique(values[known])) > 1:  # a constant signal says nothing
                rho = float(spearmanr(values[known], oracle[known])[0])
                told.append((rho, regret(row, Stop(int(steps[known][values[known].argmax()]), row["steps"]))))
    lines = []
    for name, pairs in found.items():
        rhos, costs = zip(*pairs, strict=True) if pairs else ((), ())
        lines.append([name, f"{np.nanmedian(rhos):+.2f}", _spread(costs)] if pairs else [name, "–", "–"])
    return markdown(["", "correlation", "regret"], lines)


def patience_table(rows: Sequence[RealRun]) -> str:
    """What other values of ``patience`` save, and what they cost."""
    lines = []
    for patience in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 1.0):
        cells = [f"{patience:.0%} of the phase"]
        for name in HEARS_PROBE:
            found = [replay(row, name, patience=patience) for row in rows]
            costs = regrets(rows, found)
            gains = f"{np.mean([saved(row, stop) for row, stop in zip(rows, found, strict=True)]):.0%}"
            cells += [_spread(costs), f"{np.nanmean(costs):.0%}", gains]
        lines.append(cells)
    columns = ("median regret", "mean", "saved (mean)")
    return markdown(["patience", *(f"`{name}`: {column}" for name in HEARS_PROBE for column in columns)], lines)


def definitions_table(rows: Sequence[RealRun]) -> str:
    """The ranking of the rules under other definitions of quality."""
    lines = []
    for name, rule in RULES.items():
        found = [rule(row) for row in rows]
        medians = [np.nanmedian(regrets(rows, found, weights)) for weights in OTHER_QUALITIES.values()]
        lines.append([name, *(f"{value:.0%}" for value in medians)])
    random = [np.nanmedian([random_regret(row, weights) for row in rows]) for weights in OTHER_QUALITIES.values()]
    return markdown(["", *OTHER_QUALITIES], [*lines, [RANDOM, *(f"{value:.0%}" for value in random)]])


def runs_table(rows: Sequence[RealRun]) -> str:
    """One line for each run."""
    lines = []
    for row in rows:
        oracle, probe, stop = qualities(row), qualities(row, by="probe"), replay(row, "shape")
        best = max(oracle, key=oracle.__getitem__)
        steps, losses = smoothed(row)
        fds = (row["oracle"][str(step)]["chroma_fd"] for step in (0, best, max(oracle)))
        lines.append(
            [
                f"{row['data']} {row['seed']}",
                str(best),
                str(max(probe, key=probe.__getitem__)),
                f"{steps[losses.argmax()]:.0f}",
                "–" if stop.sure is None else f"{stop.at} ({stop.sure})",
                f"{regret(row, stop):.0%}",
                " → ".join(f"{value:.0f}" for value in fds),
            ]
        )
    header = [
        "",
        "best",
        "best by the probe",
        "loss highest",
        "named (sure at)",
        "regret",
        "chroma FD before, best, last",
    ]
    return markdown(header, lines)


def smoothed(row: RealRun, width: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """GAN batches and the critic loss there, smoothed by a Gaussian of ``width`` of the phase (both sides)."""
    steps, losses = np.array(row["losses"], dtype=float).T
    kernel = np.exp(-0.5 * ((steps[:, None] - steps) / (width / 2 * row["steps"])) ** 2)
    return steps, kernel @ losses / kernel.sum(axis=1)


# ------------------------------------------------------------------------------------------------------------- picture


def draw_runs(rows: Sequence[RealRun], path: Path, columns: int = 4) -> None:
    """Draw runs, the first of each set first: above, the critic loss and the points named; below, held-out quality."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first = {row["data"]: row for row in reversed(rows)}
    shown = sorted(rows, key=lambda row: row is not first[row["data"]])[:columns]
    marks = {"combined": "#d62728", "probe": "#ff7f0e", "shape": "#1f77b4", "knee": "#2ca02c", "drift": "#9467bd"}
    figure, axes = plt.subplots(2, len(shown), figsize=(4.6 * len(shown), 5.4), sharex="col", squeeze=False)
    for (above, below), row in zip(axes.T, shown, strict=True):
        steps, losses = np.array(row["losses"]).T
        above.plot(steps, losses, ".", ms=2, color="0.75")
        above.plot(*smoothed(row), color="0.35", lw=1)
        above.set(title=f"{row['data']}, seed {row['seed']}", ylim=(0, None), ylabel="critic loss")
        of = qualities(row)
        best = max(of, key=of.__getitem__)
        below.plot(list(of), list(of.values()), ".-", ms=4, lw=1, color="0.35")
        below.axhline(of[0], color="0.75", lw=1, zorder=0)
        below.plot(best, of[best], "*", ms=13, color="black")
        below.set(xlabel="GAN batch", ylabel="held-out quality (ln)")
        for level, (name, color) in enumerate(marks.items()):
            stop = replay(row, name)
            if stop.at is not None:
                above.plot(stop.at, 0.03 + 0.05 * level, "v", color=color, ms=7, transform=above.get_xaxis_transform())
                below.axvline(stop.at, color=color, lw=1, ls="--")
        above.axvline(prior(row).at or math.nan, color="black", lw=0.8, ls=":")
        below.axvline(prior(row).at or math.nan, color="black", lw=0.8, ls=":")
    handles = [plt.Line2D([], [], color=c, marker="v", ls="--", label=name) for name, c in marks.items()]
    handles.append(plt.Line2D([], [], color="black", lw=0.8, ls=":", label="lr x generator batches = 0.018"))
    handles.append(plt.Line2D([], [], color="black", marker="*", ls="", ms=10, label="best snapshot"))
    figure.legend(handles=handles, loc="lower center", ncol=len(handles), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)
    plt.close(figure)
