"""The whole program on a GPU: every phase in every precision, resumed, and on two of them."""

import json
import math
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from safetensors.torch import load_file

from nogan.training.run import train
from tests.conftest import ROOT, SMALLEST
from tests.metrics import computed

QUIET = Console(quiet=True)
ON_GPU = ("trainer.accelerator=gpu", "data.workers=2", "trainer.limit_batches=4", "nogan.gan.max_critic_steps=1")


def losses(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in computed(folder) if row[name]]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_every_phase(smallest, tmp_path, precision):
    metrics = train(smallest(*ON_GPU, f"trainer.precision={precision}"), tmp_path, console=QUIET)
    assert all(map(math.isfinite, metrics.values()))
    records = json.loads((tmp_path / "records.json").read_text())
    kinds = "generator generator critic critic gan critic gan"
    assert [record["kind"] for record in records] == kinds.split()
    final = load_file(tmp_path / "generator.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in final.values())
    assert (tmp_path / "report.html").is_file()
    checkpoint = torch.load(next((tmp_path / "checkpoints").glob("*-end.ckpt")), weights_only=True)
    assert all(group["fused"] for state in checkpoint["optimizer_states"] for group in state["param_groups"])


def test_the_first_batches_are_those_of_the_cpu(smallest, tmp_path):
    for where in ("cpu", "gpu"):
        overrides = (*ON_GPU, f"trainer.accelerator={where}", "nogan.repeats=0", "nogan.optimizer.eps=1")
        train(smallest(*overrides), tmp_path / where, console=QUIET)
    here, there = (losses(tmp_path / where, "generator/loss") for where in ("cpu", "gpu"))
    assert there == pytest.approx(here, rel=1e-2)
    assert there[0] == pytest.approx(here[0], rel=1e-4)


def test_a_cut_run_goes_on(smallest, tmp_path, monkeypatch):
    """Not to the bit, since some of CUDA's kernels add in no fixed order; but nothing is lost or done twice."""
    import nogan.training.run
    from tests.training.ddp_worker import Cut, Witness

    build, witness = nogan.training.run.build_run, Witness(cut_at=10)

    def built(*args):
        run = build(*args)
        run.trainer.callbacks.append(witness)
        return run

    monkeypatch.setattr(nogan.training.run, "build_run", built)
    often = (*ON_GPU, "trainer.checkpoint_every_n_batches=1")
    with pytest.raises(Cut):
        train(smallest(*often), tmp_path / "cut", console=QUIET)
    witness.cut_at = None
    train(smallest(*often, f"resume={tmp_path / 'cut'}"), tmp_path / "cut", console=QUIET)
    train(smallest(*often), tmp_path / "whole", console=QUIET)
    cut, whole = computed(tmp_path / "cut"), computed(tmp_path / "whole")
    assert [row["step"] for row in cut] == [row["step"] for row in whole]
    for name in ("generator/loss", "critic/loss"):
        assert losses(tmp_path / "cut", name) == pytest.approx(losses(tmp_path / "whole", name), rel=0.1)


class Waits(pl.Callback):
    """Counts, from the end of each batch to the end of the next, how often the CPU waited for the GPU."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = defaultdict(list)
        self.recorder: warnings.catch_warnings | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        self._stop(module.phase.kind)
        torch.cuda.set_sync_debug_mode("warn")
        self.recorder = warnings.catch_warnings(record=True)
        self.caught = self.recorder.__enter__()
        warnings.simplefilter("always")

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._stop(None)

    def _stop(self, kind: str | None) -> None:
        torch.cuda.set_sync_debug_mode("default")
        if self.recorder is not None:
            self.recorder.__exit__(None, None, None)
            self.recorder = None
            if kind:
                self.counts[kind].append(sum("synchronizing CUDA" in str(warning.message) for warning in self.caught))


def test_the_cpu_waits_once_a_batch(smallest, tmp_path, monkeypatch):
    import nogan.training.run

    build, waits = nogan.training.run.build_run, Waits()

    def built(*args):
        run = build(*args)
        run.trainer.callbacks.append(waits)
        return run

    monkeypatch.setattr(nogan.training.run, "build_run", built)
    train(smallest(*ON_GPU, "trainer.precision=bf16-mixed", "nogan.snapshot_every=1"), tmp_path, console=QUIET)
    assert set(waits.counts) == {"generator", "critic", "gan"}
    assert {kind: min(counts) for kind, counts in waits.counts.items()} == dict.fromkeys(waits.counts, 1)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    overrides = [*SMALLEST, "trainer=ddp", "trainer.limit_batches=4", f"hydra.run.dir={tmp_path / 'run'}"]
    subprocess.run([*torchrun, str(ROOT / "train.py"), *overrides], check=True, timeout=600)
    assert (tmp_path / "run" / "generator.safetensors").is_file()
