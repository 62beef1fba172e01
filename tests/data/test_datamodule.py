"""Batches as training gets them: which pictures, and what is drawn for each; on several ranks, and after a cut."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from nogan.common import color
from nogan.common.errors import UserError
from nogan.common.failures import explained
from nogan.common.rng import numpy_rng, torch_rng
from nogan.data import datamodule
from nogan.data.augment import NONE, AugmentConfig, augment
from nogan.data.bad_images import BadImages
from nogan.data.batches import Labeled, Pair
from nogan.data.datamodule import NoGANData, RawBatch, Reader, _deaths_heeded_later
from nogan.data.sources import split
from nogan.plan import Phase, build_plan
from nogan.runs.run_folder import RunFolder
from nogan.training.fake_maker import FakeMaker
from nogan.training.position import loader_start
from nogan.training.run import train
from tests.conftest import ROOT
from tests.styles import CRITIC, GENERATOR

CPU = torch.device("cpu")
# Augmentation in every phase, noise in two, several passes, and batches that two ranks cannot halve.
OVERRIDES = (
    "data.augment=true",
    "trainer.limit_batches=4",
    "nogan.pretrain.g1={batch_size:5,epochs:2}",
    "nogan.pretrain.g2.noise=true",
    "nogan.critic.phases.c1={batch_size:5,epochs:2}",
    "nogan.gan={batch_size:5,noise:true}",
)
PHASES = ("g1", "g2", "c1@1", "c2@1", "gan@1", "c2@2", "gan@2")
ONE_OF_A_KIND = ("g1", "g2", "c1@1", "gan@1")


def photograph(*keys: int) -> np.ndarray:
    """Colored blobs, uint8 RGB ``(48, 64, 3)``, without any symmetry."""
    noise = scipy.ndimage.gaussian_filter(numpy_rng("photograph", *keys).normal(size=(48, 64, 3)), (4, 4, 0))
    return (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


class Photographs:
    """200 of them, or one that stands at every index: what then tells two pictures apart was drawn for them."""

    def __init__(self, all_alike: bool = False) -> None:
        self.all_alike = all_alike

    def __len__(self) -> int:
        return 200

    def load(self, index: int, size: int) -> np.ndarray:
        return photograph(0 if self.all_alike else int(index))


class Colorizer(nn.Module):
    """Stands for the generator: gives back what it is given, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1)
        self.given: list[Tensor] = []

    def forward(self, gray: Tensor) -> Tensor:
        self.given.append(gray)
        return gray


@pytest.fixture
def data(smallest, tmp_path) -> Callable[..., NoGANData]:
    def built(*overrides: str, all_alike: bool = False) -> NoGANData:
        config = smallest(*OVERRIDES, *overrides)
        source = Photographs(all_alike)
        parts = split(source, config.seed, config.data.val_share, config.data.reals_share)
        plan, reader = build_plan(config), Reader(config.data.workers, BadImages(len(source), 0.0))
        maker = FakeMaker(config, Colorizer(), source, parts, reader, RunFolder(tmp_path), lambda done, count: None)
        return NoGANData(config, plan, source, parts, reader, maker, loader_start)

    return built


def at(data: NoGANData, name: str, rank: int = 0, world: int = 1, done: int = 0) -> Phase:
    """Let ``data`` have a trainer that stands in phase ``name``, ``done`` batches of which were trained on."""
    index = [phase.name for phase in data.plan].index(name)
    progress = SimpleNamespace(current=SimpleNamespace(ready=done))
    data.trainer = SimpleNamespace(
        should_stop=False,
        current_epoch=index,
        global_rank=rank,
        world_size=world,
        fit_loop=SimpleNamespace(
            epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=index)),
            epoch_loop=SimpleNamespace(batch_progress=progress),
            restarting=done > 0,
        ),
        strategy=SimpleNamespace(root_device=CPU),
        precision_plugin=SimpleNamespace(forward_context=contextlib.nullcontext),
    )
    data.fakes.setup(data.trainer, None, "fit")
    return data.plan[index]


def raw_batches(data: NoGANData, name: str, **where: int) -> Iterator[RawBatch]:
    at(data, name, **where)
    for batch in data.train_dataloader():
        yield data.transfer_batch_to_device(batch, CPU, 0)


def batches(data: NoGANData, name: str, **where: int) -> list[Pair | Labeled]:
    """All that training gets of phase ``name``, as ``where`` says where it stands."""
    return [data.on_after_batch_transfer(batch, 0) for batch in raw_batches(data, name, **where)]


def color_of(batch: Pair | Labeled) -> Tensor:
    return batch.images if isinstance(batch, Labeled) else batch.color


def noise_of(batch: Pair) -> Tensor:
    """What was added to the gray of ``batch``, in steps of a byte."""
    return 255 * (color.denormalize(batch.gray) - color.to_gray(color.denormalize(batch.color)))


def held(batch: Pair | Labeled) -> list[Tensor]:
    """The tensors of ``batch``; a pair has some only where its phase asks for them."""
    return [tensor for tensor in batch if tensor is not None]


def equal(some: Sequence[Pair | Labeled], others: Sequence[Pair | Labeled]) -> bool:
    both = zip(some, others, strict=True)
    return all(torch.equal(*tensors) for pair in both for tensors in zip(*map(held, pair), strict=True))


# --- what a batch depends on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_the_same_seed_phase_and_step_draw_the_same(data, name):
    first, other = (batches(data(f"seed={seed}", all_alike=True), name) for seed in (0, 1))
    torch.manual_seed(99)
    assert equal(first, batches(data(all_alike=True), name))
    assert not any(torch.equal(*map(color_of, pair)) for pair in zip(first, other, strict=True))


def test_nothing_is_drawn_twice(data):
    """Not for two pictures of a batch, two ranks, steps, passes or phases: all pictures come from one photograph."""
    alike = data(all_alike=True)
    seen: list[bytes] = []
    noises: list[bytes] = []
    for name in PHASES:
        for rank in range(2):
            for batch in batches(alike, name, rank=rank, world=2):
                seen += [picture.numpy().tobytes() for picture in color_of(batch)]
                if isinstance(batch, Pair) and alike.plan[PHASES.index(name)].noise:
                    noises += [noise.round().numpy().tobytes() for noise in noise_of(batch) if noise.abs().max() > 0.5]
    assert len(seen) == sum(phase.steps * phase.batch_size for phase in alike.plan)
    assert len(set(seen)) == len(seen)
    assert len(noises) > 30 and len(set(noises)) == len(noises)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_the_parts_of_two_ranks_are_the_batch_of_one(data, name):
    whole = batches(data(), name)
    parts = zip(*(batches(data(), name, rank=rank, world=2) for rank in range(2)), strict=True)
    together = [type(pair[0])(*map(torch.cat, zip(*map(held, pair), strict=True))) for pair in parts]
    assert equal(together, whole)
    assert len(whole[0][0]) == (4 if name == "g2" else 5)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_a_resumed_loader_goes_on_with_the_same_batches(data, name):
    whole = batches(data(), name)
    for done in range(1, len(whole)):
        assert equal(batches(data(), name, done=done), whole[done:])


@pytest.mark.parametrize("name", ["g1", "c1@1"])
def test_every_pass_is_an_order_of_its_own(data, name):
    whole = data("trainer.limit_batches=null")
    phase = at(whole, name)
    passes: list[list[int]] = [[], []]
    for step, picks in whole.train_dataloader().batch_sampler:
        passes[step * 2 // phase.steps] += [*picks]
    assert all(len(set(one)) == len(one) == phase.images for one in passes), "no picture twice in a pass"
    assert passes[0] != passes[1]


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "style"), [("g1", GENERATOR), ("g2", GENERATOR), ("c1@1", CRITIC), ("c2@2", CRITIC), ("gan@1", GENERATOR)]
)
def test_each_phase_has_its_own_augmentation(data, name, style):
    whole = data()
    for batch, raw in zip(batches(whole, name), raw_batches(whole, name), strict=True):
        size = whole.plan[PHASES.index(name)].size
        drawn = augment(raw.images, raw.sizes, size, style, torch_rng("augment", 0, 0, name, raw.step))
        assert torch.equal(color_of(batch), color.normalize(drawn))
    plain = data("data.augment=false")
    for batch, raw in zip(batches(plain, name), raw_batches(plain, name), strict=True):
        assert torch.equal(color_of(batch), color.normalize(augment(raw.images, raw.sizes, size, NONE)))


@pytest.mark.parametrize("name", ["g2", "gan@1"])
def test_noise_falls_on_gray_and_not_on_color(data, name):
    switches = ("nogan.pretrain.g2.noise", "nogan.gan.noise")
    noisy, clean = (batches(data(*(f"{key}={on}" for key in switches)), name) for on in (True, False))
    noise = torch.cat([noise_of(batch) for batch in noisy])
    for one, other in zip(noisy, clean, strict=True):
        assert torch.equal(one.color, other.color), "the target is clean, and its draw the same"
        assert noise_of(other).abs().max() < 1e-2
    torch.testing.assert_close(noise, noise.round(), atol=1e-2, rtol=0)
    torch.testing.assert_close(noise, noise[:, :1].expand_as(noise), atol=1e-2, rtol=0)
    touched = noise[noise.abs().amax(dim=(1, 2, 3)) > 0.5]
    assert 0.5 < len(touched) / len(noise) < 1
    assert touched.max() > 20 and touched.min() < -20


def test_fakes_are_made_from_clean_gray_without_augmentation(data):
    alike = data(all_alike=True)
    phase = at(alike, "c1@1")
    fakes = alike.fakes.ready(phase).open()
    pixels = torch.from_numpy(photograph(0)).permute(2, 0, 1)[None]
    gray = color.to_gray(augment(pixels, torch.tensor([[48, 64]]), phase.fakes_size, NONE))
    given = torch.cat(alike.fakes.generator.given)
    assert len(given) == len(fakes) == phase.fakes
    torch.testing.assert_close(color.denormalize(given), gray.expand_as(given))
    assert (np.abs(fakes - 255 * gray.numpy()) <= 0.501).all()
    assert alike.fakes.generator.training, "as it was before"


# --- all of it --------------------------------------------------------------------------------------------------------


def test_a_folder_of_photographs_goes_through_every_phase(smallest, tmp_path, monkeypatch):
    """Upright ones and lying ones, of several sizes, with augmentation and noise."""
    folder = tmp_path / "photographs"
    for number in range(80):
        pixels = photograph(number)[: 48 - number % 7]
        picture = Image.fromarray(pixels if number % 2 else pixels.swapaxes(0, 1))
        path = folder / f"album {number % 3}" / f"{number}.{'jpg' if number % 5 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.resize((picture.width * (1 + number % 4), picture.height * (1 + number % 4))).save(path)
    styles: dict[str, set[AugmentConfig]] = {}
    after = NoGANData.on_after_batch_transfer

    def watched(self: NoGANData, batch: RawBatch, dataloader_idx: int) -> Pair | Labeled:
        kind = self.plan[self.trainer.current_epoch].kind
        with monkeypatch.context() as patch:
            patch.setattr(datamodule, "augment", lambda *a: styles.setdefault(kind, set()).add(a[3]) or augment(*a))
            return after(self, batch, dataloader_idx)

    monkeypatch.setattr(NoGANData, "on_after_batch_transfer", watched)
    of_folder = ("data=folder", f"data.path={folder}", "data.images=null", "data.workers=1")
    noisy = ("nogan.pretrain.g2.noise=true", "nogan.gan.noise=true")
    config = smallest(*of_folder, *noisy, "nogan.gan.max_critic_steps=1")
    metrics = train(config, tmp_path / "run", console=Console(quiet=True))
    assert styles == {"generator": {GENERATOR}, "critic": {CRITIC}, "gan": {GENERATOR}}
    assert all(np.isfinite(value) for value in metrics.values())
    plan, records = build_plan(config, 80), json.loads((tmp_path / "run" / "records.json").read_text())
    assert [record["steps"] for record in records] == [phase.steps for phase in plan]
    assert records[-1]["generator_steps"] > 0


# --- workers ----------------------------------------------------------------------------------------------------------


class ByWhom(Photographs):
    """The process that loads a picture is written on it."""

    def load(self, index: int, size: int) -> np.ndarray:
        return np.full((32, 32, 3), np.frombuffer(os.getpid().to_bytes(4, "big"), np.uint8).sum() % 256, np.uint8)


def read(source: Photographs, count: int = 20) -> Iterator[RawBatch]:
    dataset = datamodule.PhotoBatches(source, np.arange(200), 32)
    return Reader(1, BadImages(200, 0.1)).in_order(dataset, [np.arange(4)] * count, CPU)


def test_workers_go_on_delivering_when_their_whole_process_group_is_told_to_stop():
    batches = read(ByWhom())
    first = next(batches)
    (worker,) = torch.multiprocessing.active_children()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        os.kill(worker.pid, signum)
    rest = list(batches)
    assert len(rest) == 19 and all(batch.images.equal(first.images) for batch in rest), "one worker made them all"
    worker.join(10)
    assert worker.exitcode == 0


def test_a_process_ends_though_its_loader_is_still_in_use():
    program = (
        "import numpy as np, torch\n"
        "from nogan.data.bad_images import BadImages\n"
        "from nogan.data.datamodule import PhotoBatches, Reader\n"
        "from nogan.data.scenes import Scenes\n"
        "dataset = PhotoBatches(Scenes(seed=0, length=200), np.arange(200), 32)\n"
        "batches = Reader(2, BadImages(200, 0.1)).in_order(dataset, [np.arange(4)] * 50, torch.device('cpu'))\n"
        "print(len(next(batches).images), flush=True)\n"
        "raise SystemExit(7)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (7, "4\n"), ran.stderr


def test_a_run_that_fails_leaves_no_workers(damaged, smallest, tmp_path):
    config = smallest(
        "data=folder", f"data.path={damaged}", "data.images=null", "data.workers=1", "data.max_bad_share=0"
    )
    with pytest.raises(UserError, match="max_bad_share") as error:
        train(config, tmp_path / "run", console=Console(quiet=True))
    assert error.traceback and not torch.multiprocessing.active_children()


def test_a_worker_that_dies_as_others_start_is_an_error_after_that():
    def died(*_: object) -> None:
        raise RuntimeError("a worker is killed")

    before = signal.signal(signal.SIGCHLD, died)
    started = False
    try:
        with pytest.raises(RuntimeError, match="a worker is killed"), _deaths_heeded_later():
            subprocess.run([sys.executable, "-c", ""], check=True, timeout=60)
            started = True
        assert signal.getsignal(signal.SIGCHLD) is died
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert started, "the error came in the middle of it"


def test_shared_memory_that_is_too_small_is_an_error_and_not_a_wait_without_end(monkeypatch):
    def full(tensor: Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(Tensor, "share_memory_", full)
    with pytest.raises(RuntimeError) as error:
        list(read(Photographs()))
    assert "--shm-size" in str(explained(error.value)) and "data.workers=0" in str(explained(error.value))


def test_shared_memory_that_does_not_hold_even_the_locks_is_said_in_one_line(smallest, tmp_path, monkeypatch):
    monkeypatch.setattr("nogan.data.datamodule.SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096, total=10**12))
    monkeypatch.setattr("nogan.training.run.check_disk", lambda *_: None)
    with pytest.raises(
        UserError, match=r"shm-size=8g, or set data\.workers=0\nto go on"
    ):  # not what Lightning makes of it
        train(smallest("data.workers=1", "nogan.repeats=0"), tmp_path / "run", console=Console(quiet=True))
