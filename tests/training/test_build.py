"""How the parts of a run are wired together."""

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

from nogan.data.sources import open_photographs
from nogan.plan import build_plan
from nogan.runs.run_folder import RunFolder
from nogan.training.build import ORDER, Photographs, Run, build_module, build_run, check_order


@pytest.fixture
def run(smallest, tmp_path: Path) -> Run:
    config = smallest("nogan.ema=0.9")
    sources = Photographs(open_photographs(config.data), None)
    module, folder = build_module(config), RunFolder(tmp_path)
    return build_run(config, module, build_plan(config), sources, folder, {}, Console(quiet=True))


def test_all_callbacks_whose_order_matters_are_there_in_their_order(run):
    assert [type(callback) for callback in run.trainer.callbacks if type(callback) in ORDER] == list(ORDER)


def test_callbacks_out_of_order_are_refused(run):
    callbacks = run.trainer.callbacks
    callbacks.insert(0, callbacks.pop())  # the checkpoints, which must come last
    with pytest.raises(AssertionError, match=r"callbacks out of order: \['RunCheckpoints', 'NoGANScheduler'"):
        check_order(run.trainer)


def test_a_run_is_built_whole(run):
    assert all(getattr(run, field.name) is not None for field in dataclasses.fields(run))
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.trainer = None
