"""Two processes on the CPU train as one does: in every phase, with batches that do not divide evenly, and resumed."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from nogan.common.errors import UserError
from nogan.inflection import DEFAULT
from nogan.plan import build_plan
from nogan.plan.config import RunConfig
from nogan.runs.snapshots import SnapshotStore
from nogan.training import launch
from nogan.training.preview import show_plan
from nogan.training.run import build_module, train
from tests.conftest import SMALLEST
from tests.metrics import computed

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
TWO = ("trainer.strategy=ddp_find_unused_parameters_true", "trainer.devices=auto", "trainer.num_nodes=auto")
UNEVEN = (
    "nogan.pretrain.g1.batch_size=5",
    "nogan.critic.phases.c2.batch_size=5",
    "nogan.gan.batch_size=5",
    "nogan.gan.max_critic_steps=1",
    "trainer.limit_batches=4",
    "trainer.limit_epochs=1",
    "trainer.checkpoint_every_n_batches=1",
    "nogan.ema=0.9",
    # Adam makes whole steps of the rounding in gradients that vanish. With an eps above all of them it is momentum with
    # a rate, and rounding stays what it was.
    "nogan.optimizer.eps=1",
    "nogan.pretrain.g1.lr=0.02",
    "nogan.pretrain.g2.lr=0.02",
)
EQUAL = ("data.augment=false", "nogan.pretrain.g1.lr=0.002", "nogan.pretrain.g2.lr=0.002")  # pictures stay the same
BUDGET = ("nogan.inflection.name=budget", "nogan.inflection.budget.share=0.1")  # ends a GAN phase before its end
KNOB = (  # without a second phase of either kind, to save time
    "model.vividness={hidden:8,rate:10}",
    "nogan.consistency.weight=1",
    "nogan.pretrain.g2=null",
    "nogan.critic.phases.c1=null",
    "nogan.repeats=0",
    *BUDGET,
    "nogan.inflection.action=mark",
    "nogan.gan.lr=0.02",
    "nogan.gan.weights.feature=4",
)
CUT_AT = 10  # batches: within the first critic phase, after a checkpoint
CUT_AGAIN_AT = 18  # within the first GAN phase, after its first snapshot


def processes(command: tuple[str, ...], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``command`` with one thread a process; it must succeed."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([*command, *arguments], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 times the same photograph: any part of a batch has the statistics of the whole."""
    folder = tmp_path_factory.mktemp("copies")
    pixels = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    photograph = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)
    for number in range(60):
        photograph.save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def two(
    smallest: Callable[..., RunConfig], damaged: Path, copies: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Runs of two processes in a folder: ``whole``; ``cut``, taken up again twice; and ``left``, which was not.

    ``damaged`` is one over photographs of which a few cannot be read; ``parts`` splits each process's share of a batch
    further; ``knob`` trains a vividness and consistency. What all said is in ``stderr.txt``.
    """
    folder = tmp_path_factory.mktemp("two")

    def job(name: str, cut_at: int | None = None, *overrides: str) -> dict[str, object]:
        config = smallest(*UNEVEN, *TWO, *overrides).model_dump(mode="json")
        return {"config": config, "folder": str(folder / name), "cut_at": cut_at}

    again = f"resume={folder / 'cut'}"
    jobs = [job("whole"), job("cut", CUT_AT), job("cut", CUT_AGAIN_AT, again), job("cut", None, again)]
    jobs.append(job("left", CUT_AT))
    jobs.append(job("damaged", None, *over(damaged)))
    jobs.append(job("parts", None, *over(copies), *EQUAL, "trainer.accumulate=2"))
    jobs.append(job("knob", None, *KNOB))
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = processes(TORCHRUN, str(ROOT / "tests" / "training" / "ddp_worker.py"), str(folder / "jobs.json"))
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


def over(photographs: Path) -> tuple[str, ...]:
    """A short run over a folder."""
    data = ("data=folder", f"data.path={photographs}", "data.images=null", "data.workers=0", "data.max_bad_share=0.2")
    return (*data, "nogan.repeats=0", *BUDGET)


def test_ranks_hold_the_same_to_the_bit_after_every_phase(two, smallest):
    first, second = (json.loads((two / f"whole-rank{rank}.json").read_text()) for rank in range(2))
    assert list(first) == [phase.name for phase in build_plan(smallest(*UNEVEN))]
    assert first == second
    records = json.loads((two / "whole" / "records.json").read_text())
    assert records[-1]["end"] == "inflection" and "rolled_back_to" in records[-1]  # and ranks went back together
    assert records[-1]["verdict"]["detector"] == DEFAULT


def test_two_processes_train_the_generator_as_one_does(two, smallest, tmp_path):
    """The batches of g1 (5 images) are shared unevenly, and batch norm is synchronized.

    They differ by 2e-6 or so, by how each machine rounds; without synchronized batch norm by 1e-2. (Augmentation is
    off, for the logits of its lighting magnify rounding; each rank's part of it is tested on its own.)
    """
    alone = tmp_path / "alone"
    train(smallest(*UNEVEN, "nogan.repeats=0"), alone, console=QUIET)
    pairs = [pair for pair in zip(computed(alone), computed(two / "whole"), strict=False) if pair[0]["generator/loss"]]
    assert len(pairs) == 8
    losses = np.array([[float(row["generator/loss"]) for row in pair] for pair in pairs])
    assert np.abs(losses[:, 1] - losses[:, 0]).max() < 1e-4
    one, both = (load_file(folder / "generator@pretrained.safetensors") for folder in (alone, two / "whole"))
    for name, tensor in one.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-4, atol=1e-4, msg=name)
    fresh = build_module(smallest(*UNEVEN)).generator.network.state_dict()
    assert max((one[name] - fresh[name]).abs().max() for name in one if name.endswith("original")) > 1e-3, "they train"


def test_two_processes_with_parts_of_parts_train_as_one_with_the_whole(two, copies, smallest, tmp_path):
    """5 images are 2 + 1 on the first process and 1 + 1 on the second; each part is synchronized as it comes.

    Equal pictures magnify rounding from step to step, so it is the first steps that are compared: twice or half the
    gradient is off by 3e-3 after one, and rounding by 3e-5 after two.
    """
    first, second = (json.loads((two / f"parts-rank{rank}.json").read_text()) for rank in range(2))
    assert first == second
    train(smallest(*UNEVEN, *over(copies), *EQUAL), tmp_path, console=QUIET)
    alone, both = ([float(row["generator/loss"]) for row in computed(run)[1:4]] for run in (tmp_path, two / "parts"))
    assert alone[2] < alone[0] - 0.01, "it trains"
    np.testing.assert_allclose(both, alone, rtol=0, atol=2e-4)


def test_two_processes_train_one_network_for_all_as_one_does(two, smallest, tmp_path):
    """Each rank draws its part of the vividness and of the movements of the whole batch, of 5 and unevenly shared.

    The critic's dropout is each rank's own, so that its judgment differs by some 1e-3 and the generator trained by it
    by less; all else is as close as in the test above.
    """
    first, second = (json.loads((two / f"knob-rank{rank}.json").read_text()) for rank in range(2))
    assert first == second and len(first) == 3, "to the bit, after every phase"
    train(smallest(*UNEVEN, *KNOB), tmp_path, console=QUIET)
    names = ("generator/loss", "generator/consistency_loss", "gan/feature_loss", "gan/consistency_loss")
    both = zip(computed(tmp_path), computed(two / "knob"), strict=True)
    losses = np.array([[float(row[name]) for row in pair] for pair in both for name in names if pair[0][name]])
    assert losses.shape == (12, 2) and losses.min() > 0.01
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], rtol=0, atol=1e-4)
    one, pair = (load_file(folder / "generator.safetensors") for folder in (tmp_path, two / "knob"))
    for name, tensor in one.items():
        torch.testing.assert_close(pair[name], tensor, rtol=1e-3, atol=1e-3, msg=name)
    assert max(tensor.abs().max() for name, tensor in one.items() if "vividness.changes" in name) > 5e-3, "it trains"


def test_two_processes_resume_to_the_bit(two):
    whole, cut = (load_file(two / name / "generator.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    average, again = (load_file(two / name / "generator@ema.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(average[name], again[name]) for name in average)
    assert computed(two / "cut") == computed(two / "whole")
    stores = [SnapshotStore(two / name / "snapshots" / "gan@1") for name in ("whole", "cut")]
    ends = [load_file(store.path(4)) for store in stores]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0]), "the average went on where it was"


def test_one_process_goes_on_with_the_run_of_two(two, smallest):
    assert not (two / "left" / "records.json").exists()
    alone = ("trainer.strategy=auto", "trainer.devices=1", "trainer.num_nodes=1")
    train(smallest(*UNEVEN, *alone, f"resume={two / 'left'}"), two / "left", console=QUIET)
    done, before = (json.loads((two / name / "records.json").read_text()) for name in ("left", "whole"))
    assert [record["name"] for record in done] == [record["name"] for record in before]
    at_cut = [row for row in computed(two / "whole") if int(row["step"]) <= CUT_AT]
    assert computed(two / "left")[: len(at_cut)] == at_cut


def test_what_no_process_can_read_is_counted_and_named_once(two, smallest, damaged, tmp_path):
    def counted(run: Path) -> dict[str, Any]:
        return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["NoGANData"]["bad_images"]

    train(smallest(*UNEVEN, *over(damaged)), tmp_path / "alone", console=QUIET)
    alone, both = counted(tmp_path / "alone"), counted(two / "damaged")
    assert sorted(both["bad"]) == sorted(alone["bad"]) and both["seen"] == alone["seen"]
    named = re.findall(r"skipped an unreadable photograph, (.*) \(\d+ of \d+", (two / "stderr.txt").read_text())
    assert named == both["bad"] and len(named) > 3


def test_a_batch_must_reach_every_process(smallest, tmp_path):
    config = smallest("trainer.devices=6")
    for begin in (lambda: train(config, tmp_path, console=QUIET), lambda: show_plan(config, QUIET)):
        with pytest.raises(UserError, match=r"nogan\.pretrain\.g1\.batch_size=4 .* 6 processes"):
            begin()


def started(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "nogan",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
}
ELASTIC = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize("environment", [ELASTIC, {**SLURM, "SLURM_NTASKS_PER_NODE": "4"}], ids=["torchrun", "srun"])
def test_devices_and_machines_are_those_that_were_started(monkeypatch, configure, environment):
    started(monkeypatch, **environment)
    ddp = configure("model=tiny", "trainer=ddp").trainer
    assert launch.devices_and_nodes(ddp) == {"devices": 4, "num_nodes": 2}
    assert launch.is_rank_zero() == (environment is ELASTIC)
    with pytest.raises(UserError, match=r"trainer\.devices=3, but (torchrun|srun) started 4 processes a machine"):
        launch.devices_and_nodes(ddp.model_copy(update={"devices": 3}))
    with pytest.raises(UserError, match="expected trainer=ddp"):
        launch.devices_and_nodes(configure("model=tiny", "trainer=gpu").trainer)


@pytest.mark.parametrize(
    ("overrides", "gpus", "processes"),
    [
        (["trainer=cpu"], 0, 1),
        (["trainer=cpu", "trainer.devices=2"], 0, 2),
        (["trainer=cpu", "trainer.num_nodes=2"], 0, 2),
        (["trainer=cpu", "trainer.devices=auto"], 4, 1),
        (["trainer=gpu", "trainer.devices=auto"], 4, 4),
        (["trainer=ddp", "trainer.strategy=auto"], 4, 4),
    ],
)
def test_several_processes_get_the_strategy_that_works_for_them(configure, monkeypatch, overrides, gpus, processes):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    trainer = configure("model=tiny", *overrides).trainer
    assert launch.processes(trainer) == processes
    assert launch.strategy(trainer) == ("auto" if processes == 1 else "ddp_find_unused_parameters_true")
    assert launch.strategy(trainer.model_copy(update={"strategy": "ddp"})) == "ddp_find_unused_parameters_true"


def test_one_task_is_for_one_device(monkeypatch, configure):
    started(monkeypatch, **SLURM, SLURM_NTASKS_PER_NODE="1")
    started(monkeypatch, SLURM_NTASKS="1", SLURM_PROCID="0", SLURM_NNODES="1")
    ddp = configure("model=tiny", "trainer=ddp").trainer
    assert launch.devices_and_nodes(ddp) == {"devices": 1, "num_nodes": 1}
    with pytest.raises(UserError, match="start one process for each device"):
        launch.devices_and_nodes(ddp.model_copy(update={"devices": 4}))


def test_tasks_without_a_number_a_machine_are_refused(monkeypatch, configure):
    started(monkeypatch, **SLURM)
    with pytest.raises(UserError, match="--ntasks-per-node"):
        launch.devices_and_nodes(configure("model=tiny", "trainer=ddp").trainer)


def test_a_process_alone_takes_the_config_at_its_word(configure):
    trainer = configure("model=tiny", "trainer=ddp", "trainer.devices=2").trainer
    assert launch.devices_and_nodes(trainer) == {"devices": 2, "num_nodes": 1}
    assert launch.is_rank_zero()


# --- from the command line, as a user starts it -----------------------------------------------------------------------


def finished_run(parent: Path) -> Path:
    """The one run folder under ``parent``, complete, and a CSV written by one process only."""
    (folder,) = (parent / "outputs" / "quickstart").iterdir()
    assert (folder / "records.json").is_file() and (folder / "generator.safetensors").is_file()
    steps = [int(row["step"]) for row in computed(folder) if row["generator/loss"]]
    assert steps == sorted(set(steps))
    return folder


SHORT = ("trainer.limit_batches=1", "nogan.repeats=0")


SCRIPT, COMMAND = (str(ROOT / "train.py"),), ("-m", "nogan.cli", "train")


@pytest.mark.slow
@pytest.mark.parametrize("program", [SCRIPT, COMMAND])
def test_torchrun(tmp_path, monkeypatch, program):
    monkeypatch.chdir(tmp_path)
    done = processes(TORCHRUN, *program, *SMALLEST, *TWO, *SHORT)
    folder = finished_run(tmp_path)
    assert done.stdout.count("Done in") == 1
    processes(TORCHRUN, *program, f"resume={folder.relative_to(tmp_path)}", "nogan.repeats=1")
    assert len(json.loads((folder / "records.json").read_text())) == 7


@pytest.mark.slow
@pytest.mark.parametrize(("program", "strategy"), [(SCRIPT, TWO), (COMMAND, ())], ids=["chosen", "by default"])
def test_one_command_starts_the_others(tmp_path, monkeypatch, program, strategy):
    monkeypatch.chdir(tmp_path)
    done = processes((sys.executable,), *program, *SMALLEST, *strategy, *SHORT, "trainer.devices=2")
    finished_run(tmp_path)
    assert done.stdout.count("Done in") == 1


@pytest.mark.slow
def test_srun(tmp_path, monkeypatch):
    """The environment that srun gives each of two tasks on one machine."""
    monkeypatch.chdir(tmp_path)
    shared = {
        "SLURM_JOB_ID": str(40_000 + os.getpid() % 10_000),
        "SLURM_JOB_NAME": "nogan",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(ROOT / "train.py"), *SMALLEST, *TWO, *SHORT]
    tasks = [
        subprocess.Popen(command, env={**os.environ, **shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})
        for rank in range(2)
    ]
    assert [task.wait(timeout=300) for task in tasks] == [0, 0]
    finished_run(tmp_path)
