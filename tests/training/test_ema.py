"""The moving average of the generator: what it follows, what it leaves alone, and that it survives a cut."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch.nn.utils import parametrize

import nogan.training.run
from nogan.networks import build_generator
from nogan.networks import generator_file as exports
from nogan.networks.blocks import SpectralNorm
from nogan.training.callbacks.ema import GeneratorAverage, GeneratorEMA
from nogan.training.run import train

QUIET = Console(quiet=True)
AVERAGED = (
    "nogan.ema=0.9",
    "nogan.inflection.average=null",  # the run ends with a generator whose buffers were copied
    "nogan.repeats=0",
    "nogan.pretrain.g2=null",
    "nogan.critic.phases.c2=null",
    "nogan.inflection.name=budget",
    "nogan.inflection.budget.share=0.12",  # of 200 images, in batches of 4: at the sixth
    "nogan.gan.max_critic_steps=1",
    "trainer.limit_batches=12",
    "trainer.limit_epochs=1",
    "trainer.checkpoint_every_n_batches=1",
)


class Watch(pl.Callback):
    """What each batch did to the average; cuts the run behind batch ``cut_at``."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.cut_at = cut_at
        self.moved: list[tuple[bool, bool]] = []  # (the batch trained the generator, the average moved)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.ema = next(callback for callback in trainer.callbacks if isinstance(callback, GeneratorEMA))
        self.before = {name: tensor.clone() for name, tensor in self.ema.average.items()}

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        moved = any(not torch.equal(tensor, self.ema.average[name]) for name, tensor in self.before.items())
        self.moved.append((module.generator.training, moved))
        if trainer.global_step == self.cut_at:
            raise KeyError("cut")


@pytest.fixture
def run(smallest, tmp_path, monkeypatch):
    """Train under watch; returns the run folder and the watch."""
    build = nogan.training.run.build_run

    def trained(name: str, *overrides: str, cut_at: int | None = None) -> tuple[Path, Watch]:
        watch = Watch(cut_at)

        def build_watched(*args: Any) -> Any:
            built = build(*args)
            built.trainer.callbacks.append(watch)
            return built

        monkeypatch.setattr(nogan.training.run, "build_run", build_watched)
        if cut_at:
            with pytest.raises(KeyError):
                train(smallest(*AVERAGED, *overrides), tmp_path / name, console=QUIET)
        else:
            train(smallest(*AVERAGED, *overrides), tmp_path / name, console=QUIET)
        return tmp_path / name, watch

    return trained


def test_a_run_keeps_an_average_through_a_cut_and_a_rollback(run):
    whole, watch = run("whole")
    assert {trained for trained, _ in watch.moved} == {True, False}
    assert all(trained == moved for trained, moved in watch.moved)  # it follows the generator's batches, and only those

    records = json.loads((whole / "records.json").read_text())
    assert "rolled_back_to" in records[-1]
    average, generator = (load_file(whole / f"generator{stage}.safetensors") for stage in ("@ema", ""))
    assert average.keys() == generator.keys()
    assert any(not torch.equal(average[name], generator[name]) for name in average)
    for name in average:
        if name.endswith(("_u", "_v", "running_mean", "running_var")):
            assert torch.equal(average[name], generator[name]), (
                name
            )  # copied: at the snapshot that the run went back to

    network = exports.load_generator(whole / "generator@ema.safetensors")
    assert all(0.95 < norm < 1.05 for norm in spectral_norms(network))

    run("cut", cut_at=28)  # within the GAN phase
    cut, _ = run("cut", f"resume={whole.with_name('cut')}")
    again = load_file(cut / "generator@ema.safetensors")
    assert all(torch.equal(average[name], again[name]) for name in average)


def spectral_norms(network: torch.nn.Module) -> list[float]:
    """The largest singular value of every weight under spectral norm, as the network uses it."""
    normed = [
        module
        for module in network.modules()
        if parametrize.is_parametrized(module, "weight") and isinstance(module.parametrizations.weight[0], SpectralNorm)
    ]
    assert len(normed) > 10
    return [float(torch.linalg.matrix_norm(module.weight.detach().flatten(1), ord=2)) for module in normed]


def test_a_run_has_no_average_unless_asked(configure):
    assert configure("model=artistic").nogan.ema is None


def test_parameters_are_averaged_and_buffers_copied():
    network = build_generator("tiny", width=0.5, pretrained=False)
    follower = GeneratorAverage(network, 0.75, exclude_buffers=True)
    average = follower.module.state_dict()
    start = {name: tensor.clone() for name, tensor in average.items()}
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    follower.update(network, 1000)
    parameters = dict(network.named_parameters())
    for name, tensor in average.items():
        step = 0.25 if name in parameters else 1
        torch.testing.assert_close(tensor, start[name] + step, check_dtype=False)
