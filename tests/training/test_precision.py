"""Mixed precision: what must stay in float32 does, and training goes as it does in full precision."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from rich.console import Console

import nogan.training.run
from nogan.common.errors import UserError
from nogan.training.modules import GeneratorModule, optimizer
from nogan.training.run import train

QUIET = Console(quiet=True)


class Enough(Exception):
    """The phase of interest is over."""


class Look(pl.Callback):
    """Notes the types of what the networks hold and give, the optimizer steps, and ends the run after ``phase``."""

    def __init__(self, phase: str | None, finite: bool) -> None:
        self.phase, self.finite = phase, finite
        self.types: dict[str, set[torch.dtype]] = {"state": set(), "losses": set(), "weights": set(), "features": set()}
        self.steps: list[int] = []

    def setup(self, trainer: pl.Trainer, module: Any, stage: str) -> None:
        network = module.generator.network
        network.bridge_norm.register_forward_hook(lambda _, x, y: self.types["features"].add(y.dtype))
        for norm in (m for m in network.modules() if type(m).__name__ == "SpectralNorm"):
            norm.register_forward_hook(lambda _, x, y: self.types["weights"].add(y.dtype))

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: dict[str, torch.Tensor], *_: Any) -> None:
        self.types["losses"] |= {value.dtype for value in outputs.values()}
        self.types["state"] |= {t.dtype for t in module.state_dict().values() if t.is_floating_point()}
        self.steps.append(trainer.global_step)
        assert not self.finite or all(torch.isfinite(value).all() for value in outputs.values())

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        if module.phase.name == self.phase:
            raise Enough


@pytest.fixture
def look(smallest, tmp_path, monkeypatch):
    """Train with some overrides under the eyes of :class:`Look`; returns it and the run folder."""
    build = nogan.training.run.build_run

    def looked(name: str, *overrides: str, until: str | None = None, finite: bool = True) -> tuple[Look, Path]:
        eyes = Look(until, finite)

        def build_looked(*args: Any) -> Any:
            built = build(*args)
            built.trainer.callbacks.append(eyes)
            return built

        monkeypatch.setattr(nogan.training.run, "build_run", build_looked)
        try:
            train(smallest("trainer.limit_epochs=1", *overrides), tmp_path / name, console=QUIET)
        except Enough:
            assert until
        return eyes, tmp_path / name

    return looked


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["generator/loss"]) for row in csv.DictReader(file) if row["generator/loss"]]


def test_bfloat16_trains_as_float32_does(look):
    overrides = ("trainer.limit_batches=20",)
    _, full = look("full", *overrides, until="g1")
    eyes, mixed = look("mixed", *overrides, "trainer.precision=bf16-mixed", until="g1")
    assert len(losses(full)) == 20
    assert losses(mixed) == pytest.approx(losses(full), rel=0.02)
    assert losses(mixed) != losses(full)
    float32 = {torch.float32}
    # Features are bfloat16, while weights under spectral norm, statistics of batch norm and losses are not.
    assert eyes.types == {"state": float32, "losses": float32, "weights": float32, "features": {torch.bfloat16}}


@pytest.fixture
def float16_on_cpu(monkeypatch):
    """Lightning keeps 16-mixed from CPUs, and so do we; its gradient scaler runs there all the same."""
    trainer = pl.Trainer

    def on_cpu(*args: Any, plugins: list[Any], **kwargs: Any) -> pl.Trainer:
        if kwargs["precision"] == "16-mixed":
            del kwargs["precision"]
            plugins = [*plugins, MixedPrecision("16-mixed", "cpu")]
        return trainer(*args, plugins=plugins, **kwargs)

    monkeypatch.setattr(pl, "Trainer", on_cpu)
    monkeypatch.setattr(nogan.training.run, "check_devices", lambda trainer: None)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_every_phase_in_mixed_precision(look, float16_on_cpu, precision):
    eyes, folder = look("run", f"trainer.precision={precision}", "trainer.limit_batches=3", "nogan.repeats=0")
    assert eyes.steps == list(range(1, len(eyes.steps) + 1))  # one optimizer step a batch
    assert (folder / "generator.safetensors").is_file()
    assert eyes.types["state"] == eyes.types["losses"] == eyes.types["weights"] == {torch.float32}
    assert {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}[precision] in eyes.types["features"]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_the_gradient_scaler_passes_over_a_bad_batch(look, float16_on_cpu, monkeypatch, fused):
    monkeypatch.setattr(optimizer, "FUSED_ON", ("cpu",) if fused else ())
    loss, calls = GeneratorModule.pretrain_loss, []

    def poisoned(self: Any, batch: Any) -> Any:
        calls.append(batch)
        return loss(self, batch if len(calls) != 2 else type(batch)(batch.gray * float("nan"), batch.color))

    monkeypatch.setattr(GeneratorModule, "pretrain_loss", poisoned)
    eyes, folder = look("run", "trainer.precision=16-mixed", "trainer.limit_batches=4", "nogan.repeats=0", finite=False)
    assert eyes.steps == list(range(1, len(eyes.steps) + 1))
    checkpoint = torch.load(folder / "checkpoints" / "000-g1-end.ckpt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["state_dict"].values())
    adam = checkpoint["optimizer_states"][0]
    assert {group["fused"] for group in adam["param_groups"]} == {fused or None}
    (steps,) = {state["step"].item() for state in adam["state"].values()}
    assert steps == 3  # of four batches


def test_a_gradient_that_never_fits_is_not_scaled_away_for_ever(look, float16_on_cpu, monkeypatch):
    """The loss is finite and the scaler skips every step: the run must not end as if it had trained."""
    loss = GeneratorModule.pretrain_loss

    def without_gradient(self: Any, batch: Any) -> Any:
        total, metrics = loss(self, batch)
        total.register_hook(lambda gradient: gradient * float("nan"))
        return total, metrics

    monkeypatch.setattr(GeneratorModule, "pretrain_loss", without_gradient)
    monkeypatch.setattr("nogan.training.modules.gan.USUAL_OVERFLOWS", 3)
    overrides = ("trainer.precision=16-mixed", "trainer.limit_batches=12", "trainer.max_bad_batches=2")
    with pytest.raises(
        UserError, match=r"3 batches in a row had a loss or gradient that is not finite, in pretrain g1"
    ):
        look("run", *overrides, "nogan.repeats=0")
