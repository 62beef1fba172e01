"""The comparison of several runs, side by side in one file."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nogan.common.errors import UserError
from nogan.common.version import __version__
from nogan.evaluation.measures import MEASURES, Measure, measure_of
from nogan.report.collect import Entry, best, collect, short_key, show
from nogan.report.html import FOR_PICTURES, thinned, write_page
from nogan.report.pictures import by_truth, pack
from nogan.report.run_data import RunData, Span, repeat_command
from nogan.report.run_page import measure_for_script
from nogan.report.terms import TERMS, about, subject
from nogan.runs.summary import clock, inflection

OBJECTIVE = "val/chroma_fd"  # where no run names one
SETTINGS_SHOWN = 5  # columns; further settings that differ have a table of their own
LEADING = ("colorfulness_ratio", "psnr", "chroma_fd")  # measures that stand before the settings
POINTS = 60_000  # of all curves together: about a megabyte
COLORS = 8  # with names in the style sheet
HARDER = "rises as the generator's colors become harder to tell from real ones"
LOSSES = {  # metric: its name and what it says
    "gan/critic_loss_smooth": ("critic's loss in the GAN phase, smoothed", HARDER),
    "gan/generator_loss": ("generator's loss in the GAN phase", "feature loss and adversarial loss, weighted"),
    "gan/feature_loss": ("feature loss in the GAN phase", "distance to the truth in a pretrained network's features"),
    "gan/adversarial_loss": ("adversarial loss in the GAN phase", "how far the critic is from taking outputs for real"),
    "gan/critic_steps_per_generator_step": ("critic batches for each generator batch", HARDER),
    "generator/loss": ("generator's loss in pretraining", "distance to the truth in a pretrained network's features"),
    "critic/loss": ("critic's loss in its own phases", "falls as it learns to tell outputs from real pictures"),
}


def write_comparison(paths: Iterable[Path], output: Path, objective: str | None = None) -> Path:
    """Write a page that compares the runs in ``paths``.

    Args:
        paths: run folders, or folders of them.
        output: the page.
        objective: the held-out metric that says which run is best; by default the one that the runs' config names.

    Returns:
        The page.

    Raises:
        UserError: a path holds no run, or the page cannot be written.
    """
    if output.is_dir():
        raise UserError(f"-o {output} is a folder: expected a file, such as {output / 'compare.html'}")
    entries = collect(paths)
    objective = objective or next(
        (e.run.config["objective"] for e in entries if e.run and e.run.config.get("objective")), OBJECTIVE
    )
    winner = best(entries, objective)
    leading = [measure_of(objective).key, *LEADING]
    measures = [m for m in MEASURES.values() if any(e.value(m.key) is not None for e in entries)]
    measures.sort(key=lambda m: leading.index(m.key) if m.key in leading else len(leading))
    settings = list(entries[0].settings)
    data = _data(entries, measures, objective)
    values = dict(
        title=f"{len(entries)} runs compared",
        count=len(entries),
        winner=winner and _winner(winner, objective),
        rows=[_row(number, entry, measures, settings) for number, entry in enumerate(entries)],
        measures=measures,
        leading=sum(m.key in leading for m in measures),
        about={m.key: about(m) for m in measures},
        terms=TERMS,
        subjects=_subjects(entries),
        settings={key: short_key(key) for key in settings[:SETTINGS_SHOWN]},
        further=[(key, [show(e.settings.get(key)) for e in entries]) for key in settings[SETTINGS_SHOWN:]],
        failures=[(e.label, e.failure or "the reason is not known") for e in entries if e.status == "failed"],
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    try:
        return write_page(output, "compare.html", data, **values)
    except OSError as error:
        raise UserError(f"-o {output}: {error.strerror or error}; expected a file that can be written") from error


def _subjects(entries: list[Entry]) -> str:
    """What the runs' pictures are: ``scenes``, ``photographs``, or ``pictures`` where the runs differ in that."""
    found = {subject(entry.run.config["data"]) for entry in entries if entry.run}
    return found.pop() if len(found) == 1 else "pictures"


def _winner(entry: Entry, objective: str) -> dict[str, str]:
    measure = measure_of(objective)
    return {
        "label": entry.label,
        "about": about(measure),
        "measure": measure.label,
        "value": measure.show(entry.value(objective)),
        "command": repeat_command(entry.folder),
    }


def _row(number: int, entry: Entry, measures: list[Measure], settings: list[str]) -> dict[str, Any]:
    run = entry.run
    return {
        "number": number,
        "label": entry.label,
        "place": entry.place if entry.place != entry.label else "",
        "status": entry.status,
        "progress": run.progress if run and entry.status == "unfinished" else "",
        "color": color(number),
        "settings": [
            (show(entry.settings.get(key)), _sortable(entry.settings.get(key))) for key in settings[:SETTINGS_SHOWN]
        ],
        "values": [(m.show(entry.value(m.key)), _badness(m, entry)) for m in measures],
        "inflection": ", ".join(inflection(span.record) for span in run.gan_spans if span.record) if run else "",
        "time": clock(run.seconds) if run and run.seconds else "–",
        "seconds": run.seconds if run else "",
    }


def _badness(measure: Measure, entry: Entry) -> float | str:
    value = entry.value(measure.key)
    return "" if value is None else measure.badness(value)


def _sortable(value: Any) -> Any:
    return "" if value is None else value


def color(number: int) -> str:
    """A CSS color for run ``number``: the named ones first, then hues far from each other."""
    return f"var(--s{number})" if number < COLORS else f"hsl({number * 137.5 % 360:.0f} 55% 52%)"


# --- what the script reads --------------------------------------------------------------------------------------------


def _data(entries: list[Entry], measures: list[Measure], objective: str) -> dict[str, Any]:
    runs = [(number, entry.run) for number, entry in enumerate(entries) if entry.run]
    curves = {number: _curves(run) for number, run in runs}
    count = sum(len(axes) for metrics in curves.values() for axes in metrics.values())
    most = max(12, min(400, POINTS // max(1, count)))
    return {
        "objective": measure_of(objective).key,
        "runs": [
            {
                "label": entry.label,
                "ended": entry.status == "complete",
                "color": color(number),
                "curves": {
                    name: {axis: thinned(points, most) for axis, points in axes.items()}
                    for name, axes in curves.get(number, {}).items()
                },
            }
            for number, entry in enumerate(entries)
        ],
        "measures": [measure_for_script(m) for m in measures],
        "losses": LOSSES,
        "cycles": sorted({span.phase.cycle for _, run in runs for span in run.gan_spans}),
        "pictures": _pictures(runs),
    }


def _curves(run: RunData) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The curves of each metric, by axis: ``run`` (images seen by the run), or a cycle (batches of its GAN phase)."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    names = [f"val/{key}" for key in MEASURES] + list(LOSSES)
    for name in names:
        whole = [(int(row["nogan/images_seen"]), row[name]) for span in run.spans for row in span.rows if name in row]
        if not whole:
            continue
        curves[name] = {"run": whole}
        for span in run.gan_spans:
            if points := _in_phase(span, name):
                curves[name][str(span.phase.cycle)] = points
    return curves


def _in_phase(span: Span, name: str) -> list[tuple[int, float]]:
    return [(at - span.start, value) for at, value in span.series(name)]


def _pictures(runs: list[tuple[int, RunData]]) -> list[dict[str, Any]]:
    """Sets of runs that held out the same pictures, with their outputs at the end and before the GAN."""
    final = {str(number): picture for number, run in runs if (picture := run.final_picture)}
    first = {number: picture for number, run in runs if (picture := run.first_picture)}
    groups = by_truth(final)
    total = sum(map(len, groups))
    sets = []
    for group in groups:
        before = {number: first[int(number)] for number in group if int(number) in first}
        packed = pack([*group.values(), *before.values()], FOR_PICTURES * len(group) / total)
        stages = {"final": group, "before the GAN": before}
        of = dict(runs)[int(next(iter(group)))]
        sets.append(
            {
                "subject": subject(of.config["data"], count=1),
                "gray": packed.gray,
                "truth": packed.truth,
                "outputs": {
                    stage: {number: packed.outputs[path] for number, path in paths.items() if path in packed.outputs}
                    for stage, paths in stages.items()
                },
            }
        )
    return sets
