"""Sweeps: a failed trial does not end them; at the end stand a table, ``compare.html`` and the best trial's command.

Nothing here knows which sweeper or launcher it is: all is read from the folders of the trials.
"""

import json
import logging
import os
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from nogan.common.errors import UserError
from nogan.evaluation.measures import MEASURES, measure_of
from nogan.plan.config import Trainer
from nogan.report.collect import Entry, best, collect
from nogan.report.compare_page import OBJECTIVE, SETTINGS_SHOWN, show, write_comparison
from nogan.report.run_data import FAILURE, repeat_command
from nogan.runs.run_folder import write_json
from nogan.runs.summary import clock, inflection

log = logging.getLogger(__name__)

MARK = "sweep.json"  # in the folder of a sweep: what it optimizes
LOCAL = ("basic", "joblib", "submitit_local")  # launchers whose jobs cannot start further processes of their own


def begin(folder: Path, objective: str | None) -> None:
    """Note that ``folder`` is one of a sweep; its trials are grouped by it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARK, {"objective": objective})


def sweep_of(run: Path) -> Path | None:
    """The folder of the sweep that ``run`` is a trial of; None if it is of none."""
    parent = run.resolve().parent
    return parent if (parent / MARK).is_file() else None


def check_objective(objective: str | None) -> None:
    """Refuse an objective that no run has, before one is spent on it.

    Raises:
        UserError: it is none of the held-out measures.
    """
    known = [f"val/{key}" for key in MEASURES]
    if objective is not None and objective not in known:
        raise UserError(f"objective={objective}: expected one of {', '.join(known)}")


def refuse_several_devices(trainer: Trainer, launcher: str) -> None:
    """Refuse a job on several devices that a launcher would run within the sweep's own process.

    Raises:
        UserError: says why, and which launcher to use.
    """
    if launcher not in LOCAL or not (several := _several_devices(trainer)):
        return
    raise UserError(
        f"{several} in a sweep with hydra/launcher={launcher}: training on several devices starts further processes "
        "from the command line, and here that is the whole sweep's.\n"
        "Expected hydra/launcher=submitit_slurm (a cluster), which gives each job processes of its own; "
        "or one device a job: trainer.devices=1 trainer.num_nodes=1"
    )


def _several_devices(trainer: Trainer) -> str | None:
    if trainer.num_nodes not in (1, "auto"):
        return f"trainer.num_nodes={trainer.num_nodes}"
    if trainer.devices == "auto" and trainer.accelerator in ("auto", "gpu", "cuda"):
        import torch

        count = torch.cuda.device_count()
        return f"trainer.devices=auto ({count} GPUs)" if count > 1 else None
    return f"trainer.devices={trainer.devices}" if trainer.devices not in (1, "auto") else None


def note_failure(folder: Path, error: Exception) -> None:
    """Keep why the trial in ``folder`` failed: in one line beside it, and whole in its log."""
    expected = isinstance(error, UserError)
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).write_text(" ".join(reason.split()) + "\n")
    log.error("Trial failed: %s", reason, exc_info=None if expected else error)


def conclude(folder: Path, console: Console) -> bool:
    """Print the sweep's table, its failures and its best trial, and write ``compare.html``.

    Returns:
        Whether a trial was completed.
    """
    try:
        entries = collect([folder])
    except UserError:
        return False  # it ended before the first trial, or only showed plans
    mark = folder / MARK
    objective = (json.loads(mark.read_text())["objective"] if mark.is_file() else None) or OBJECTIVE
    console.print(sweep_table(entries, objective))
    for entry in entries:
        if entry.status == "failed":
            console.print(f"failed: {entry.label}: {entry.failure}", soft_wrap=True, markup=False)
    try:
        page = write_comparison([folder], folder / "compare.html", objective)
        console.print(f"Side by side: {os.path.relpath(page)}", soft_wrap=True)
    except Exception as error:  # a page that fails must not lose the rest
        log.warning("no compare.html: %s; to try again: nogan compare %s", error, os.path.relpath(folder))
    winner = best(entries, objective)
    if winner is None:
        return False
    measure = measure_of(objective)
    console.print(f"Best: {winner.label}, {measure.label} {measure.show(winner.value(objective))}", soft_wrap=True)
    console.print(repeat_command(winner.folder), soft_wrap=True, markup=False)
    return True


def sweep_table(entries: list[Entry], objective: str) -> Table:
    """The trials with the settings in which they differ and how they ended, the best by ``objective`` first."""
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
        table.add_column(key.removeprefix("nogan."), justify="right", no_wrap=True)
    for measure in measures:
        table.add_column(measure.label, justify="right", no_wrap=True)
    table.add_column("inflection")
    table.add_column("time", justify="right")

    def rank(entry: Entry) -> tuple[bool, float]:
        value = entry.value(objective)
        return (entry.status != "complete" or value is None, measures[0].badness(value or 0.0))

    for entry in sorted(entries, key=rank):
        run = entry.run
        table.add_row(
            entry.label,
            *(show(entry.settings.get(key)) for key in settings),
            *(measure.show(entry.value(measure.key)) for measure in measures),
            ", ".join(inflection(span.record) for span in run.gan_spans if span.record) if run else "",
            clock(run.seconds) if run and entry.status == "complete" else entry.status,
        )
    return table
