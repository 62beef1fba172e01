"""Photographs that cannot be read are skipped, named and counted, and stop a run where they are too many."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console

import nogan.training.run
from nogan.common import distributed
from nogan.common.errors import UserError
from nogan.data.bad_images import EXCHANGED_EVERY, FEW, SPARE, BadImages
from nogan.runs.checkpoints import newest_first
from nogan.runs.run_folder import RunFolder
from nogan.training.run import train

QUIET = Console(quiet=True)


def names(count: int, start: int = 0) -> list[str]:
    return [f"{number}.jpg: truncated" for number in range(start, start + count)]


# ------------------------------------------------------------------------------------------------ counting


def test_each_is_counted_and_logged_once(caplog):
    counter = BadImages(length=200, max_share=0.01)
    for _ in range(3):
        counter.note(["a.jpg: truncated", "b.jpg: zero bytes"], good=8)
        counter.heed()
    assert len(counter) == 2 and counter.seen == 30
    assert [record.getMessage() for record in caplog.records] == [
        "skipped an unreadable photograph, a.jpg: truncated (1 of 10 seen so far)",
        "skipped an unreadable photograph, b.jpg: zero bytes (2 of 10 seen so far)",
    ]


def test_more_than_the_share_of_all_are_too_many():
    counter = BadImages(length=400, max_share=0.01)
    counter.note(names(4), good=0)
    counter.heed()
    counter.note(["c.jpg: not an image"], good=5)
    with pytest.raises(UserError, match=r"5 of the 10 .* data\.max_bad_share=0\.01 .* c\.jpg: not an image"):
        counter.heed()
    none = BadImages(length=1_000_000, max_share=0.0)
    none.note(names(FEW), good=0)
    none.heed()  # a few are allowed whatever the share, for one in a set of forty is more than any share
    none.note(names(FEW + 1), good=93)
    with pytest.raises(UserError, match=r"4 of the 100 "):
        none.heed()


def test_gray_photographs_are_counted_apart_and_stop_nothing(caplog):
    counter = BadImages(length=40, max_share=0.01)
    counter.note([f"{number}.jpg: gray photograph" for number in range(12)], good=0)
    counter.heed()
    assert len(counter) == 0 and len(counter.gray) == 12
    assert [record.getMessage() for record in caplog.records] == [
        "skipped a gray photograph, 0.jpg (1 of 12 seen so far)",
        "skipped a gray photograph, 9.jpg (10 of 12 seen so far)",
    ]
    resumed = BadImages(length=40, max_share=0.01)
    resumed.load_state_dict(counter.state_dict())
    assert resumed.gray == counter.gray


def batches_until_stopped(share: float, length: int = 1_000_000) -> float:
    """Batches of 100 that a run takes with ``share`` of its photographs unreadable, up to all there are."""
    counter, rng, bad = BadImages(length, max_share=0.01), np.random.default_rng(0), 0
    for batch in range(length // 100):
        now = rng.binomial(100, share)
        counter.note(names(now, start=bad), good=100 - now)
        bad += now
        try:
            counter.heed()
        except UserError:
            return batch + 1
    return float("inf")


def test_a_damaged_set_is_found_out_early_and_chance_stops_nothing():
    assert batches_until_stopped(0.05) <= 6
    assert batches_until_stopped(0.02) <= 20
    assert batches_until_stopped(0.008, length=100_000) == float("inf")
    counter = BadImages(1_000_000, max_share=0.01)
    counter.note(names(SPARE), good=0)  # the very first ones
    counter.heed()


def test_ranks_count_together_now_and_then(monkeypatch, caplog):
    """Two counters stand for two ranks, which meet when both have come."""
    one, other = (BadImages(length=10_000, max_share=0.01) for _ in range(2))
    told = {}
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_gather", lambda value: [told["first"], told["second"]])

    def heed_both() -> None:
        told["first"], told["second"] = (one._noted_seen, one._noted), (other._noted_seen, other._noted)
        one.heed()
        other.heed()

    for batch in range(EXCHANGED_EVERY):
        assert len(one) == len(other) == 0
        one.note(["a.jpg: truncated"] if batch == 3 else [], good=10)
        other.note(["b.jpg: truncated"] if batch == 5 else [], good=10)
        heed_both()
    assert list(one.bad) == list(other.bad) == ["a.jpg: truncated", "b.jpg: truncated"]
    assert one.seen == other.seen == 2 * 10 * EXCHANGED_EVERY + 2
    one.note(names(15), good=0)
    other.note(names(15, start=15), good=0)  # neither has too many alone
    told["first"], told["second"] = (one._noted_seen, one._noted), (other._noted_seen, other._noted)
    state = one.state_dict()
    assert state == other.state_dict() and len(state["bad"]) == 32
    for rank in (one, other):
        with pytest.raises(UserError, match="32 of the 1032 photographs"):
            rank.heed()
    resumed = BadImages(length=10_000, max_share=0.01)
    resumed.load_state_dict(state)
    assert (resumed.seen, resumed.bad) == (one.seen, one.bad)


# ------------------------------------------------------------------------------------------------ whole runs

RUN = (
    "trainer.limit_batches=5",
    "trainer.checkpoint_every_n_batches=2",
    "data=folder",
    "data.images=null",
    "data.workers=0",
)
LOGGED = re.compile(r"skipped an unreadable photograph, (.*) \((\d+) of (\d+) seen so far\)")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """(entry, how many so far) of each line in the log since the last call."""
    found = [LOGGED.fullmatch(record.getMessage()) for record in caplog.records]
    caplog.clear()
    return [(match[1], int(match[2])) for match in found if match]


def kept(folder: Path) -> dict[str, Any]:
    """The count in the newest checkpoint."""
    return torch.load(newest_first(RunFolder(folder))[0], weights_only=True)["NoGANData"]["bad_images"]


class Cut(pl.Callback):
    """Ends the run after ``batches`` batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.batches:
            raise KeyError("cut")


def test_a_run_over_a_few_bad_files_ends_and_goes_on_counting(smallest, damaged, tmp_path, caplog, monkeypatch):
    overrides = (*RUN, f"data.path={damaged}", "data.max_bad_share=0.2")
    train(smallest(*overrides), tmp_path / "whole", console=QUIET)
    lines, end = logged(caplog), kept(tmp_path / "whole")
    assert all(re.fullmatch(r"\d\d7\.png: zero bytes", entry) for entry, _ in lines)
    assert [count for _, count in lines] == list(range(1, len(lines) + 1)) and len(lines) >= 5
    assert end["bad"] == [entry for entry, _ in lines]
    assert RunFolder(tmp_path / "whole").skipped() == {"unreadable": end["bad"], "gray": []}

    build = nogan.training.run.build_run

    def build_cut(*args: Any) -> Any:
        built = build(*args)
        built.trainer.callbacks.append(Cut(13))  # in the first critic phase, a batch after a checkpoint
        return built

    monkeypatch.setattr(nogan.training.run, "build_run", build_cut)
    with pytest.raises(KeyError):
        train(smallest(*overrides), tmp_path / "cut", console=QUIET)
    before, saved = logged(caplog), kept(tmp_path / "cut")
    assert 0 < len(saved["bad"]) <= len(before) and before == lines[: len(before)]
    monkeypatch.setattr(nogan.training.run, "build_run", build)
    train(smallest(*overrides, f"resume={tmp_path / 'cut'}"), tmp_path / "cut", console=QUIET)
    after = logged(caplog)
    assert after[0][1] == len(saved["bad"]) + 1
    assert set(kept(tmp_path / "cut")["bad"]) == set(end["bad"])
    assert after[-1][1] == lines[-1][1]


def test_a_run_over_too_many_stops_in_one_line_and_goes_on_with_a_higher_limit(smallest, damaged, tmp_path):
    overrides = (*RUN, f"data.path={damaged}", "nogan.repeats=0")
    with pytest.raises(UserError) as stopped:
        train(smallest(*overrides, "data.max_bad_share=0.02"), tmp_path, console=QUIET)
    line, to_go_on = str(stopped.value).splitlines()
    assert re.fullmatch(
        r"[4-7] of the \d+ photographs seen so far cannot be read, more than data\.max_bad_share=0\.02 allows;"
        r" the last one: \d\d7\.png: zero bytes",
        line,
    )
    assert to_go_on.startswith("to go on: nogan train resume=")
    assert line.endswith(RunFolder(tmp_path).skipped()["unreadable"][-1])
    train(smallest(*overrides, "data.max_bad_share=0.5", f"resume={tmp_path}"), tmp_path, console=QUIET)
    assert (tmp_path / "records.json").is_file()
