"""Snapshots that are averages: what they average, that spectral norms stay norms, and that they survive a cut."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import nogan.training.run
from nogan.networks import generator_file as exports
from nogan.networks.blocks import SpectralNorm
from nogan.runs.snapshots import SnapshotStore
from nogan.training.gan_batch import GANBatches
from nogan.training.run import train
from nogan.training.snapshot_average import SnapshotAverage, power_of
from tests.small_networks import tiny

QUIET = Console(quiet=True)
SHORT = (
    "nogan.repeats=0",
    "nogan.pretrain.g2=null",
    "nogan.critic.phases.c2=null",
    "nogan.gan.max_critic_steps=1",
    "nogan.gan.lr=1e-3",
    "trainer.limit_batches=12",
    "trainer.limit_epochs=1",
    "trainer.checkpoint_every_n_batches=1",
)
SINGLE = ("nogan.inflection.average=null", "nogan.inflection.action=mark")


@pytest.mark.parametrize(("width", "power"), [(0.10, 6.94), (0.05, 16.97)])
def test_the_exponent_is_the_published_one(width, power):
    assert power_of(width) == pytest.approx(power, abs=0.01)


def test_snapshots_count_by_a_power_of_their_time():
    average, network = SnapshotAverage(0.2), nn.Linear(1, 1, bias=False)
    average.begin(network)
    values, steps = [0.3, -1.0, 2.0], [2, 4, 7]  # the last one of a phase need not be as far off
    for value, step in zip(values, steps, strict=True):
        with torch.no_grad():
            network.weight.fill_(value)
        average.follow(network, step)
    power = power_of(0.2) + 1
    weights = [end**power - start**power for start, end in zip([0, *steps], steps, strict=False)]
    expected = sum(w * v for w, v in zip(weights, values, strict=True)) / steps[-1] ** power
    assert average.network is not None
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-5)


def test_spectral_norms_of_the_average_are_norms_and_statistics_are_averaged():
    first, second = tiny(seed=0), tiny(seed=1)  # far from each other: the vectors of neither fit the average
    average = SnapshotAverage(0.25)
    average.begin(first)
    average.follow(first, 1)
    mean = average.follow(second, 2)
    share = 1 - 0.5 ** (average.power + 1)
    normed = 0
    for module in mean.modules():
        if parametrize.is_parametrized(module, "weight") and isinstance(
            module.parametrizations.weight[0], SpectralNorm
        ):
            norm = torch.linalg.matrix_norm(module.weight.detach().flatten(1), ord=2)
            assert norm == pytest.approx(1, abs=0.02)
            normed += 1
    assert normed > 10
    states = [network.state_dict() for network in (first, second, mean)]
    statistics = [name for name in states[0] if name.endswith("running_var")]
    for name in statistics:
        torch.testing.assert_close(states[2][name], torch.lerp(states[0][name], states[1][name], share))
    assert statistics


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize(
    ("make", "dim"),
    [
        (lambda: nn.Conv2d(4, 8, 3), 0),
        (lambda: nn.ConvTranspose2d(4, 8, 3), 1),
        (lambda: nn.ConvTranspose2d(4, 4, 3), 1),  # nothing in its state says which dimension is which
    ],
)
def test_norms_of_networks_of_ones_own_are_norms_too(norm, make, dim):
    first, second = networks = [nn.Sequential(norm(make())) for _ in range(2)]
    pictures = torch.rand(1, 4, 8, 8)
    for network in networks:
        for _ in range(50):
            network(pictures)  # in train mode; the last pass leaves its graph in the older form
    average = SnapshotAverage(0.25)
    average.begin(first)
    average.follow(first, 1)
    mean = average.follow(second, 2)
    mean(pictures)
    assert torch.linalg.matrix_norm(mean[0].weight.movedim(dim, 0).flatten(1), ord=2) == pytest.approx(1, abs=0.01)


class Cut(pl.Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.at:
            raise KeyError("cut")


def cut_run(config: Any, folder: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    build = nogan.training.run.build_run

    def build_cut(*args: Any) -> Any:
        built = build(*args)
        built.trainer.callbacks.append(Cut(at))
        return built

    with monkeypatch.context() as patch, pytest.raises(KeyError):
        patch.setattr(nogan.training.run, "build_run", build_cut)
        train(config, folder, console=QUIET)


def test_a_run_ends_with_the_average_that_it_measured_as_such_also_when_cut(smallest, tmp_path, monkeypatch):
    # So little training makes pictures worse: as if that were a gain, so that there is something to go back to.
    monkeypatch.setattr("nogan.training.callbacks.probe.merit_of_each", lambda qualities, *_: [-q for q in qualities])
    train(smallest(*SHORT), tmp_path / "whole", console=QUIET)
    whole = tmp_path / "whole"
    record, store = json.loads((whole / "records.json").read_text())[-1], SnapshotStore(whole / "snapshots" / "gan@1")
    chosen = record["rolled_back_to"]
    ends = [load_file(whole / f"generator{stage}.safetensors") for stage in ("", "@inflection")]
    kept = load_file(store.path(chosen))
    assert all(torch.equal(kept[name], end[name]) for end in ends for name in kept)
    assert record["metrics"] == store.metrics(chosen)
    assert len(store.pictures(chosen)) == 4
    assert sum(store.pictures(chosen)) / 4 == pytest.approx(record["metrics"]["merit"], abs=1e-4)

    train(smallest(*SHORT, *SINGLE), tmp_path / "single", console=QUIET)  # the same training; nothing goes back
    single = SnapshotStore(tmp_path / "single" / "snapshots" / "gan@1")
    average, network = SnapshotAverage(0.1), exports.load_generator(tmp_path / "single")
    average.begin(network)
    for step in store.steps()[1:]:
        single.restore(step, network)
        mean, kept = average.follow(network, step).state_dict(), load_file(store.path(step))
        for name in kept:  # but for rounding: the networks that train are laid out otherwise in memory
            torch.testing.assert_close(mean[name], kept[name], rtol=1e-5, atol=1e-5, msg=f"{name} at {step}")
    assert chosen > 2, "of more than one"
    assert single.steps()[:2] == store.steps()[:2]
    before, first, second = ([s.metrics(step) for s in (store, single)] for step in store.steps()[:3])
    assert before[0] == before[1]
    assert first[0]["quality"] == pytest.approx(first[1]["quality"], rel=0.01)  # of one snapshot, its norms settled
    assert second[0]["quality"] != second[1]["quality"]

    cut_run(smallest(*SHORT), tmp_path / "cut", 28, monkeypatch)  # within the GAN phase
    held, follow = [], GANBatches.after
    monkeypatch.setattr(GANBatches, "after", lambda gan, *args: (held.append(gan._restored), follow(gan, *args)))
    train(smallest(*SHORT, f"resume={tmp_path / 'cut'}"), tmp_path / "cut", console=QUIET)
    assert held and not any(held), "no second copy of the average is kept"
    again = load_file(tmp_path / "cut" / "generator.safetensors")
    assert all(torch.equal(ends[0][name], again[name]) for name in again)
    assert SnapshotStore(tmp_path / "cut" / "snapshots" / "gan@1").all_metrics() == store.all_metrics()


def test_a_phase_without_a_verdict_ends_with_the_last_average_and_a_marked_one_as_it_trained(smallest, tmp_path):
    silent = ("nogan.inflection.name=shape", "trainer.limit_batches=4")
    train(smallest(*SHORT, *silent), tmp_path / "stop", console=QUIET)
    train(smallest(*SHORT, *silent, "nogan.inflection.action=mark"), tmp_path / "mark", console=QUIET)
    train(smallest(*SHORT, *silent, *SINGLE), tmp_path / "single", console=QUIET)
    ends = {name: load_file(tmp_path / name / "generator.safetensors") for name in ("stop", "mark", "single")}
    last = load_file(SnapshotStore(tmp_path / "stop" / "snapshots" / "gan@1").path(4))
    assert all(torch.equal(last[name], ends["stop"][name]) for name in last)
    assert all(torch.equal(ends["mark"][name], ends["single"][name]) for name in last)
    records = [json.loads((tmp_path / name / "records.json").read_text())[-1] for name in ("stop", "mark", "single")]
    assert [record["end"] for record in records] == ["budget"] * 3
    assert records[1]["metrics"]["quality"] == records[2]["metrics"]["quality"]
