"""Names and paths are printed as they are: Rich would take `[/red]` in one for markup, and `:cat:` for an emoji."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nogan.commands import colorize, evaluate, prepare, run
from nogan.common.terminal import say
from nogan.data.prepare import Report
from nogan.evaluation import film
from nogan.evaluation.measures import measure_of
from nogan.evaluation.results import Entry, Estimate, Results
from nogan.plan import build_plan
from nogan.report import film_page
from nogan.report.collect import Entry as Trial
from nogan.report.sweep import sweep_table
from nogan.runs.records import PhaseRecord
from nogan.runs.summary import plan_table, summary_table

NAME = "x[/red]:cat:y"


def of_an_evaluation(folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: Callable) -> None:
    measure = replace(measure_of("psnr"), label=f"measure {NAME}")
    entry = Entry(NAME, "model", aggregates={measure.key: Estimate(20.0)})
    evaluate.show(Results("full", {}, "photos", [], [measure], [entry], {}))
    with evaluate.Bar().task(f"bar {NAME}", 2, 0) as advance:
        advance(2)


def of_a_ranking(folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: Callable) -> None:
    choices = [{"image": "a", "left": NAME, "right": "other", "chosen": "left"}]
    (folder / "choices.json").write_text(json.dumps({"format": "nogan-choices", "version": 1, "choices": choices}))
    evaluate.rank([folder / "choices.json"], folder / "out")


def of_films(folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: Callable) -> None:
    measured = film.MeasuredFilm(NAME, 1, 25.0, (32, 32), {}, {}, None, [], {}, [f"remark on {NAME}"], [])

    def measure(films, reference, progress):
        progress(f"bar {NAME}", 1, 1)
        return [measured]

    monkeypatch.setattr(film, "measure_films", measure)
    monkeypatch.setattr(film, "write_films", lambda films, folder: [])
    monkeypatch.setattr(film_page, "write_film_page", lambda films, path, truth: path)
    evaluate.measure_films([folder / "film.mkv"], None, folder)


def of_a_sweep(folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: Callable) -> None:
    Console().print(sweep_table([Trial(folder, None, NAME, NAME, {NAME: NAME})], "val/psnr"))


def of_the_tables_of_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: Callable) -> None:
    phase = replace(build_plan(smallest())[0], name=NAME)
    Console(width=200).print(plan_table([phase]))
    record = PhaseRecord.from_dict({"name": NAME, "kind": phase.kind, "cycle": 0, "steps": 1, "seconds": 1.0})
    Console(width=200).print(summary_table([phase], [record]))


def of_coloring(folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: Callable) -> None:
    reporter = colorize.TerminalReporter(sys.stdout)
    with reporter.task(f"bar {NAME}", 2) as advance:
        advance(2, 2)
    reporter.remark(f"remark on {NAME}")


def of_a_preparation(folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: Callable) -> None:
    (folder / NAME).mkdir(parents=True)
    run("prepare", [str(folder / NAME), str(folder / "copy")])  # it holds no photographs
    prepare._print_report(Console(), Report(1, [(NAME, "gray")], 0), 2, f"to {NAME}", 1.0)


@pytest.mark.parametrize(
    ("prints", "times"),
    [
        (of_an_evaluation, 3),
        (of_a_ranking, 1),
        (of_films, 3),
        (of_a_sweep, 3),
        (of_the_tables_of_a_run, 2),
        (of_coloring, 2),
        (of_a_preparation, 4),
    ],
)
def test_a_name_is_printed_as_it_is(tmp_path, monkeypatch, capsys, smallest, prints, times):
    monkeypatch.setenv("COLUMNS", "200")
    prints(tmp_path, monkeypatch, smallest)
    said = capsys.readouterr()
    assert (said.out + said.err).count(NAME) >= times


def test_a_line_is_neither_broken_nor_read():
    out = io.StringIO()
    say(Console(file=out, width=10), f"resume={NAME}/and/on")
    assert out.getvalue() == f"resume={NAME}/and/on\n"
