"""Batches of each phase: of its kind, at its size, from its share of the data.

Which images a batch holds is a pure function of (seed, phase, step). Workers deliver uint8 pictures; normalization,
augmentation and the making of gray happen on the device, once, for input and target together.
"""

import atexit
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from nogan.common import color, distributed
from nogan.common.failures import too_little_shared_memory
from nogan.common.rng import Key, numpy_rng, torch_rng
from nogan.data.augment import NONE, AugmentConfig, add_noise, augment, draw
from nogan.data.bad_images import BadImages
from nogan.data.batches import Labeled, Pair
from nogan.data.cutouts import Cutouts
from nogan.data.fakes import FakeStore
from nogan.data.sources import Source, Split, load_batch, shuffled, subset
from nogan.networks.movement import move, movements
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, Phase, Plan
from nogan.plan.config import RunConfig

SHARED_MEMORY = Path("/dev/shm")
LOCKS = 64 * 1024  # bytes of it that the locks and semaphores of a worker may take
READ_AT_ONCE = 16  # batch size of pictures that are only measured


class RawBatch(NamedTuple):
    """What a worker delivers: RGB uint8 ``(B, 3, h, w)``, padded to the largest, and each picture's own ``(h, w)``."""

    images: Tensor
    sizes: Tensor
    is_real: Tensor  # (B,) in a critic phase, else empty
    step: int
    photographs: int  # the rest are fakes
    bad: list[str]  # photographs that could not be read and were replaced


class StepSampler:
    """The batches of a phase as ``(step, picks)``, from ``start`` on; ``picks`` are this rank's part of the batch.

    Every pass over ``pool`` is a new keyed permutation; the last partial batch is dropped.
    """

    def __init__(
        self, pool: int, phase: Phase, keys: tuple[Key, ...], start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.pool, self.phase, self.keys, self.start = pool, phase, keys, start
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.phase.steps

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        size, per_epoch = self.phase.batch_size, self.phase.steps // self.phase.epochs
        for step in range(self.start, self.phase.steps):
            epoch, batch = divmod(step, per_epoch)
            if batch == 0 or step == self.start:
                order = numpy_rng("order", *self.keys, epoch).permutation(self.pool)
                if self.pool < per_epoch * size:  # photographs have gone since the plan was made: others come again
                    order = np.resize(order, per_epoch * size)
            whole = order[batch * size : (batch + 1) * size]
            yield step, whole[distributed.part(size, self.rank, self.world)]


class PhotoBatches(Dataset[RawBatch]):
    """Photographs; an item is a whole batch, ``(step, picks)`` out of ``indices``.

    Args:
        source: of the photographs.
        indices: those of this phase.
        size: that the phase needs.
        cutouts: are composed onto them, another at each step; None for none.
    """

    def __init__(self, source: Source, indices: np.ndarray, size: int, cutouts: Cutouts | None = None) -> None:
        self.source, self.indices, self.size, self.cutouts = source, indices, size, cutouts

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, item: tuple[int, np.ndarray]) -> RawBatch:
        step, picks = item
        images, sizes, bad = load_batch(self.source, self.indices[picks], self.size, pool=self.indices)
        if self.cutouts:
            for image, (height, width), pick in zip(images, sizes.tolist(), picks.tolist(), strict=True):
                self.cutouts.paste(image[:, :height, :width].permute(1, 2, 0).numpy(), step, pick)
        return RawBatch(images, sizes, torch.empty(0), step, len(picks), bad)


class CriticBatches(Dataset[RawBatch]):
    """Photographs and fakes for the critic, in equal numbers; an item is a whole batch.

    Picks below the number of fakes are fakes, the rest photographs, which go through the same resize as the fakes did.

    Args:
        source: of the photographs.
        reals: indices of photographs to choose from; a small pool is gone through more than once.
        store: of the fakes.
        fakes: numbers of the fakes in it.
        keys: of the order of the photographs.
    """

    def __init__(
        self, source: Source, reals: np.ndarray, store: FakeStore, fakes: np.ndarray, keys: tuple[Key, ...]
    ) -> None:
        self.source, self.store, self.fakes = source, store, fakes
        self.pictures: np.ndarray | None = None
        rounds = -(-len(fakes) // len(reals))
        shuffled = [numpy_rng("reals", *keys, turn).permutation(reals) for turn in range(rounds)]
        self.reals = np.concatenate(shuffled)[: len(fakes)]

    def __len__(self) -> int:
        return 2 * len(self.fakes)

    def __getitems__(self, item: tuple[int, np.ndarray]) -> RawBatch:
        if self.pictures is None:
            self.pictures = self.store.open()  # in the worker: a memory map is not sent through a pipe
        step, picks = item
        is_real = picks >= len(self.fakes)
        size = self.store.size
        images = torch.empty(len(picks), 3, size, size, dtype=torch.uint8)
        images[torch.from_numpy(~is_real)] = torch.from_numpy(self.pictures[self.fakes[picks[~is_real]]])
        bad: list[str] = []
        if is_real.any():
            numbers = self.reals[picks[is_real] - len(self.fakes)]
            photographs, sizes, bad = load_batch(self.source, numbers, size, pool=self.reals)
            squares = augment(photographs, sizes, size, NONE)
            images[torch.from_numpy(is_real)] = squares.mul(255).round().to(torch.uint8)
        sizes = torch.full((len(picks), 2), size)
        return RawBatch(images, sizes, torch.from_numpy(is_real).float(), step, int(is_real.sum()), bad)


def _shared(batch: RawBatch) -> RawBatch:
    """``batch``, in shared memory if a worker has made it.

    The worker's queue would do the same later. But there, too little shared memory loses the batch without an error,
    and training waits for it forever.
    """
    if get_worker_info() is not None:
        for tensor in (batch.images, batch.sizes, batch.is_real):
            tensor.share_memory_()
    return batch


class Loader(DataLoader[RawBatch]):
    """Starts workers that end with this process, and that signals to the whole process group do not stop.

    A terminal, systemd and most schedulers stop a run by a signal to all of its processes. The training process then
    saves, and its workers must deliver until it has.
    """

    def __iter__(self) -> Any:
        """The batches; starts the workers.

        Raises:
            UserError: there is not even shared memory for their locks.
        """
        if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < self.num_workers * LOCKS:
            raise too_little_shared_memory()
        with _deaths_heeded_later():
            with _signals_held_back():
                batches = super().__iter__()
            # Within, so that those of a start that another one's death ends are known, too.
            _workers.update(getattr(batches, "_workers", ()))
            # At exit, the function that was registered last runs first: before multiprocessing's own, which would send
            # the workers a SIGTERM and wait for them forever.
            atexit.unregister(end_workers)
            atexit.register(end_workers)
        return batches


_workers: WeakSet[Any] = WeakSet()


def end_workers() -> None:
    """End the workers whose loader is still in use, as after an exception in its loop, which holds it in its traceback.

    They hold memory and copies of this process's pipes, and what reads from those waits for their ends.
    """
    for worker in list(_workers):
        with suppress(AssertionError):  # another process's, if this one was forked
            if worker.is_alive():
                worker.kill()
                worker.join()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Block signals: processes started within the context never receive them, this process receives them afterward."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _deaths_heeded_later() -> Iterator[None]:
    """Let PyTorch's handler of dead workers raise its error after the context; within a fork it would be lost."""
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    missed: list[tuple[int, FrameType | None]] = []

    def note(signum: int, frame: FrameType | None) -> None:
        missed.append((signum, frame))

    signal.signal(signal.SIGCHLD, note)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGCHLD) is note:
            signal.signal(signal.SIGCHLD, handler)
    if missed:
        handler(*missed[0])


class Fakes(Protocol):
    """Gives the loader the critic's fakes; the loader does not know how they are made."""

    def store(self, phase: CriticPhase) -> FakeStore:
        """The store of the fakes for the cycle of ``phase``, filled or not."""

    def ready(self, phase: CriticPhase) -> FakeStore:
        """The same store, filled. Called on every rank."""


class Reader:
    """Reads pictures in order, other than training batches, and notes those that cannot be read.

    Args:
        workers: processes that load.
        bad_images: counts the photographs that cannot be read.
    """

    def __init__(self, workers: int, bad_images: BadImages) -> None:
        self.workers, self.bad_images = workers, bad_images

    def squares(
        self, source: Source, indices: np.ndarray, batches: list[np.ndarray], size: int, device: torch.device
    ) -> Iterator[Tensor]:
        """Photographs resized and cropped to ``(B, 3, size, size)`` in [0, 1] on ``device``, batch by batch.

        A batch is positions in ``indices``. A photograph that cannot be read is replaced by another of ``indices``, the
        same on every rank and at every read.
        """
        for batch in self.in_order(PhotoBatches(source, indices, size), batches, device):
            yield augment(batch.images.to(device, non_blocking=True), batch.sizes, size, NONE)

    def in_order(
        self, dataset: "PhotoBatches | CriticBatches", batches: list[np.ndarray], device: torch.device
    ) -> Iterator[RawBatch]:
        """The ``batches`` of ``dataset``, as workers deliver them."""
        for batch in _loader(dataset, list(enumerate(batches)), self.workers, device):
            self.bad_images.note(batch.bad, batch.photographs)
            yield batch


def _loader(
    dataset: "PhotoBatches | CriticBatches",
    batches: "StepSampler | list[tuple[int, np.ndarray]]",
    workers: int,
    device: torch.device,
    prefetch: int | None = None,
) -> DataLoader[RawBatch]:
    return Loader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]  # its items are whole batches: (step, picks), not indices
        collate_fn=_shared,  # type: ignore[arg-type]  # gets a whole batch, not a list of items
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        pin_memory=device.type == "cuda",
    )


class NoGANData(pl.LightningDataModule):
    """The data of a whole run.

    Args:
        config: the run's configuration.
        plan: its phases; Lightning's epoch number says which is on.
        source: every photograph.
        split: which are for training, for the critic alone, and held out.
        reader: reads pictures other than training batches.
        fakes: the critic's.
        start: the phase (number in the plan) and the batch that the next loader begins with.
        held_out: where the held-out photographs come from, if not from ``source``.
    """

    def __init__(
        self,
        config: RunConfig,
        plan: Plan,
        source: Source,
        split: Split,
        reader: Reader,
        fakes: Fakes,
        start: Callable[[pl.Trainer, Plan], tuple[int, int]],
        held_out: Source | None = None,
    ) -> None:
        super().__init__()
        self.config, self.plan, self.source, self.split = config, plan, source, split
        self.reader, self.fakes, self.start, self.held_out = reader, fakes, start, held_out
        self.bad_images = reader.bad_images
        self.styles = {name: AugmentConfig(**dict(style)) for name, style in config.nogan.augment}

    @property
    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None  # Lightning sets it before any of its hooks
        return self.trainer

    @property
    def _device(self) -> torch.device:
        return self._trainer.strategy.root_device

    def train_dataloader(self) -> DataLoader[RawBatch]:
        """The loader of the phase that is on, from the batch on that a resumed run has not yet seen."""
        index, done = self.start(self._trainer, self.plan)
        phase = self.plan[index]
        keys = (self.config.seed, phase.name)
        dataset: PhotoBatches | CriticBatches
        if isinstance(phase, CriticPhase):
            dataset = self._critic_batches(phase, self.fakes.ready(phase), keys)
        else:
            indices = subset(self.split.train, phase.share, *keys)
            dataset = PhotoBatches(self.source, indices, phase.size, self._cutouts(*keys))
        sampler = StepSampler(len(dataset), phase, keys, done, self._trainer.global_rank, self._trainer.world_size)
        return _loader(dataset, sampler, self.config.data.workers, self._device, prefetch=4)

    def _cutouts(self, *keys: Key) -> Cutouts | None:
        data = self.config.data
        return Cutouts(data.cutouts, data.cutouts_share, *keys) if data.cutouts else None

    def transfer_batch_to_device(self, batch: RawBatch, device: torch.device, dataloader_idx: int) -> RawBatch:
        """Move the pictures; their sizes stay on the CPU, so that augmentation need not fetch them from a device."""
        images = batch.images.to(device, non_blocking=True)
        return batch._replace(images=images, is_real=batch.is_real.to(device, non_blocking=True))

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int) -> Pair | Labeled:
        """Augment on the device, and make gray of color."""
        if not batch.images.is_cuda:
            return self._augmented(batch)
        with _one_thread():
            return self._augmented(batch)

    def _augmented(self, batch: RawBatch) -> Pair | Labeled:
        phase = self.plan[self._trainer.current_epoch]
        self.bad_images.note(batch.bad, batch.photographs)
        self.bad_images.heed()
        # Drawn for the whole batch, of which each rank takes its part: how a picture is augmented does not depend on
        # the number of devices. (The 0 stands for a rank, as if rank zero drew alone.)
        keys = (self.config.seed, 0, phase.name, batch.step)
        mine = distributed.part(phase.batch_size, self._trainer.global_rank, self._trainer.world_size)
        trained = "critic" if isinstance(phase, CriticPhase) else "generator"
        style = self.styles[trained] if self.config.data.augment else NONE
        draws = draw(phase.batch_size, style, torch_rng("augment", *keys)).part(mine)
        images = augment(batch.images, batch.sizes, phase.size, style, draws)
        images = images.contiguous(memory_format=torch.channels_last)
        if isinstance(phase, CriticPhase):
            return Labeled(color.normalize(images), batch.is_real)
        gray = color.to_gray(images)
        if isinstance(phase, GeneratorPhase | GANPhase) and phase.noise:
            gray = add_noise(gray, [torch_rng("noise", *keys, image) for image in range(phase.batch_size)[mine]])
        return self._conditioned(Pair(color.normalize(gray), color.normalize(images)), gray, phase, keys, mine)

    def _conditioned(self, pair: Pair, gray: Tensor, phase: Phase, keys: tuple[Key, ...], mine: slice) -> Pair:
        """``pair`` with a moved gray and a vividness, where the recipe has them; drawn for the whole batch, too."""
        how = self.config.nogan.consistency
        if how is not None and how.weight > 0:
            draws = torch.rand(phase.batch_size, 4, generator=torch_rng("consistency", *keys), dtype=torch.float64)
            movement = movements(draws[mine], shift=how.shift, rotate=how.rotate, zoom=how.zoom)
            rngs = [torch_rng("consistency noise", *keys, image) for image in range(phase.batch_size)[mine]]
            noise = torch.stack([torch.randn(1, phase.size, phase.size, generator=rng) for rng in rngs])
            moved = move(gray, movement) + how.noise * noise.to(gray.device, non_blocking=True)
            pair = pair._replace(moved_gray=color.normalize(moved), movement=movement.to(gray.device).float())
        if isinstance(phase, GANPhase) and self.config.model.vividness is not None:
            drawn = self.config.nogan.gan.vividness
            u = torch.rand(phase.batch_size, generator=torch_rng("vividness", *keys), dtype=torch.float64)[mine]
            between = (u - drawn.at_zero) / max(1 - drawn.at_zero - drawn.at_one, torch.finfo(u.dtype).eps)
            pair = pair._replace(vividness=between.clamp(0, 1).float().to(gray.device))
        return pair

    def probe_photographs(self, count: int, size: int) -> Tensor:
        """The first ``count`` held-out photographs as RGB ``(N, 3, size, size)`` in [0, 1]: always the same."""
        source = self.held_out or self.source
        indices = np.arange(len(source)) if self.held_out else self.split.val
        chosen = indices[:count]
        batches = np.array_split(np.arange(len(chosen)), -(-len(chosen) // READ_AT_ONCE))
        return torch.cat(list(self.reader.squares(source, chosen, batches, size, torch.device("cpu"))))

    def critic_held_out(self, phase: CriticPhase) -> Iterator[Labeled]:
        """The pictures that the critic never trains on, at the size of ``phase``, on the device, batch by batch."""
        if not phase.held_out:
            return
        dataset = self._critic_batches(phase, self.fakes.store(phase), (), held_out=True)
        batches = np.array_split(np.arange(len(dataset)), -(-len(dataset) // READ_AT_ONCE))
        for batch in self.reader.in_order(dataset, batches, self._device):
            images = augment(batch.images.to(self._device, non_blocking=True), batch.sizes, phase.size, NONE)
            yield Labeled(color.normalize(images), batch.is_real.to(self._device, non_blocking=True))

    def _critic_batches(
        self, phase: CriticPhase, store: FakeStore, keys: tuple[Key, ...], held_out: bool = False
    ) -> CriticBatches:
        """What the critic trains on in ``phase``, or is measured on; the photographs are divided once for the run."""
        critic, seed = self.config.nogan.critic, self.config.data.seed
        reals = self.split.reals if critic.reals == "heldout" else self.split.train
        photographs = shuffled(self.source, reals, "critic split", seed)
        fakes = numpy_rng("critic split", seed, phase.cycle).permutation(store.count)
        kept = max(round(len(reals) * critic.val_share), 1) if phase.held_out else 0
        if held_out:
            photographs, fakes = photographs[:kept], fakes[: phase.held_out]
        else:  # a single photograph serves for both
            photographs, fakes = photographs[kept:] if kept < len(reals) else photographs, fakes[phase.held_out :]
        return CriticBatches(self.source, photographs, store, fakes, keys)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of the data: the photographs that could not be read."""
        return {"bad_images": self.bad_images.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.bad_images.load_state_dict(state_dict["bad_images"])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Beside a GPU the CPU computes so little that waking other threads takes longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
