"""A complete, very small run: every phase, one repeat; what it does and what it leaves behind."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

import nogan.training.run
from nogan.networks import generator_file as exports
from nogan.plan import build_plan
from nogan.plan.config import RunConfig
from nogan.training.run import train

QUIET = Console(quiet=True)


@pytest.fixture
def run(smallest, tmp_path) -> Callable[..., tuple[Path, dict[str, float]]]:
    """Train the smallest program with some overrides; returns the run folder and the final metrics."""

    def trained(*overrides: str) -> tuple[Path, dict[str, float]]:
        return tmp_path / "run", train(smallest(*overrides), tmp_path / "run", console=QUIET)

    return trained


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_run_leaves_behind(run, smallest):
    folder, metrics = run()
    plan = build_plan(smallest())
    assert [row["name"] for row in json.loads((folder / "plan.json").read_text())] == [phase.name for phase in plan]
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"] == torch.__version__.split("+")[0]

    records = json.loads((folder / "records.json").read_text())
    assert [record["name"] for record in records] == [phase.name for phase in plan]
    assert all(record["steps"] == phase.steps for record, phase in zip(records, plan, strict=True))

    rows = rows_of(folder)
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(steps) and steps[-1] == sum(phase.steps for phase in plan)
    assert {int(row["nogan/phase"]) for row in rows} == set(range(len(plan)))
    assert int(rows[-1]["nogan/images_seen"]) == sum(phase.steps * phase.batch_size for phase in plan)
    held_out = [row for row in rows if row["val/psnr"]]
    assert int(held_out[0]["step"]) == 0  # measured before the first batch
    assert metrics["val/psnr"] == float(held_out[-1]["val/psnr"])
    in_gan = [row for row in rows if row["gan/step"]]
    assert len(in_gan) == sum(phase.steps for phase in plan if phase.kind == "gan")  # every step of a GAN phase
    assert in_gan[0]["gan/critic_loss"] and in_gan[0]["gan/critic_loss_smooth"]  # the critic begins

    grid = np.asarray(Image.open(folder / "samples" / "step-000000.png"))
    assert grid.shape == (3 * 32 + 2 * 2, 2 * 32 + 2, 3)
    assert np.array_equal(np.asarray(Image.open(folder / "held-out" / "1.png")), grid[-32:, :32])
    gray = grid[:32]
    assert (gray.max(axis=2) == gray.min(axis=2)).all()
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert len(list((folder / "snapshots" / "gan@1").glob("step-*.safetensors"))) >= 2

    network = exports.load_generator(folder)
    final = load_file(folder / "generator.safetensors")
    assert network.state_dict().keys() == final.keys()
    assert exports.describe(folder)["training"]["metrics"]["psnr"] == metrics["val/psnr"]
    assert exports.trained_size(folder) == plan[-1].size


class Watch(pl.Callback):
    """Notes what trains and in which mode, and what a step changes, batch by batch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Mapping, batch: Any, batch_idx: int
    ) -> None:
        after = module.state_dict()
        changed = {name for name, tensor in self.before.items() if not torch.equal(tensor, after[name])}
        optimizer = module.critic_optimizer if module.critic.training else module.generator_optimizer
        self.seen.append(
            {
                "phase": module.phase,
                "modes": (module.generator.training, module.critic.training),
                "changed": {name.split(".")[0] for name in changed},
                "encoder": {name for name in changed if ".encoder." in name},
                "lr": [group["lr"] for group in optimizer.param_groups],
                "betas": optimizer.param_groups[0]["betas"],
                "batch": type(batch).__name__,
                "wanted": {name for name, parameter in module.named_parameters() if parameter.requires_grad},
                "global_step": trainer.global_step,
            }
        )


@pytest.fixture
def watched(run, monkeypatch) -> Callable[..., list[dict[str, Any]]]:
    """Train and return what :class:`Watch` saw."""

    def seen(*overrides: str) -> list[dict[str, Any]]:
        watch, build = Watch(), nogan.training.run.build_run

        def build_watched(*args: Any) -> Any:
            built = build(*args)
            built.trainer.callbacks.insert(2, watch)  # after the scheduler has prepared the batch
            return built

        monkeypatch.setattr(nogan.training.run, "build_run", build_watched)
        run(*overrides)
        return watch.seen

    return seen


def test_each_batch_trains_one_network_with_the_rates_of_the_plan(watched):
    seen = watched("nogan.pretrain.g1.trains=decoder", "trainer.limit_batches=4", "nogan.repeats=0")
    assert [batch["global_step"] for batch in seen] == list(range(1, len(seen) + 1))  # one optimizer step a batch
    for position, batch in enumerate(seen):
        phase = batch["phase"]
        step = position - next(i for i, other in enumerate(seen) if other["phase"] is phase)
        generator_trains, critic_trains = batch["modes"]
        assert generator_trains != critic_trains
        assert batch["changed"] == {"generator" if generator_trains else "critic"}
        assert batch["batch"] == ("Labeled" if phase.kind == "critic" else "Pair")
        turn = "critic" if critic_trains else "generator"
        hyper = phase.hyper(step, turn)
        assert batch["betas"] == hyper.betas
        assert batch["lr"] == (list(hyper.lr) if phase.kind != "gan" else [hyper.lr[0]] * len(batch["lr"]))
    in_gan = [batch["modes"][1] for batch in seen if batch["phase"].kind == "gan"]
    assert in_gan[0]  # the critic begins


def test_no_gradient_is_computed_that_nobody_uses(watched):
    seen = watched("nogan.pretrain.g1.trains=decoder", "trainer.limit_batches=4", "nogan.repeats=0")
    encoder = {}
    for batch in seen:
        served = "critic" if batch["modes"][1] else "generator"
        assert {name.split(".")[0] for name in batch["wanted"]} == {served}
        if served == "generator":
            encoder[batch["phase"].name] = {name for name in batch["wanted"] if ".encoder." in name}
    assert encoder["g1"] == encoder["gan@1"] < encoder["g2"], "of the frozen encoder, those of its norms alone"


def test_a_frozen_encoder_keeps_its_norms_in_training(watched):
    seen = watched("nogan.pretrain.g1.trains=decoder", "nogan.repeats=0")
    frozen = next(batch["encoder"] for batch in seen if batch["phase"].name == "g1")
    free = next(batch["encoder"] for batch in seen if batch["phase"].name == "g2")
    kinds = {name.rsplit(".", 1)[1] for name in frozen}
    assert {"running_mean", "running_var"} <= kinds  # batch norm in train mode …
    assert any(name.endswith("weight") for name in frozen) and len(frozen) < len(free)  # … and its affine trains


def budget(steps: int) -> str:
    """A detector that fires at a known batch: batch size 4, of 200 images."""
    return f"nogan.inflection.budget.share={steps * 4 / 200}"


def test_at_the_inflection_point_the_generator_goes_back_and_the_cycle_ends(run):
    folder, _ = run(
        "trainer.limit_batches=12",
        "nogan.inflection.name=budget",
        budget(5),
        "nogan.repeats=0",
        "nogan.gan.max_critic_steps=1",
        "nogan.snapshot_every=0.09",
    )
    record = json.loads((folder / "records.json").read_text())[-1]
    every = json.loads((folder / "plan.json").read_text())[-1]["snapshot_every"]
    assert record["steps"] < 12 and record["end"] == "inflection"
    assert record["verdict"]["inflection"] == 4
    taken = range(0, record["steps"] + 1, every)
    assert record["rolled_back_to"] == min(taken, key=lambda step: abs(step - 4))
    snapshot = load_file(folder / "snapshots" / "gan@1" / f"step-{record['rolled_back_to']:06d}.safetensors")
    final = load_file(folder / "generator.safetensors")
    assert all(torch.equal(snapshot[name], final[name]) for name in final)


def test_mark_only_records_the_inflection_point(run):
    folder, _ = run(
        "trainer.limit_batches=8",
        "nogan.inflection.name=budget",
        "nogan.inflection.action=mark",
        budget(3),
        "nogan.repeats=0",
    )
    record = json.loads((folder / "records.json").read_text())[-1]
    assert record["steps"] == 8 and record["verdict"]["inflection"] == 2 and "rolled_back_to" not in record


def critic_at(folder: Path, checkpoint: str) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "checkpoints" / checkpoint, weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("critic.")}


@pytest.mark.parametrize("restart", ["pre_gan", "post_gan"])
def test_the_next_cycle_trains_the_right_critic_on(run, restart):
    # A vanishing learning rate leaves the critic where it was restarted, up to its rounding.
    folder, _ = run(f"nogan.critic.restart={restart}", "nogan.critic.phases.c2.lr=1e-30", "nogan.gan.critic_lr_mult=50")
    before, after = critic_at(folder, "003-c2@1-end.ckpt"), critic_at(folder, "004-gan@1-end.ckpt")
    restarted = critic_at(folder, "005-c2@2-end.ckpt")
    weights = [name for name in before if not name.endswith(("_u", "_v"))]  # power iteration goes on at any rate
    assert not all(torch.equal(before[name], after[name]) for name in weights)
    expected = before if restart == "pre_gan" else after
    assert all(torch.equal(restarted[name], expected[name]) for name in weights)


def test_a_cycle_without_a_critic_phase_starts_from_the_right_critic_too(run):
    only_first = "nogan.critic.phases={c1:{cycles:first},c2:null}"
    folder, _ = run(only_first, "nogan.gan.critic_lr_mult=1e-25", "nogan.repeats=1", "trainer.limit_batches=1")
    assert [record["name"] for record in json.loads((folder / "records.json").read_text())][-2:] == ["gan@1", "gan@2"]
    first, second = (load_file(folder / "snapshots" / f"gan@{n}" / "critic-before.safetensors") for n in (1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("cap", "said"), [(1, "3 times nogan.gan.max_critic_steps=1 batches"), ("null", "4 batches")])
def test_a_starved_generator_is_said_once_with_what_to_do(run, monkeypatch, caplog, cap, said):
    monkeypatch.setattr("nogan.training.gan_batch.LONG_RUN", 4)
    short = ("nogan.pretrain.g2=null", "trainer.limit_batches=12", "trainer.limit_epochs=1")
    run(f"nogan.gan.max_critic_steps={cap}", "nogan.gan.critic_threshold=1e-9", *short)
    (warning,) = [record.getMessage() for record in caplog.records if "starves" in record.getMessage()]
    assert said in warning and "nogan.critic.phases" in warning


def test_the_critic_that_the_gan_phase_trained_is_kept(run):
    folder, _ = run("nogan.repeats=0")
    kept, trained = load_file(folder / "critic@gan.safetensors"), critic_at(folder, "004-gan@1-end.ckpt")
    before = load_file(folder / "critic.safetensors")
    assert all(torch.equal(kept[name], trained[f"critic.network.{name}"]) for name in kept)
    assert not all(torch.equal(kept[name], before[name]) for name in kept)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(smallest, tmp_path):
    def weights(name: str, *overrides: str) -> dict[str, torch.Tensor]:
        train(smallest("nogan.repeats=0", *overrides), tmp_path / name, console=QUIET)
        return load_file(tmp_path / name / "generator.safetensors")

    first, again, other = weights("a"), weights("b"), weights("c", "seed=1")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_generator_and_critic_can_be_fitted_alone(smallest):
    config: RunConfig = smallest()
    module = nogan.training.run.build_module(config)
    trainer_options = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    target = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pairs = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(target.mean(1, True).expand(-1, 3, -1, -1), target)
    )
    labeled = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(target, torch.arange(8) % 2 * 1.0))
    for part, loader in ((module.generator, pairs), (module.critic, labeled)):
        before = {name: tensor.clone() for name, tensor in part.named_parameters()}
        trainer = pl.Trainer(**trainer_options)
        trainer.fit(part, loader, loader)
        assert any(not torch.equal(before[name], tensor) for name, tensor in part.named_parameters())
        assert any(key.startswith("val/") for key in trainer.callback_metrics)
