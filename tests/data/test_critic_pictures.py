"""The critic's pictures: as many fakes as photographs, a fixed part of both held out to measure it on."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nogan.data.bad_images import BadImages
from nogan.data.datamodule import NoGANData, Reader
from nogan.data.fakes import FakeStore
from nogan.data.sources import open_source, split
from nogan.plan import CriticPhase, build_plan


class NoFakes:
    """Numbers of fakes, of which none is ever opened."""

    def store(self, phase: CriticPhase) -> FakeStore:
        return FakeStore(Path("nowhere"), phase.fakes, phase.fakes_size)

    ready = store


@pytest.fixture
def data(smallest, tmp_path):
    def built(*overrides: str) -> NoGANData:
        config = smallest("trainer.limit_batches=20", *overrides)
        source = open_source("scenes", None, images=config.data.images, seed=0)
        parts = split(source, 0, config.data.val_share, config.data.reals_share)
        reader = Reader(0, BadImages(len(source), 0.0))
        return NoGANData(config, build_plan(config), source, parts, reader, NoFakes(), lambda trainer, plan: (0, 0))

    return built


def pictures(data: NoGANData, phase: CriticPhase, *keys: int, held_out: bool = False):
    return data._critic_batches(phase, data.fakes.store(phase), keys, held_out)


def test_no_picture_that_measures_the_critic_ever_trains_it(data):
    """In no phase and no cycle, photographs or fakes."""
    whole = data()
    critics = [phase for phase in whole.plan if phase.kind == "critic"]
    assert len({phase.cycle for phase in critics}) == 2
    kept = set(pictures(whole, critics[0], held_out=True).reals)
    assert kept and kept < set(whole.split.reals)
    for number, phase in enumerate(critics):
        train, held_out = pictures(whole, phase, number), pictures(whole, phase, held_out=True)
        assert set(held_out.reals) == kept, "the same photographs throughout"
        assert not kept & set(train.reals)
        assert set(train.reals) <= set(whole.split.reals) - kept
        assert sorted([*train.fakes, *held_out.fakes]) == list(range(phase.fakes))
        assert len(held_out) == 2 * phase.held_out == 2 * round(0.1 * phase.fakes)
        assert len(train.reals) == len(train.fakes)


def test_without_a_share_all_of_them_train(data):
    whole = data("nogan.critic.val_share=0")
    phase = next(phase for phase in whole.plan if phase.kind == "critic")
    train = pictures(whole, phase)
    assert phase.held_out == 0 and len(train) == 2 * phase.fakes
    assert set(train.reals) <= set(whole.split.reals)


def test_a_lone_photograph_is_for_both(data):
    whole = data()
    whole.split = whole.split._replace(reals=np.array([7]))
    phase = next(phase for phase in whole.plan if phase.kind == "critic")
    assert set(pictures(whole, phase).reals) == set(pictures(whole, phase, held_out=True).reals) == {7}


def test_the_critic_is_measured_after_each_of_its_phases(finished_run: Path):
    records = json.loads((finished_run / "records.json").read_text())
    measured = [record["critic"] for record in records if record["kind"] == "critic"]
    assert len(measured) == 3
    with (finished_run / "metrics.csv").open(newline="") as file:
        logged = [row for row in csv.DictReader(file) if row["critic/val_loss"]]
    assert [float(row["critic/val_loss"]) for row in logged] == [critic["loss"] for critic in measured]
    for critic in measured:
        assert 0 <= critic["accuracy"] <= 1
        # The loss of a critic that says nothing is ln 2; these have seen a few batches.
        assert critic["loss"] == pytest.approx(float(F.softplus(torch.zeros(()))), abs=0.5)
    assert all("critic" not in record for record in records if record["kind"] != "critic")
