"""Every rule on real runs, where the generator that is best on held-out pictures is known.

Each run is trained once, to its end, by `train.py experiment=inflection`, which only marks the inflection point; all of
its snapshots are kept in OUT/runs, and what was measured of them in OUT/real, one file a run. A second call continues
where the first was interrupted, even within a run; it trains again only where the settings of the runs have changed,
and measures again where the measures have. Rules are replayed from what was measured at each call.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from nogan.common.errors import UserError
from nogan.evaluation.merit import COLOR_WEIGHT
from nogan.inflection import DETECTORS
from nogan.study import runs
from nogan.study.record import markdown, publish
from nogan.study.regret import (
    LEAST_GAIN,
    Stop,
    best_fixed_share,
    best_of,
    bootstrap_median,
    fixed,
    forgone,
    gains,
    has_passed_its_best,
    merits,
    prior,
    random_regret,
    regret,
    relative_fd,
    replay,
    saved,
    sign_test,
    signals,
    snapshot,
)
from nogan.study.rows import AVERAGED, SINGLE, RealRun
from nogan.study.runs import SETS, Workplace

Rule = Callable[[RealRun], Stop]
HEARS_PICTURES = ("pays", "combined", "probe")
WHOLE, LAST_AVERAGE = "the whole budget", "the whole budget, averaged"
RULES: dict[str, Rule] = {
    **{
        f"`{name}`": partial(replay, name=name, kind=AVERAGED)
        for name in (*HEARS_PICTURES, *(each for each in DETECTORS if each not in (*HEARS_PICTURES, "budget")))
    },
    "`budget`: the published share": partial(replay, name="budget"),
    "lr x generator batches = 0.018": prior,
    WHOLE: lambda row: Stop(),
    LAST_AVERAGE: lambda row: Stop(kind=AVERAGED),
}
LEAVE_ONE_OUT = "a fixed share, best on the other runs, averaged"
RANDOM = "a snapshot at random"
JUDGED = tuple(f"`{name}`" for name in HEARS_PICTURES)
RIVALS = (WHOLE, "`budget`: the published share", "lr x generator batches = 0.018", LAST_AVERAGE, LEAVE_ONE_OUT)
WORTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def run(
    out: Path,
    *,
    root: Path,
    seeds: int = 10,
    photos: Path | None = None,
    photo_seeds: int = 5,
    long_seeds: int = 5,
    large_seeds: int = 3,
    first_seed: int = 200,
    threads: int = 1,
    minutes: float = math.inf,
    train: bool = True,
    encoder_weights: Path | None = None,
    recorded: Path | None = None,
    color_weight: float = COLOR_WEIGHT,
    record: Path | None = None,
) -> None:
    """Train and measure what is missing, replay the rules, write the tables and the picture.

    Args:
        out: the folder of runs, results, tables and picture.
        root: the repository.
        seeds: runs on the built-in scenes.
        photos: a folder with photographs in ``train/`` and ``val/``, for runs on them.
        photo_seeds: runs on the photographs.
        long_seeds: runs on each with a longer GAN phase.
        large_seeds: runs on the photographs one size up.
        first_seed: the seed of the first run of each set; the others follow it.
        threads: processor threads of a run.
        minutes: after so many no further run is begun; the tables are of those that there are.
        train: whether runs are trained; else those that have been are measured, and the others left out.
        encoder_weights: a file, for the runs one size up; None: timm fetches them.
        recorded: a folder of files as in OUT/real: these runs, and nothing is trained or measured.
        color_weight: of the color gained, in merit.
        record: a markdown document to fill in.

    Raises:
        UserError: a number is too small, a run failed, or ``record`` cannot be filled in.
    """
    if not 0 <= color_weight < math.inf:
        raise UserError(f"--color-weight {color_weight:g}: expected a number from 0 on.")
    if recorded is not None:
        rows = [runs.as_recorded(file, color_weight) for file in sorted(recorded.glob("*.npz"))]
        if not rows:
            raise UserError(f"--recorded {recorded}: found no .npz file; expected those that OUT/real holds.")
        return _publish(rows, out, record)
    count = {
        "scenes": seeds,
        "photographs": photo_seeds if photos else 0,
        "scenes-long": long_seeds,
        "photographs-long": long_seeds if photos else 0,
        "photographs-64": large_seeds if photos else 0,
    }
    wanted = _interleaved(count, first_seed)
    if not wanted or threads < 1:
        raise UserError(f"--seeds {seeds} --threads {threads}: expected at least one run and one thread.")
    place = Workplace(root, out, threads, photos, encoder_weights)
    until = time.monotonic() + 60 * minutes
    done: dict[tuple[str, int], RealRun] = {}
    for data, seed in track(wanted, "real runs"):
        can_be = train or runs.is_trained(place, data, seed)
        if (time.monotonic() < until and can_be) or runs.is_measured(place, data, seed):
            done[data, seed] = runs.make(place, data, seed, color_weight)
    if not done:
        if not train:
            raise UserError(f"--no-train: {out} has no run that was trained to its end; expected one.")
        raise UserError(f"--minutes {minutes:g}: no run was made in that time; expected more, or --minutes left out.")
    _publish(list(done.values()), out, record)


def _publish(found: Sequence[RealRun], out: Path, record: Path | None) -> None:
    rows = sorted(found, key=lambda row: (list(SETS).index(row["data"]), row["seed"]))
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
    without = [f"{row['data']} {row['seed']}" for row in rows if not gains(row)]
    parts = [
        "Runs: " + ", ".join(f"{len(mine)} on `{data}`" for data, mine in sets.items()) + ". "
        f"Averages: of width {AVERAGED}. Regret is a share of the best snapshot's gain, so that {len(without)} of the "
        f"{len(rows)} runs have none: the phase gains less than {LEAST_GAIN:g} merit there, if anything"
        f"{': ' if without else ''}{', '.join(without)}. What is forgone, in merit, and what is saved is of all runs.",
        "**Targets**: regret against the best averaged generator (median; 95 % bootstrap interval), batches saved, and "
        "what is forgone, run by run, against the baselines (sign test)",
        targets_table({"all runs": rows, **sets}),
    ]
    for data, mine in sets.items():
        parts += [f"**Every rule on `{data}`**; regret: of {_of_those_that_gain(mine)}", rules_table(mine)]
    parts += [
        "**Averages**: what the best and the last snapshot of each kind gain over the generator before the phase, on "
        "the oracle's pictures; medians over all runs",
        averages_table(rows),
        "**`worth`**: what other values cost and save, on averaged snapshots",
        worth_table(rows),
        "**What each signal knows**: Spearman's correlation with the merit of averaged snapshots over a run; medians",
        signals_table(rows),
        "**Run by run**: the best averaged snapshot, and where `pays` stops",
        runs_table(rows),
    ]
    return "\n\n".join(parts)


def stops(rows: Sequence[RealRun]) -> dict[str, list[Stop]]:
    """Where each rule ends each of ``rows``, the runs on one data set."""
    found = {name: [rule(row) for row in rows] for name, rule in RULES.items()}
    if len(rows) > 1:
        others = [[other for other in rows if other is not row] for row in rows]
        found[LEAVE_ONE_OUT] = [
            fixed(row, best_fixed_share(rest, AVERAGED), AVERAGED) for row, rest in zip(rows, others, strict=True)
        ]
    return found


def _regrets(rows: Sequence[RealRun], found: Sequence[Stop], against: str = AVERAGED) -> list[float]:
    values = [regret(row, stop, against) for row, stop in zip(rows, found, strict=True)]
    return [value for value in values if math.isfinite(value)]


def _of_those_that_gain(rows: Sequence[RealRun]) -> str:
    return f"{sum(map(gains, rows))} of {len(rows)} runs"


def _forgone(rows: Sequence[RealRun], found: Sequence[Stop]) -> list[float]:
    return [forgone(row, stop) for row, stop in zip(rows, found, strict=True)]


def _saved(rows: Sequence[RealRun], found: Sequence[Stop]) -> float:
    return float(np.mean([saved(row, stop) for row, stop in zip(rows, found, strict=True)]))


def _median(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = bootstrap_median(values)
    return f"{np.median(values):.0%} ({low:.0%} to {high:.0%})"


def targets_table(sets: Mapping[str, Sequence[RealRun]]) -> str:
    """The targets and the figures reached."""
    lines = []
    for data, rows in sets.items():
        found = stops(rows)
        regrets = (_median(_regrets(rows, found[name])) for name in JUDGED)
        lines.append([data, f"median regret, of {_of_those_that_gain(rows)}", "≤ 10%", *regrets])
        lines.append([data, "batches saved, mean", "≥ 30%", *(f"{_saved(rows, found[name]):.0%}" for name in JUDGED)])
        past = [number for number, row in enumerate(rows) if has_passed_its_best(row)]
        if past:
            cells = [f"{_saved([rows[i] for i in past], [found[name][i] for i in past]):.0%}" for name in JUDGED]
            lines.append([data, f"… in the {len(past)} past their best", "≥ 50%", *cells])
        for rival in (name for name in RIVALS if name in found):
            theirs = _forgone(rows, found[rival])
            cells = []
            for name in JUDGED:
                below, above, p = sign_test(_forgone(rows, found[name]), theirs)
                cells.append(f"{below} better, {above} worse, p = {p:.2g}")
            lines.append([data, f"against {rival}", "better", *cells])
    return markdown(["", "", "target", *JUDGED], lines)


def rules_table(rows: Sequence[RealRun]) -> str:
    """Every rule on the runs of one data set."""
    lines = []
    for name, found in stops(rows).items():
        named = [stop.at / row["steps"] for stop, row in zip(found, rows, strict=True) if stop.at is not None]
        against, single = _regrets(rows, found), _regrets(rows, found, SINGLE)
        lines.append(
            [
                name,
                f"{len(named)} of {len(rows)}",
                f"{np.median(named):.0%}" if named else "–",
                _median(against),
                f"{np.median(single):.0%}" if single else "–",
                f"{max(against):.0%}" if against else "–",
                f"{np.median(_forgone(rows, found)):.2f}",
                f"{np.median([relative_fd(row, stop) for row, stop in zip(rows, found, strict=True)]):.0%}",
                f"{_saved(rows, found):.0%}",
            ]
        )
    drawn = [random_regret(row) for row in rows if gains(row)]
    lines.append([RANDOM, "–", "–", _median(drawn), *["–"] * 5])
    header = [
        "",
        "verdicts",
        "point named at",
        "median regret",
        "… to the best single",
        "worst",
        "forgone",
        "chroma FD, of before",
        "saved, mean",
    ]
    return markdown(header, lines)


def averages_table(rows: Sequence[RealRun]) -> str:
    """What averaging does."""
    lines = []
    for name, kind in (("single", SINGLE), ("averaged", AVERAGED)):
        values = [list(merits(row, kind).values()) for row in rows]
        gained = np.median([[max(each) - each[0], each[-1] - each[0]] for each in values], axis=0)
        lines.append([name, *(f"{value:+.2f}" for value in gained)])
    return markdown(["", "best", "last"], lines)


def worth_table(rows: Sequence[RealRun]) -> str:
    """What other values of ``worth`` save, and what they cost."""
    lines = []
    for worth in WORTHS:
        found = [replay(row, "pays", AVERAGED, worth=worth) for row in rows]
        costs = _regrets(rows, found)
        mean = f"{np.mean(costs):.0%}" if costs else "–"
        forgoes = _forgone(rows, found)
        lines.append([f"{worth:g}", _median(costs), mean, f"{np.mean(forgoes):.2f}", f"{_saved(rows, found):.0%}"])
    return markdown(["`worth`", "median regret", "mean", "forgone, mean", "saved, mean"], lines)


def signals_table(rows: Sequence[RealRun]) -> str:
    """How well each signal tells the merit of snapshots."""
    from scipy.stats import spearmanr

    found: dict[str, list[float]] = {}
    for row in rows:
        of = merits(row, AVERAGED)
        oracle = np.array([of[step] for step in sorted(of)])
        for name, values in signals(row).items():
            known = np.isfinite(values)
            if len(np.unique(values[known])) > 1:  # a constant signal says nothing
                found.setdefault(name, []).append(float(spearmanr(values[known], oracle[known])[0]))
    return markdown(["", "correlation"], [[name, f"{np.median(rhos):+.2f}"] for name, rhos in found.items()])


def runs_table(rows: Sequence[RealRun]) -> str:
    """One line for each run."""
    lines = []
    for row in rows:
        of, stop = merits(row, AVERAGED), replay(row, "pays", AVERAGED)
        top, there = best_of(row), snapshot(row, stop)
        fd = row["others"]["chroma_fd"]
        fds = (fd[kind][str(step)] for kind, step in ((SINGLE, 0), (AVERAGED, there), (SINGLE, max(of))))
        lines.append(
            [
                f"{row['data']} {row['seed']}",
                f"{top} of {row['steps']}",
                "–" if stop.sure is None else f"{stop.at:.0f} ({stop.sure})",
                " → ".join(f"{value:.2f}" for value in (of[0], of[there], of[top], of[max(of)])),
                " → ".join(f"{value:.0f}" for value in fds),
            ]
        )
    header = ["", "best", "named (sure at)", "merit before → there → best → last", "chroma FD before → there → last"]
    return markdown(header, lines)


def smoothed(row: RealRun, width: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """GAN batches and the critic loss there, smoothed by a Gaussian of ``width`` of the phase (both sides)."""
    steps, losses = np.array(row["losses"], dtype=float).T
    kernel = np.exp(-0.5 * ((steps[:, None] - steps) / (width / 2 * row["steps"])) ** 2)
    return steps, kernel @ losses / kernel.sum(axis=1)


# ------------------------------------------------------------------------------------------------------------- picture


def draw_runs(rows: Sequence[RealRun], path: Path) -> None:
    """Draw the first run of each set: above, the critic's loss; below, merit with its interval, verdict and point."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = list({row["data"]: row for row in reversed(rows)}.values())[::-1]
    figure, axes = plt.subplots(2, len(shown), figsize=(4.6 * len(shown), 5.4), sharex="col", squeeze=False)
    for (above, below), row in zip(axes.T, shown, strict=True):
        steps, losses = np.array(row["losses"]).T
        above.plot(steps, losses, ".", ms=2, color="0.75")
        above.plot(*smoothed(row), color="0.35", lw=1)
        above.set(title=f"{row['data']}, seed {row['seed']}", ylim=(0, None), ylabel="critic loss")
        probe = np.array(list(row["probe"][AVERAGED].values()))
        times = np.array([int(step) for step in row["probe"][AVERAGED]])
        pairs = probe - probe[0]
        reach = 1.96 * pairs.std(axis=1) / math.sqrt(probe.shape[1])
        below.fill_between(times, pairs.mean(1) - reach, pairs.mean(1) + reach, color="#1f77b4", alpha=0.2, lw=0)
        below.plot(times, pairs.mean(1), color="#1f77b4", lw=1.5, label="probe, averaged, with 95 % interval")
        for kind, style, label in ((AVERAGED, "-", "oracle, averaged"), (SINGLE, ":", "oracle, single")):
            of = merits(row, kind)
            below.plot(list(of), [value - of[0] for value in of.values()], style, lw=1, color="0.35", label=label)
        below.axhline(0, color="0.75", lw=1, zorder=0)
        below.set(xlabel="GAN batch", ylabel="merit, to before the phase")
        for name, shade in (("pays", "#d62728"), ("combined", "#ff7f0e")):
            stop = replay(row, name, AVERAGED)
            for axis in (above, below):
                if stop.at is not None and stop.sure is not None:
                    axis.axvline(stop.at, color=shade, lw=1.5, label=f"{name}: the point")
                    axis.axvline(stop.sure, color=shade, lw=1, ls="--", label=f"{name}: the verdict")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)
    plt.close(figure)
