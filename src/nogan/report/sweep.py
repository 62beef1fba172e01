"""Sums up a sweep from the folders of its trials: a table, the comparison page, the best trial's command."""

import logging
import math
import os
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from nogan.common.errors import UserError
from nogan.common.terminal import plain, say
from nogan.evaluation.measures import MEASURES, measure_of
from nogan.report.collect import Entry, best, collect, short_key, show
from nogan.report.compare_page import OBJECTIVE, SETTINGS_SHOWN, write_comparison
from nogan.report.run_data import repeat_command
from nogan.runs.run_folder import sweep_objective
from nogan.runs.summary import clock, inflection

log = logging.getLogger(__name__)


def conclude(folder: Path, console: Console) -> bool:
    """Print the sweep's table, its failures and its best trial, and write ``compare.html``.

    Returns:
        Whether a trial was completed.
    """
    try:
        entries = collect([folder])
    except UserError:
        return False  # it ended before the first trial, or only showed plans
    objective = sweep_objective(folder) or OBJECTIVE
    console.print(sweep_table(entries, objective))
    for entry in entries:
        if entry.status == "failed":
            say(console, f"failed: {entry.place}: {entry.failure}")
    try:
        page = write_comparison([folder], folder / "compare.html", objective)
        say(console, f"Side by side: {os.path.relpath(page)}")
    except Exception as error:  # a page that fails must not lose the rest
        log.warning("no compare.html: %s; to try again: nogan compare %s", error, os.path.relpath(folder))
    winner = best(entries, objective)
    if winner is None:
        say(console, f"No trial was completed with a finite {objective}")
        return False
    measure = measure_of(objective)
    value = measure.show(winner.value(objective))
    say(console, f"Best: trial {winner.place} ({winner.label}), {measure.label} {value}")
    say(console, repeat_command(winner.folder))
    return True


def sweep_table(entries: list[Entry], objective: str) -> Table:
    """A table of the trials: the settings in which they differ and how they ended; the best by ``objective`` first."""
    measures = [measure_of(objective)]
    measures += [MEASURES[key] for key in ("colorfulness_ratio", "psnr", "chroma_fd") if MEASURES[key] not in measures]
    settings = list(entries[0].settings)[:SETTINGS_SHOWN]
    table = Table(
        title=f"{len(entries)} trial{'s' if len(entries) > 1 else ''}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        show_edge=False,
    )
    table.add_column("trial", no_wrap=True)
    for key in settings:
        table.add_column(plain(short_key(key)), justify="right", no_wrap=True)
    for measure in measures:
        table.add_column(plain(measure.label), justify="right", no_wrap=True)
    table.add_column("inflection")
    table.add_column("time", justify="right")

    def rank(entry: Entry) -> tuple[bool, float]:
        value = entry.value(objective)
        return (
            entry.status != "complete" or value is None or not math.isfinite(value),
            measures[0].badness(value or 0.0),
        )

    for entry in sorted(entries, key=rank):
        run = entry.run
        table.add_row(
            plain(entry.place),
            *(plain(show(entry.settings.get(key))) for key in settings),
            *(measure.show(entry.value(measure.key)) for measure in measures),
            ", ".join(inflection(span.record) for span in run.gan_spans if span.record) if run else "",
            clock(run.seconds) if run and entry.status == "complete" else entry.status,
        )
    return table
