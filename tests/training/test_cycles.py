"""Repeats end when a cycle no longer pays."""

import math

import pytest
from rich.console import Console

from nogan.runs.run_folder import RunFolder
from nogan.training import scheduler
from nogan.training.cycles import gains, pays
from nogan.training.fake_maker import FakeMaker
from nogan.training.run import train


@pytest.mark.parametrize(
    ("gained", "worth", "goes_on"),
    [
        ([0.5], 0.1, True),
        ([-0.1], 0.1, False),
        ([0.5, 0.06], 0.1, True),
        ([0.5, 0.04], 0.1, False),
        ([0.5, 0.3, 0.07], 0.1, False),
        ([0.5, math.nan], 0.1, True),
        ([math.nan, 0.1], 0.1, True),
        ([math.nan, 0.0], 0.1, False),
        ([0.5, math.nan, 0.04], 0.1, False),
        ([0.5, 0.0], 0.0, False),
    ],
)
def test_a_cycle_pays_if_it_gains_enough_of_what_all_before_it_gained(gained, worth, goes_on):
    assert pays(gained, worth) is goes_on


def test_a_run_ends_after_a_cycle_that_did_not_pay(smallest, tmp_path, monkeypatch, caplog):
    told = []

    def refused(gained, worth):
        told.append((list(gained), worth))
        return False

    monkeypatch.setattr(scheduler, "pays", refused)
    config = smallest("nogan.inflection.cycle_worth=0.05", "nogan.repeats=2", "trainer.limit_batches=2")
    with caplog.at_level("INFO", "nogan"):
        train(config, tmp_path, console=Console(quiet=True))
    run = RunFolder(tmp_path)
    assert run.has_ended and "gan@1 gained" in caplog.text
    assert [record.name for record in run.records()][-1] == "gan@1"
    (gained, worth) = told[0]
    record, store = run.records()[-1], tmp_path / "snapshots" / "gan@1"
    assert worth == 0.05 and gained == gains(run, run.records()) and store.is_dir()
    assert gained[0] == pytest.approx(record.metrics["merit"] - gains_before(run), abs=1e-6)


def test_a_run_that_ended_early_goes_on_if_all_its_cycles_are_wanted_and_one_that_marks_never_ends_early(
    smallest, tmp_path, monkeypatch
):
    monkeypatch.setattr(scheduler, "pays", lambda gained, worth: False)
    quiet, few = Console(quiet=True), ("nogan.repeats=1", "trainer.limit_batches=2")
    ends = (*few, "nogan.inflection.cycle_worth=0.05")

    def last_phase(config, folder):
        train(config, folder, console=quiet)
        return RunFolder(folder).records()[-1].name

    run = tmp_path / "run"
    assert last_phase(smallest(*ends), run) == "gan@1"
    records, checkpoints = (run / "records.json").read_bytes(), set((run / "checkpoints").iterdir())
    (run / "records.json").unlink()  # as if it had been cut after the last checkpoint, before it could end
    with monkeypatch.context() as patch:
        patch.setattr(FakeMaker, "ready", None)  # nothing is made for a cycle that does not follow
        assert last_phase(smallest(*ends, f"resume={run}"), run) == "gan@1"
    assert (run / "records.json").read_bytes() == records and set((run / "checkpoints").iterdir()) == checkpoints
    assert last_phase(smallest(*few, f"resume={tmp_path / 'run'}"), tmp_path / "run") == "gan@2"
    assert last_phase(smallest(*ends, "nogan.inflection.action=mark"), tmp_path / "marks") == "gan@2"


def gains_before(run: RunFolder) -> float:
    from nogan.runs.snapshots import SnapshotStore

    return SnapshotStore(run.snapshots("gan@1")).metrics(0)["merit"]
