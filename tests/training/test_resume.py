"""A run that was cut ends as if it had not been: weights, optimizer states and metrics to the bit."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from safetensors.torch import load_file

import nogan.training.run
from nogan.common import interrupts
from nogan.common.errors import Interrupted, UserError
from nogan.common.lock import is_held, only_one
from nogan.data import fakes
from nogan.inflection import DEFAULT
from nogan.plan import build_plan
from nogan.runs.checkpoints import damage_of, newest_first, newest_whole_checkpoint
from nogan.runs.run_folder import RunFolder
from nogan.training.callbacks.checkpoints import AtomicCheckpointIO
from nogan.training.callbacks.progress import PlanProgress
from nogan.training.loggers import MetricsCSV
from nogan.training.resume import newest_unfinished
from nogan.training.run import train
from tests.metrics import computed

QUIET = Console(quiet=True)
OVERRIDES = (
    "trainer.limit_batches=5",
    "trainer.checkpoint_every_n_batches=2",
    "nogan.critic.phases.c1.epochs=1",
    "nogan.critic.phases.c2.epochs=1",
    "nogan.gan.max_critic_steps=2",
    "nogan.inflection.name=budget",
    "nogan.inflection.budget.share=0.06",  # fires at the fourth GAN batch
)


class Cut(Exception):
    """Stands for the plug being pulled."""


class CutWhen(pl.Callback):
    """Ends the process's work in the hook called ``hook`` once ``batches`` batches are done."""

    def __init__(self, hook: str, batches: int, act: Callable[[], Any]) -> None:
        self.batches, self.act = batches, act
        setattr(self, hook, self._hook)

    def _hook(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.batches:
            self.batches = -1
            self.act()


def pull_the_plug() -> None:
    raise Cut


@pytest.fixture
def cutting(monkeypatch) -> Iterator[Callable[..., None]]:
    """``cutting(hook, batches, act)``: the next run is cut there; ``cutting()``: no run is."""
    build = nogan.training.run.build_run

    def arrange(hook: str | None = None, batches: int = 0, act: Callable[[], Any] = pull_the_plug, first: bool = False):
        def build_cut(*args: Any) -> Any:
            built = build(*args)
            if hook:
                callbacks = built.trainer.callbacks
                callbacks.insert(0 if first else len(callbacks), CutWhen(hook, batches, act))
            return built

        monkeypatch.setattr(nogan.training.run, "build_run", build_cut)

    yield arrange


def final_state(folder: Path) -> dict[str, Any]:
    return torch.load(newest_first(RunFolder(folder))[0], weights_only=True)


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimizer states, metrics and exports, to the bit."""
    a, b = final_state(one), final_state(other)
    for name, tensor in a["state_dict"].items():
        assert torch.equal(tensor, b["state_dict"][name]), name
    for first, second in zip(a["optimizer_states"], b["optimizer_states"], strict=True):
        assert first["param_groups"] == second["param_groups"]
        for index, state in first["state"].items():
            assert all(torch.equal(value, second["state"][index][key]) for key, value in state.items())
    assert computed(one) == computed(other)
    assert (one / "generator.safetensors").read_bytes() == (other / "generator.safetensors").read_bytes()
    samples = [sorted(path.name for path in (folder / "samples").iterdir()) for folder in (one, other)]
    assert samples[0] == samples[1]


CUTS = [  # (hook, batches, before the run's own callbacks)
    ("on_train_batch_end", 1, False),  # before there is a checkpoint
    ("on_train_batch_end", 3, False),  # within generator pretraining, one batch after a checkpoint
    ("on_train_batch_end", 4, False),  # right after a checkpoint
    ("on_train_batch_end", 5, True),  # the last batch of a phase, before anything else has seen it
    ("on_train_epoch_end", 5, True),  # at a phase boundary, before its checkpoint
    ("on_train_epoch_end", 10, False),  # … and after it: before the fakes are made
    ("on_train_epoch_start", 10, True),  # the fakes are made, the critic has not begun
    ("on_train_batch_end", 13, False),  # within critic pretraining
    ("on_train_epoch_start", 20, False),  # entering the GAN phase
    ("on_train_batch_end", 22, True),  # within it, before the snapshot of this batch
    ("on_train_batch_end", 24, False),  # at the verdict
    ("on_train_epoch_end", 24, True),  # before the rollback
    ("on_train_epoch_end", 24, False),  # after it
    ("on_train_batch_start", 24, False),  # the next phase has begun
    ("on_train_batch_end", 31, False),  # within the last phase
]
WITHIN_CRITIC = ("on_train_batch_end", 13, False)
AFTER_A_CHECKPOINT = ("on_train_batch_end", 14, False)
WITHIN_GAN = ("on_train_batch_end", 23, False)
WITHIN_SECOND_CRITIC = ("on_train_batch_end", 26, False)


@pytest.fixture(scope="module")
def runs(smallest, tmp_path_factory) -> Path:
    """A run without a cut, ``whole``, and what was on the disk at each of the cuts: as if the plug had been pulled."""
    folder = tmp_path_factory.mktemp("runs")
    build = nogan.training.run.build_run

    def build_copied(*args: Any) -> Any:
        built = build(*args)
        callbacks = built.trainer.callbacks
        for hook, batches, first in (*CUTS, AFTER_A_CHECKPOINT, WITHIN_GAN, WITHIN_SECOND_CRITIC):
            copy = partial(shutil.copytree, folder / "whole", name_of(folder, hook, batches, first), symlinks=True)
            callbacks.insert(0 if first else len(callbacks), CutWhen(hook, batches, copy))
        return built

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nogan.training.run, "build_run", build_copied)
        train(smallest(*OVERRIDES), folder / "whole", console=QUIET)
    return folder


def name_of(folder: Path, hook: str, batches: int, first: bool) -> Path:
    return folder / f"{hook}-{batches}-{first}"


@pytest.fixture
def uncut(runs) -> Path:
    """The run without a cut."""
    return runs / "whole"


@pytest.fixture
def cut_run(runs, tmp_path) -> Callable[..., Path]:
    """``cut_run(hook, batches, first)``: a folder of its own with what was on the disk at this cut."""

    def copied(*where: Any) -> Path:
        return shutil.copytree(name_of(runs, *where), tmp_path / "cut", symlinks=True)

    return copied


@pytest.mark.parametrize(("hook", "batches", "first"), CUTS)
def test_cut_and_resumed(smallest, uncut, cut_run, hook, batches, first):
    cut = cut_run(hook, batches, first)
    train(smallest(*OVERRIDES, f"resume={cut}"), cut, console=QUIET)
    assert_same_run(uncut, cut)


def test_cut_within_a_gan_phase_of_a_generator_with_a_vividness(smallest, cutting, tmp_path):
    knob = (*OVERRIDES, "nogan.repeats=0", "model.vividness={hidden:8,rate:10}", "nogan.consistency.weight=1")
    knob = (*knob, "nogan.gan.vividness.critic_sees=told")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(smallest(*knob), whole, console=QUIET)
    cutting("on_train_batch_end", 23)
    with pytest.raises(Cut):
        train(smallest(*knob), cut, console=QUIET)
    cutting()
    train(smallest(*knob, f"resume={cut}"), cut, console=QUIET)
    assert_same_run(whole, cut)


@pytest.mark.parametrize("detector", [(), ("nogan.inflection.name=combined", "nogan.inflection.average=null")])
def test_cut_within_a_gan_phase_whose_pictures_a_detector_watches(smallest, cutting, tmp_path, detector):
    """By default `pays`, on averaged snapshots."""
    watched = ("trainer.limit_batches=9", "trainer.checkpoint_every_n_batches=3", "nogan.repeats=0", *detector)
    watched = (*watched, "nogan.critic.phases.c1.epochs=1", "nogan.critic.phases.c2.epochs=1")
    resume: tuple[str, ...] = ()
    for batches in (40, 41):  # of 36 before the phase and 9 in it, with a snapshot every second one
        cutting("on_train_batch_end", batches)
        with pytest.raises(Cut):
            train(smallest(*watched, *resume), tmp_path / "cut", console=QUIET)
        scheduler = final_state(tmp_path / "cut")["callbacks"]["NoGANScheduler"]
        assert scheduler["records"][-1]["kind"] == "gan"
        assert scheduler["detector"]["name"] == ("combined" if detector else DEFAULT)
        assert scheduler["detector"]["state"]["first_seen"]
        assert scheduler["average"] == {} if detector else scheduler["average"]["step"] == 2
        resume = (f"resume={tmp_path / 'cut'}",)
    cutting()
    train(smallest(*watched, *resume), tmp_path / "cut", console=QUIET)
    train(smallest(*watched), tmp_path / "whole", console=QUIET)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    cut, whole = (json.loads((tmp_path / name / "records.json").read_text())[-1] for name in ("cut", "whole"))
    assert cut["verdict"] == whole["verdict"] and cut["metrics"] == whole["metrics"]
    ends = [load_file(tmp_path / name / "generator@inflection.safetensors") for name in ("cut", "whole")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_it_says_what_it_restored(smallest, cutting, tmp_path):
    cutting("on_train_batch_end", 4)
    with pytest.raises(Cut):
        train(smallest(*OVERRIDES), tmp_path, console=QUIET)
    said = io.StringIO()
    cutting("on_train_batch_end", 5)
    with pytest.raises(Cut):
        train(smallest(*OVERRIDES, f"resume={tmp_path}"), tmp_path, console=Console(file=said, width=200))
    rate = build_plan(smallest(*OVERRIDES))[0].hyper(4, "generator").lr[-1]
    where = f"pretrain g1 · 32 px, phase 1 of 7, batch 4 of 5, lr {rate:.3g}, 16 images seen"
    assert f"Resumed from 000-g1-0000004.ckpt: {where}\n" in said.getvalue()


@pytest.mark.parametrize(("minutes", "kept"), [(1e-5, ["000-g1-0000003.ckpt", "000-g1-0000002.ckpt"]), (15, [])])
def test_checkpoints_by_minutes(smallest, cutting, tmp_path, minutes, kept):
    often = ("trainer.checkpoint_every_n_batches=1000", f"trainer.checkpoint_every_n_minutes={minutes}")
    cutting("on_train_batch_end", 3)
    with pytest.raises(Cut):
        train(smallest(*OVERRIDES, *often), tmp_path, console=QUIET)
    assert [path.name for path in newest_first(RunFolder(tmp_path))] == kept


def test_what_is_later_than_the_newest_checkpoint_goes(smallest, cut_run, cutting):
    """Both within the phase are damaged; at the next cut, one of them would be taken for the newest."""
    cut = cut_run(*AFTER_A_CHECKPOINT)
    for damaged in newest_first(RunFolder(cut), within_phases=True):
        damaged.write_bytes(b"junk")
    cutting("on_train_batch_end", 12)
    with pytest.raises(Cut):
        train(smallest(*OVERRIDES, f"resume={cut}"), cut, console=QUIET)
    left = [path.name for path in newest_first(RunFolder(cut))]
    assert left == ["002-c1@1-0000002.ckpt", "001-g2-end.ckpt", "000-g1-end.ckpt"]


@pytest.mark.parametrize("symbolic", [True, False])
def test_a_disk_without_hard_links(smallest, tmp_path, monkeypatch, symbolic):
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    if not symbolic:
        monkeypatch.setattr(Path, "symlink_to", refuse)
    train(smallest("nogan.repeats=0"), tmp_path, console=QUIET)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert last.exists() == symbolic
    assert not symbolic or last.resolve() == newest_first(RunFolder(tmp_path))[0].resolve()


def test_cut_many_times(smallest, uncut, cutting, tmp_path):
    resume: tuple[str, ...] = ()
    for batches in (2, 7, 11, 12, 21, 27):
        cutting("on_train_batch_end", batches)
        with pytest.raises(Cut):
            train(smallest(*OVERRIDES, *resume), tmp_path, console=QUIET)
        resume = (f"resume={tmp_path}",)
    cutting()
    train(smallest(*OVERRIDES, *resume), tmp_path, console=QUIET)
    assert_same_run(uncut, tmp_path)


@pytest.mark.parametrize("cycle", [1, 2])
def test_cut_while_the_fakes_are_made(smallest, uncut, tmp_path, monkeypatch, cycle):
    note = fakes.FakeStore._note

    def cut_at(self: Any, done: int, *about: Any) -> None:
        note(self, done, *about)
        if self.folder.name == f"cycle-{cycle}" and 0 < done < self.count:
            raise Cut

    monkeypatch.setattr(fakes, "NOTE_SECONDS", 0)
    monkeypatch.setattr(fakes.FakeStore, "_note", cut_at)
    with pytest.raises(Cut):
        train(smallest(*OVERRIDES), tmp_path, console=QUIET)
    monkeypatch.setattr(fakes.FakeStore, "_note", note)
    assert [folder.name for folder in (tmp_path / "fakes").iterdir()] == [f"cycle-{cycle}"]
    train(smallest(*OVERRIDES, f"resume={tmp_path}"), tmp_path, console=QUIET)
    assert_same_run(uncut, tmp_path)


def test_back_to_a_cycle_whose_fakes_are_gone(smallest, uncut, cut_run):
    cut = cut_run(*WITHIN_SECOND_CRITIC)
    for later in newest_first(RunFolder(cut)):
        if later.name > "002-c1@1-end.ckpt":
            later.unlink()
    train(smallest(*OVERRIDES, f"resume={cut}"), cut, console=QUIET)
    assert_same_run(uncut, cut)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_loudly(smallest, uncut, cut_run, caplog):
    cut = cut_run(*AFTER_A_CHECKPOINT)
    newest, before = newest_first(RunFolder(cut))[:2]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF  # one bit of a weight
    newest.write_bytes(content)
    assert newest_whole_checkpoint(RunFolder(cut)) == before
    assert "is damaged" in caplog.text and newest.name in caplog.text
    before.write_bytes(before.read_bytes()[:-100])  # cut short
    assert damage_of(before)
    train(smallest(*OVERRIDES, f"resume={cut}"), cut, console=QUIET)
    assert_same_run(uncut, cut)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_a_resumed_run_that_makes_its_fakes_again(smallest, uncut, cut_run, monkeypatch, signum):
    """Lightning asks for the data of a phase before it calls any hook of the training."""
    cut = cut_run("on_train_epoch_start", 10, True)
    shutil.rmtree(cut / "fakes")
    with monkeypatch.context() as patch:
        patch.setattr(PlanProgress, "fakes", lambda *_: os.kill(os.getpid(), signum))
        with pytest.raises(Interrupted) as stopped:
            train(smallest(*OVERRIDES, f"resume={cut}"), cut, console=QUIET)
    assert stopped.value.exit_code == 128 + signum
    assert not (cut / "records.json").is_file()
    train(smallest(*OVERRIDES, f"resume={cut}"), cut, console=QUIET)
    assert_same_run(uncut, cut)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_stops(smallest, uncut, cutting, tmp_path, signum):
    before = signal.getsignal(signum)
    cutting("on_train_batch_start", 12, lambda: os.kill(os.getpid(), signum))
    with pytest.raises(Interrupted) as stopped:
        train(smallest(*OVERRIDES), tmp_path, console=QUIET)
    assert stopped.value.exit_code == 128 + signum
    assert signal.getsignal(signum) == before
    assert newest_first(RunFolder(tmp_path))[0].name == "002-c1@1-0000003.ckpt"  # the batch under way was finished
    cutting()
    train(smallest(*OVERRIDES, f"resume={tmp_path}"), tmp_path, console=QUIET)
    assert_same_run(uncut, tmp_path)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises ``KeyboardInterrupt``, also in tests that a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_that_an_import_has_caught_stops_the_run_before_it_trains(smallest, tmp_path):
    with interrupts.remembered():
        with suppress(KeyboardInterrupt):  # as libraries do that try things out while they are imported
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            train(smallest(*OVERRIDES), tmp_path, console=QUIET)
        assert not (tmp_path / "metrics.csv").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    interrupts.raise_if_received()  # it is over with the command


def test_more_repeats_append_cycles(smallest, tmp_path):
    train(smallest(*OVERRIDES, "nogan.repeats=0"), tmp_path / "one", console=QUIET)
    train(smallest(*OVERRIDES, "nogan.repeats=1", f"resume={tmp_path / 'one'}"), tmp_path / "one", console=QUIET)
    train(smallest(*OVERRIDES, "nogan.repeats=1"), tmp_path / "two", console=QUIET)
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nogan.pretrain.g1.batch_size=5", "phase g1 is finished with batch_size=4, and the config now says 5"),
        ("nogan.critic.phases.c1.lr=1e-5", r"phase c1@1 is under way with lr=\(0.001,\)"),
        ("model.width=0.75", "model.width was 0.5 when the run began and is 0.75 now"),
        ("seed=1", "seed was 0 when the run began and is 1 now"),
        ("nogan.inflection.action=mark", "nogan.inflection.action was stop when the run began and is mark now"),
    ],
)
def test_what_is_done_cannot_change(smallest, cut_run, override, message):
    cut = cut_run(*WITHIN_CRITIC)
    with pytest.raises(UserError, match=message):
        train(smallest(*OVERRIDES, override, f"resume={cut}"), cut, console=QUIET)


def test_what_has_not_begun_can_change(smallest, cut_run):
    cut = cut_run(*WITHIN_CRITIC)
    changed = smallest(*OVERRIDES, "nogan.gan.lr=3e-4", f"resume={cut}", "trainer.checkpoint_every_n_batches=3")
    train(changed, cut, console=QUIET)
    assert build_plan(changed)[4].lr[0] == 3e-4
    checkpoint = next((cut / "checkpoints").glob("004-*-end.ckpt"))
    groups = torch.load(checkpoint, weights_only=True)["optimizer_states"][0]
    assert groups["param_groups"][0]["lr"] == 3e-4


def test_the_newest_unfinished_run_of_the_same_config(smallest, tmp_path):
    config = smallest(*OVERRIDES)
    plan = build_plan(config)
    for name, settings in (("2026-01-01", config), ("2026-01-02", config), ("2026-01-03", smallest("seed=5"))):
        RunFolder(tmp_path / name).describe(settings, plan)
    wanted = config.model_dump(mode="json")
    assert newest_unfinished(tmp_path, wanted) == tmp_path / "2026-01-02"
    (tmp_path / "2026-01-02" / "records.json").write_text("[]")  # it has ended since
    assert newest_unfinished(tmp_path, wanted) == tmp_path / "2026-01-01"
    assert newest_unfinished(tmp_path, {**wanted, "seed": 9}) is None
    del wanted["nogan"]["pretrain"]["g1"]["epochs"]  # which the schema adds
    assert newest_unfinished(tmp_path, wanted) == tmp_path / "2026-01-01"


class FullDisk:
    free = 1000


def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "000-g1-0000002.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": torch.zeros(1000)}, path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: FullDisk)
    with pytest.raises(
        UserError,
        match=r"0\.0 MB free, 8\.0 MB needed\) for this checkpoint; the one before it is whole \(000-g1-0000002",
    ):
        AtomicCheckpointIO().save_checkpoint({"a": torch.zeros(2_000_000)}, path.with_name("000-g1-0000004.ckpt"))
    assert [file.name for file in path.parent.iterdir()] == [path.name] and not damage_of(path)


def test_a_write_that_fails_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    def fill_the_disk(checkpoint: Any, file: Path) -> None:
        file.write_bytes(b"half of it")
        monkeypatch.setattr("shutil.disk_usage", lambda _: FullDisk)
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(UserError, match=r"no room on the disk .* for this checkpoint; it would have been the first"):
        AtomicCheckpointIO().save_checkpoint({"a": torch.zeros(1000)}, tmp_path / "000-g1-0000002.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_fresh_run_does_not_mix_with_one_that_is_there(smallest, uncut):
    before = (uncut / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match=r"holds a run already: go on with it by resume=.*hydra\.run\.dir=DIR"):
        train(smallest(*OVERRIDES, "seed=7"), uncut, console=QUIET)
    assert (uncut / "metrics.csv").read_bytes() == before


HOLDER = """
import sys
from pathlib import Path
from nogan.common.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_is_at_a_run(smallest, tmp_path):
    config = smallest(*OVERRIDES)
    folder = tmp_path / "2026-01-01"
    RunFolder(folder).describe(config, build_plan(config))
    wanted = config.model_dump(mode="json")
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is using it"):
            train(smallest(*OVERRIDES, f"resume={folder}"), folder, console=QUIET)
        assert newest_unfinished(tmp_path, wanted) is None
        holder.kill()
    assert newest_unfinished(tmp_path, wanted) == folder, "the lock ends with its process, however that ends"
    with only_one(folder):
        pass
    assert not (folder / ".lock").exists()


def test_a_run_stays_held_when_its_own_process_asks(tmp_path):
    """As it does with resume=auto on several devices: the folder is looked up again for the other processes."""
    ask = (
        "import sys; from pathlib import Path; from nogan.common.lock import is_held; print(is_held(Path(sys.argv[1])))"
    )
    with only_one(tmp_path / "run"):
        assert not is_held(tmp_path / "run"), "by another"
        asked = subprocess.run([sys.executable, "-c", ask, str(tmp_path / "run")], capture_output=True, text=True)
        assert asked.stdout == "True\n"
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_to(smallest, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to: Not a directory"):
        train(smallest(), tmp_path / "file" / "run", console=QUIET)


def test_any_damage_to_a_checkpoint_is_found_and_none_is_a_crash(tmp_path):
    rng = np.random.default_rng(0)
    torch.save({"weights": torch.randn(10), "steps": 3}, tmp_path / "whole.ckpt")
    assert damage_of(tmp_path / "whole.ckpt") is None
    content = np.frombuffer((tmp_path / "whole.ckpt").read_bytes(), np.uint8)
    for _ in range(300):
        broken = content.copy()
        broken[rng.integers(0, len(content), 8)] = rng.integers(0, 256, 8)
        (tmp_path / "broken.ckpt").write_bytes(broken.tobytes())
        damage_of(tmp_path / "broken.ckpt")  # padding may be hit, which no checksum covers


def test_what_could_not_begin_leaves_no_folder(smallest, tmp_path):
    with pytest.raises(UserError, match="gives no batch"):
        train(smallest("nogan.pretrain.g1.batch_size=5000"), tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_that_goes_on_and_is_cut_is_found_again(smallest, uncut, cutting, tmp_path):
    shutil.copytree(uncut, tmp_path / "run")
    more = (*OVERRIDES, "nogan.repeats=2")
    cutting("on_train_epoch_start", final_state(uncut)["global_step"])  # at the first new phase
    with pytest.raises(Cut):
        train(smallest(*more, f"resume={tmp_path / 'run'}"), tmp_path / "run", console=QUIET)
    assert newest_unfinished(tmp_path, smallest(*more).model_dump(mode="json")) == tmp_path / "run"


def torn(content: bytes) -> bytes:
    return content + b"000,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26"


@pytest.mark.parametrize("damage", [None, torn, lambda c: bytes(len(c))])
def test_damaged_metrics_come_back_from_the_checkpoint(smallest, uncut, cut_run, caplog, damage):
    cut = cut_run(*WITHIN_GAN)
    file = cut / "metrics.csv"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    RunFolder(cut).metrics()  # which a report reads
    (cut / "plan.json").write_bytes(b"[{")  # which follows from the config
    train(smallest(*OVERRIDES, f"resume={cut}"), cut, console=QUIET)
    assert computed(uncut) == computed(cut)
    assert ("metrics.csv is damaged: its rows are restored" in caplog.text) == (damage is not torn)


def test_the_rows_that_a_checkpoint_counts_are_on_the_disk(tmp_path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    log = MetricsCSV(tmp_path / "metrics.csv")
    log.log_metrics({"loss": 1.0}, step=1)
    synced.clear()
    content = log.content()
    assert content.count(b"\n") == 2 and synced == [log.path.stat().st_ino]
    log.path.write_bytes(content[:-3])
    with pytest.raises(UserError, match="was changed while the run writes it: expected 1 rows"):
        log.content()


def test_damage_to_every_checkpoint_is_no_silent_new_start(smallest, uncut, tmp_path):
    shutil.copytree(uncut, tmp_path / "run")
    for path in newest_first(RunFolder(tmp_path / "run")):
        path.write_bytes(b"junk")
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match=r"all \d+ checkpoints are damaged"):
        train(smallest(*OVERRIDES, f"resume={tmp_path / 'run'}"), tmp_path / "run", console=QUIET)
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
