"""What goes wrong in training: bad numbers, too little memory, data that disappears."""

import errno
import json
import math
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from rich.console import Console
from safetensors import SafetensorError

import nogan.training.build
import nogan.training.run
from nogan.common.errors import UserError
from nogan.common.failures import explained, naming_out_of_memory
from nogan.common.files import DiskFull, write_atomically
from nogan.data.batches import Labeled
from nogan.data.datamodule import NoGANData, Reader
from nogan.data.fakes import FakeStore
from nogan.evaluation import metrics
from nogan.evaluation.metrics import failing_as
from nogan.networks import build_critic
from nogan.runs import checksums
from nogan.training.callbacks import probe
from nogan.training.modules import GeneratorModule
from nogan.training.modules.step import Safeguard, accumulate, held_power_iteration, parts_of
from nogan.training.run import train
from tests.metrics import computed

QUIET = Console(quiet=True)


@pytest.fixture
def poison(monkeypatch):
    """``poison({3, 4})``: the generator's loss at these calls (from 1) is not finite, its input and statistics too."""

    def arrange(calls: set[int]) -> list[int]:
        loss, count = GeneratorModule.pretrain_loss, [0]

        def poisoned(self: Any, batch: Any) -> Any:
            count[0] += 1
            if count[0] in calls:
                batch = type(batch)(batch.gray * float("nan"), batch.color)
            return loss(self, batch)

        monkeypatch.setattr(GeneratorModule, "pretrain_loss", poisoned)
        return count

    return arrange


def generator_after(folder: Path, phase: str) -> dict[str, torch.Tensor]:
    state = torch.load(next((folder / "checkpoints").glob(f"*-{phase}-end.ckpt")), weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("generator.")}


def test_a_bad_batch_is_skipped_counted_and_leaves_no_trace(smallest, tmp_path, poison):
    poison({3, 4})
    train(smallest("nogan.repeats=0", "trainer.limit_batches=6"), tmp_path, console=QUIET)
    after = generator_after(tmp_path, "g1")
    assert all(torch.isfinite(tensor).all() for tensor in after.values() if tensor.is_floating_point())
    last = (tmp_path / "metrics.csv").read_text().splitlines()
    column = last[0].split(",").index("nogan/bad_batches")
    assert last[-1].split(",")[column] == "2"


@pytest.mark.parametrize(
    ("loss", "gradient", "checked", "went_well"),
    [
        (0.7, 1.0, True, True),
        (math.nan, 1.0, True, False),
        (0.7, math.inf, True, False),
        (0.7, math.inf, False, True),  # a gradient scaler looks after it
        (math.inf, 1.0, False, False),
    ],
)
def test_the_verdict_on_a_batch_comes_with_its_metrics(loss, gradient, checked, went_well):
    network = torch.nn.Linear(2, 1)
    network.weight.grad = torch.full_like(network.weight, gradient)
    metrics = {"loss": torch.tensor(loss), "accuracy": torch.tensor(0.1)}
    verdict, fetched = Safeguard(network).fetch(metrics, check_gradients=checked)
    assert verdict is went_well
    assert list(fetched) == ["loss", "accuracy"]
    torch.testing.assert_close(fetched, metrics, rtol=0, atol=0, equal_nan=True)


def test_too_many_go_back_once_and_then_on(smallest, tmp_path, poison, capsys):
    poison(set(range(4, 8)))  # four in a row: more than the two allowed; the repetition is clean
    overrides = ("nogan.repeats=0", "trainer.limit_batches=6", "trainer.max_bad_batches=2")
    overrides = (*overrides, "trainer.checkpoint_every_n_batches=2")
    train(smallest(*overrides), tmp_path, console=Console(width=200))
    assert "3 batches in a row had a loss or gradient that is not finite, in pretrain g1" in capsys.readouterr().out
    assert json.loads((tmp_path / "records.json").read_text())[-1]["name"] == "gan@1"


def test_and_stop_when_that_did_not_help(smallest, tmp_path, poison):
    poison(set(range(4, 1000)))
    config = smallest("nogan.repeats=0", "trainer.limit_batches=9", "trainer.max_bad_batches=2")
    where, why = r"in pretrain g1 · 32 px, up to batch \d+ \(last losses: nan", "going back did not help"
    with pytest.raises(UserError, match=f"{where}.*{why}"):
        train(config, tmp_path, console=QUIET)


def test_what_was_skipped_is_counted_on_after_a_resumption(smallest, tmp_path, poison, monkeypatch):
    """The metrics are those of a run that was not cut, and so is the moment to give up."""
    often = ("nogan.repeats=0", "trainer.limit_batches=6", "trainer.checkpoint_every_n_batches=1")
    often = (*often, "trainer.limit_epochs=1", "nogan.critic.phases.c2=null")
    poison({2, 5})
    train(smallest(*often), tmp_path / "whole", console=QUIET)
    build, counted = nogan.training.run.build_run, poison({2, 5})

    class Cut(Exception):
        pass

    class CutAt(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 4:
                raise Cut

    def built(*args):
        run = build(*args)
        run.trainer.callbacks.append(CutAt())
        return run

    with monkeypatch.context() as patch:
        patch.setattr(nogan.training.run, "build_run", built)
        with pytest.raises(Cut):
            train(smallest(*often), tmp_path / "cut", console=QUIET)
    counted[0] = 4
    train(smallest(*often, f"resume={tmp_path / 'cut'}"), tmp_path / "cut", console=QUIET)
    assert computed(tmp_path / "cut") == computed(tmp_path / "whole")


def test_going_back_passes_over_weights_that_were_spoilt_before_the_first_bad_batch(smallest, tmp_path, monkeypatch):
    """A checkpoint in every batch: the one after the spoiling is whole, and good for nothing."""
    loss, count = GeneratorModule.pretrain_loss, [0]

    def spoiling(self: Any, batch: Any) -> Any:
        count[0] += 1
        if count[0] == 5:
            with torch.no_grad():
                next(self.network.parameters()).fill_(float("nan"))
        return loss(self, batch)

    monkeypatch.setattr(GeneratorModule, "pretrain_loss", spoiling)
    often = ("trainer.limit_batches=8", "trainer.checkpoint_every_n_batches=1", "trainer.max_bad_batches=2")
    train(smallest(*often, "nogan.repeats=0"), tmp_path, console=QUIET)
    assert all(t.isfinite().all() for t in generator_after(tmp_path, "g1").values() if t.is_floating_point())
    assert count[0] > 2 * 8, "it went back"


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_names_the_phase_and_what_to_lower(smallest, tmp_path, monkeypatch, error):
    def no_memory(*_: Any) -> None:
        raise error

    monkeypatch.setattr(nogan.training.build.CriticModule, "pretrain_loss", no_memory)
    with pytest.raises(UserError) as shown:
        train(smallest(), tmp_path, console=QUIET)
    assert "out of memory in cycle 1 · critic c1 · 32 px, at 32 px with batches of 4 in 1 part(s)" in str(shown.value)
    assert "lower nogan.critic.phases.c1.batch_size" in str(shown.value) and "trainer.accumulate=2" in str(shown.value)


def no_memory(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_in_the_optimizers_step_is_that_of_its_phase(smallest, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", no_memory)
    with pytest.raises(UserError, match=r"memory in pretrain g1 · 32 px, .* lower nogan\.pretrain\.g1\.batch_size"):
        train(smallest(), tmp_path, console=QUIET)


def test_out_of_memory_in_making_the_fakes_names_their_batch_size(smallest, tmp_path, monkeypatch):
    monkeypatch.setattr(Reader, "squares", no_memory)
    monkeypatch.setattr(NoGANData, "probe_photographs", lambda self, count, size: torch.rand(count, 3, size, size))
    with pytest.raises(UserError, match=r"memory in the fakes .* 32 px .* lower nogan\.critic\.fakes\.batch_size"):
        train(smallest(), tmp_path, console=QUIET)


def test_out_of_memory_in_the_probe_names_its_batch_size(smallest, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "colorize", no_memory)
    with pytest.raises(UserError, match=r"memory in the probe's pictures, at 32 px in .* lower probe\.batch_size"):
        train(smallest(), tmp_path, console=QUIET)


def test_a_metric_that_fails_is_named_with_the_moment(smallest, tmp_path, monkeypatch):
    def fail(*_: Any) -> None:
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(metrics.ChromaFrechet, "compute", fail)
    with pytest.raises(UserError) as shown:
        train(smallest(), tmp_path, console=QUIET)
    first, hint = str(shown.value).splitlines()
    assert first == "metric chroma_fd failed: LinAlgError: no convergence; in pretrain g1 · 32 px, batch 0"
    assert hint.startswith("to go on: nogan train resume=")


def test_a_generator_whose_pictures_are_not_finite_is_not_silent(smallest, tmp_path, monkeypatch, caplog):
    """What is measured of them is no number; it neither ends the run nor names an inflection point."""
    colorize = probe.colorize
    monkeypatch.setattr(probe, "colorize", lambda *given: colorize(*given) * float("nan"))
    values = train(smallest("nogan.repeats=0"), tmp_path, console=QUIET)
    assert np.isnan(values["val/chroma_fd"]) and np.isnan(values["val/psnr"])
    assert (
        "pretrain g1 · 32 px, batch 0: the generator's held-out pictures have values that are not finite" in caplog.text
    )


def test_a_grid_that_cannot_be_written_stops_nothing(smallest, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", no_room)
    train(smallest("nogan.repeats=0"), tmp_path, console=QUIET)
    assert (tmp_path / "records.json").is_file()
    assert "no grid of samples: " in caplog.text


def test_trouble_with_tensorboard_stops_nothing(smallest, tmp_path, caplog, monkeypatch):
    pytest.importorskip("tensorboard", reason='needs the tensorboard extra: pip install -e ".[tensorboard]"')
    from torch.utils.tensorboard import SummaryWriter

    def gone(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(SummaryWriter, "add_scalar", gone)
    train(smallest("nogan.repeats=0", "logger=tensorboard"), tmp_path, console=QUIET)
    assert (tmp_path / "records.json").is_file()
    assert caplog.text.count("TensorBoard: [Errno 5] Input/output error. The run goes on without it") == 1


def no_room(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def safetensors_without_room(*_: Any, **__: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_full_disk_travels_between_processes_and_a_quota_is_called_one(tmp_path):
    def no_quota(path: Path) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with pytest.raises(DiskFull, match=r"no room on the disk \(the quota is used up\)") as shown:
        write_atomically(tmp_path / "file", no_quota)
    again = pickle.loads(pickle.dumps(shown.value))
    assert type(again) is DiskFull and again.filename == str(tmp_path / "file") and not list(tmp_path.iterdir())


def test_fakes_made_anew_need_no_room_beside_the_old(tmp_path, monkeypatch):
    def colorize(batches: list[np.ndarray]) -> Any:
        return (torch.zeros(len(numbers), 3, 8, 8) for numbers in batches)

    store = FakeStore(tmp_path, 100, 8)
    store.fill(colorize, "one", 10)
    size = (tmp_path / "fakes.npy").stat().st_size

    def usage(_: Any) -> SimpleNamespace:
        return SimpleNamespace(free=1.5 * size - sum(file.stat().st_size for file in tmp_path.iterdir()))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    store.fill(colorize, "another", 10)
    assert store.done("another") == 100


def test_memory_that_runs_out_in_a_metric_or_in_a_data_worker_is_told_apart():
    with (
        pytest.raises(UserError, match="out of memory in the probe: lower it"),
        naming_out_of_memory("the probe", "lower it"),
        failing_as("psnr"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    of_worker = MemoryError("Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback …\nMemoryError")
    with pytest.raises(MemoryError), naming_out_of_memory("the fakes", "lower it"):
        raise of_worker
    assert "a data worker died (MemoryError)" in str(explained(of_worker))


@pytest.mark.parametrize(
    ("where", "what", "fails", "named"),
    [
        ("safetensors.torch", "save_file", safetensors_without_room, r"gan@1/step-000000\.safetensors"),
        ("nogan.data.fakes.np.lib.format", "open_memmap", no_room, r"fakes/cycle-1/fakes\.npy"),
        ("nogan.training.loggers.csv.DictWriter", "writerow", no_room, r"metrics\.csv"),
    ],
)
def test_a_full_disk_is_named_with_what_is_free_and_how_to_go_on(
    smallest, tmp_path, monkeypatch, where, what, fails, named
):
    if what == "save_file":  # else the generator's export is the first
        monkeypatch.setattr(nogan.training.build.Exports, "on_train_epoch_end", lambda *_: None)
    monkeypatch.setattr(f"{where}.{what}", fails)
    with pytest.raises(
        UserError, match=rf"{named}: no room on the disk \(\d+\.\d+ [GM]B free.*\nto go on: .*train.* resume="
    ) as shown:
        train(smallest("nogan.repeats=0"), tmp_path, console=QUIET)
    assert len(str(shown.value).splitlines()) == 2


def test_a_full_disk_at_the_very_end_is_named_and_the_run_ends_when_it_is_resumed(smallest, tmp_path, monkeypatch):
    write = checksums.write_atomically

    def full(path: Path, do: Any) -> None:
        write(path, no_room if path.name == "records.json" else do)

    with monkeypatch.context() as patch:
        patch.setattr(checksums, "write_atomically", full)
        with pytest.raises(UserError, match=r"records\.json: no room on the disk .*\nto go on: .*train.* resume="):
            train(smallest("nogan.repeats=0"), tmp_path, console=QUIET)
    train(smallest("nogan.repeats=0", f"resume={tmp_path}"), tmp_path, console=QUIET)
    assert json.loads((tmp_path / "records.json").read_text())[-1]["name"] == "gan@1"


def test_accumulated_gradients_equal_those_of_the_whole_batch():
    images = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = Labeled(images, (torch.arange(7) % 2).float())

    def gradients(count: int) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        critic = nogan.training.build.CriticModule(build_critic(8, doublings=2, dropout=0.0, seed=3)).train()
        metrics = accumulate(batch, count, critic.network, critic.pretrain_loss, lambda loss: loss.backward())
        return [parameter.grad for parameter in critic.parameters()], metrics

    whole, metrics = gradients(1)
    for count in (2, 3, 7, 20):
        split, split_metrics = gradients(count)
        for one, other in zip(whole, split, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert split_metrics["loss"].item() == pytest.approx(metrics["loss"].item(), rel=1e-5)
        assert split_metrics["accuracy"].item() == pytest.approx(metrics["accuracy"].item())


def test_parts_cover_the_batch_in_order():
    batch = Labeled(torch.arange(5.0).view(5, 1, 1, 1), torch.arange(5.0))
    parts = parts_of(batch, 2)
    assert [len(part.images) for part in parts] == [3, 2]
    assert torch.equal(torch.cat([part.is_real for part in parts]), batch.is_real)


def test_held_power_iteration_moves_nothing_and_is_let_go():
    critic = build_critic(8, doublings=2).train()
    before = {name: buffer.clone() for name, buffer in critic.named_buffers()}
    with held_power_iteration(critic, True):
        critic(torch.randn(1, 3, 32, 32))
    assert all(torch.equal(buffer, before[name]) for name, buffer in critic.named_buffers())
    critic(torch.randn(1, 3, 32, 32))
    assert any(not torch.equal(buffer, before[name]) for name, buffer in critic.named_buffers())


def test_a_run_with_accumulation(smallest, tmp_path):
    metrics = train(smallest("nogan.repeats=0", "trainer.accumulate=2"), tmp_path, console=QUIET)
    assert np.isfinite(metrics["val/psnr"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_that_vanishes_is_named(smallest, tmp_path, workers):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        pixels = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photographs / f"{number}.png")
    config = smallest("data=folder", f"data.path={photographs}", "data.images=null", f"data.workers={workers}")
    build = nogan.training.run.build_run

    def build_and_remove(*args: Any) -> Any:
        built = build(*args)
        shutil.rmtree(photographs)
        return built

    nogan.training.run.build_run = build_and_remove
    try:
        with pytest.raises(UserError) as error:
            train(config, tmp_path / "run", console=QUIET)
    finally:
        nogan.training.run.build_run = build
    assert "data.path" in str(error.value)
    assert "Traceback" not in str(error.value) and len(str(error.value).splitlines()) == 2


def test_a_dead_data_worker_is_named():
    error = RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")
    assert "a data worker died (DataLoader worker (pid 4711) is killed by signal: Killed)" in str(explained(error))
    assert explained(RuntimeError("shape mismatch")) is None


def test_a_data_worker_that_dies_while_a_metric_is_computed_is_no_fault_of_the_metric():
    """PyTorch tells it in a signal's handler: the error comes out of whatever runs just then."""
    with pytest.raises(RuntimeError, match="DataLoader worker") as error, failing_as("scale_variation"):
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")
    assert "a data worker died" in str(explained(error.value))


def test_what_was_explained_with_the_way_to_go_on_is_not_explained_again():
    told = UserError(
        f"{explained(RuntimeError('DataLoader worker (pid 4711) is killed by signal: Killed.'))}\nto go on: …"
    )
    assert explained(told) is told


def test_a_users_mistake_in_a_data_worker_keeps_all_its_lines():
    text = "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (…):\n"
    assert str(explained(UserError(f"{text}nogan.common.errors.UserError: one\ntwo"))) == "one\ntwo"
