"""The part `rates` of `gpu.py`: batches of every training phase, taken by the program's own loop, and timed."""

import dataclasses
import itertools
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from gpu_parts import WORKERS, Job, first_of_each
from pytorch_lightning.profilers import Profiler
from torch.utils.data import DataLoader

from nogan.common.errors import UserError
from nogan.data.bad_images import BadImages
from nogan.data.datamodule import NoGANData, PhotoBatches, Reader
from nogan.data.sources import Source, open_photographs, split
from nogan.plan import GANPhase, Phase, build_plan
from nogan.plan.config import RunConfig
from nogan.runs.run_folder import RunFolder
from nogan.training import position
from nogan.training.build import build_gan, build_module
from nogan.training.fake_maker import FakeMaker
from nogan.training.modules import GANModule
from nogan.training.modules.compiled import compile_for_training
from nogan.training.scheduler import NoGANScheduler
from nogan.training.state import RunState
from nogan.training.switch import AdaptiveSwitch

WARM_UP = 3  # batches of each turn that are not counted: networks are compiled, kernels loaded
COMPILING = 45.0  # seconds that must be left to begin with networks that are still to be compiled


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of the table."""

    model: str
    phase: str
    factor: int  # on the recipe's own batch
    compiled: bool

    @classmethod
    def named(cls, name: str) -> "Setting":
        """As the command line writes it: MODEL:PHASE:FACTOR or MODEL:PHASE:FACTOR:compiled."""
        model, phase, factor, *compiled = name.split(":")
        return cls(model, phase, int(factor), compiled == ["compiled"])


def settings(smoke: bool) -> list[Setting]:
    """All of them, the most telling ones first; the critic's phases are alike in both models."""
    if smoke:
        return [Setting("artistic", phase, factor, False) for factor in (1, 2) for phase in ("g1", "c1", "gan")]
    every, own = ("gan", "g4", "c2", "g3", "g2", "g1", "c1"), ("gan", "g4", "g3", "g2", "g1")

    def rows(model: str, phases: Sequence[str], factors: Sequence[int], compiled: bool) -> list[Setting]:
        return [Setting(model, phase, factor, compiled) for factor in factors for phase in phases]

    return [
        *rows("artistic", every, (8, 1), False),
        *rows("stable", own, (8, 1), False),
        *rows("artistic", every, (4,), False),
        *rows("artistic", ("c2", "g4"), (8, 1), True),
        *rows("artistic", ("gan",), (8, 1), True),
        *rows("stable", own, (4,), False),
        *rows("artistic", ("g3", "g2", "g1", "c1"), (8, 1), True),
        *rows("stable", own, (8, 1), True),
        *rows("artistic", every, (4,), True),
        *rows("stable", own, (4,), True),
    ]


def measure(job: Job) -> None:
    """Time the settings one after the other, for as long as there is time."""
    wanted = [Setting.named(name) for name in job.given.settings or ()] or settings(job.smoke)
    model = None
    while wanted and job.left > (COMPILING if wanted[0].compiled else 3):
        first = wanted[0]
        _, alike = next(itertools.groupby(wanted, key=lambda setting: (setting.model, setting.compiled)))
        block = list(alike)
        if first.model != model:
            model, module = first.model, None  # the networks of two models at once would share the memory
            config, module, source = build(job, first.model)
        compile_networks(module, first.compiled)
        done = timed_fit(job, config, module, source, block)
        wanted = wanted[done:]
        if "loader" not in job.found:
            for size in (32,) if job.smoke else (64, 192):
                job.add("loader", {"size": size, "images_per_second": loader_rate(source, size, job.smoke)})
        if done < len(block):
            break
    job.keep(missing=[dataclasses.asdict(setting) for setting in wanted])


def build(job: Job, model: str) -> tuple[RunConfig, GANModule, Source]:
    """Config, networks and photographs for the steps of ``model``'s recipe."""
    precision = "32-true" if job.smoke else "bf16-mixed"
    kept = "nogan.inflection.action=mark"  # every batch, whatever the detector says
    config = job.recipe(model, "logger=csv", f"trainer.precision={precision}", kept, *job.data())
    return config, build_module(config), open_photographs(config.data)


def compile_networks(module: GANModule, compiled: bool) -> None:
    """Compile the networks for what follows, or leave them as they are."""
    for network in module.networks.values():
        network._compiled_call_impl = None
        if compiled:
            compile_for_training(network)


def timed_fit(job: Job, config: RunConfig, module: GANModule, source: Source, block: list[Setting]) -> int:
    """Time what there is time for of ``block`` in one fit, up to one that fails; how many are done, that one too."""
    shown = first_of_each(build_plan(job.recipe(block[0].model)))
    plan = tuple(few_batches(shown[setting.phase], setting) for setting in block)
    scratch = Path(tempfile.mkdtemp(dir=job.work))
    folder = RunFolder(scratch)
    parts = split(source, config.data.seed, config.data.held_out_share, config.data.reals_share)
    state = RunState(plan, AdaptiveSwitch(float("inf"), None))  # critic and generator take turns
    scheduler = NoGANScheduler(module, state, build_gan(config, module, state, folder, len(source)), folder)
    reader = Reader(config.data.workers, BadImages(len(source), config.data.max_bad_share))
    fakes = FakeMaker(config, module.generator, source, parts, reader, folder, lambda done, count: None)
    data = NoGANData(config, plan, source, parts, reader, fakes, position.loader_start, None)
    stopwatch = Stopwatch(job, block, plan)
    trainer = pl.Trainer(
        accelerator="cpu" if job.smoke else "gpu",
        devices=1,
        precision=config.trainer.precision,
        benchmark=False,
        max_epochs=len(plan),
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[stopwatch, fakes, scheduler],
        profiler=stopwatch.waits,
        default_root_dir=scratch,
    )
    try:
        trainer.fit(module, datamodule=data)
    except OutOfTime:
        pass
    except (UserError, RuntimeError) as error:  # out of memory, most of all: the others go on
        job.add("rows", {**dataclasses.asdict(block[stopwatch.done]), "error": str(error).splitlines()[0][:300]})
        stopwatch.done += 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        module.zero_grad(set_to_none=True)
        if not job.smoke:
            torch.cuda.empty_cache()
    return stopwatch.done


def few_batches(phase: Phase, setting: Setting) -> Phase:
    """``phase`` with ``setting``'s batch, for as many batches as it takes to time one."""
    batch, turns = phase.batch_size * setting.factor, 2 if isinstance(phase, GANPhase) else 1
    steps = turns * (WARM_UP + (10 if setting.factor < 4 else 5))
    own = {"critic": {"fakes": max(batch // 2, 8), "held_out": 0}, "gan": {"snapshot_every": steps}}
    return dataclasses.replace(
        phase,
        name=f"{setting.phase}-x{setting.factor}{'-compiled' if setting.compiled else ''}@{phase.cycle}",
        batch_size=batch,
        share=1.0,
        epochs=steps,  # of one batch each, so that few photographs do
        images=batch,
        steps=steps,
        **own.get(phase.kind, {}),
    )


class OutOfTime(Exception):
    """The part's time is over."""


class Waits(Profiler):
    """Seconds in each of the loop's actions: waiting for a batch, bringing it to the device, …"""

    def __init__(self) -> None:
        super().__init__()
        self.began: dict[str, float] = {}
        self.seconds: dict[str, float] = defaultdict(float)

    def start(self, action_name: str) -> None:
        """An action begins."""
        self.began[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """An action ends."""
        now = time.perf_counter()
        self.seconds[action_name] += now - self.began.pop(action_name, now)

    def matching(self, words: str) -> float:
        """Seconds of all actions whose names hold ``words``."""
        return sum(seconds for name, seconds in self.seconds.items() if words in name)


class Stopwatch(pl.Callback):
    """Times batches, from the end of one to the end of the next: a batch ends when its loss is on the CPU."""

    def __init__(self, job: Job, block: list[Setting], plan: Sequence[Phase]) -> None:
        self.job, self.block, self.plan = job, block, plan
        self.waits, self.done = Waits(), 0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: GANModule) -> None:
        """A setting begins, if there is time for it."""
        if self.job.left < (COMPILING if self.block[self.done].compiled else 3):
            raise OutOfTime
        self.times: dict[str, list[float]] = defaultdict(list)
        self.began = self.last = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: GANModule, outputs: Any, batch: Any, index: int) -> None:
        """A batch ends; the first ones of each turn are not counted."""
        now, phase = time.perf_counter(), self.plan[trainer.current_epoch]
        turns = 2 if phase.kind == "gan" else 1
        if index + 1 == turns:
            self.first = now - self.began
        if index < turns * WARM_UP:
            self.waits.seconds.clear()
            self.counted_from = now
            if not self.job.smoke:
                torch.cuda.reset_peak_memory_stats()
        else:
            turn = phase.kind if turns == 1 else "critic" if "critic_loss" in outputs else "generator"
            self.times[turn].append(now - self.last)
        self.last = now

    def on_train_epoch_end(self, trainer: pl.Trainer, module: GANModule) -> None:
        """A setting ends."""
        phase, whole = self.plan[trainer.current_epoch], time.perf_counter() - self.counted_from
        turns = {turn: statistics.median(times) for turn, times in self.times.items()}
        seconds = statistics.mean(turns.values())
        row = {
            **dataclasses.asdict(self.block[self.done]),
            "kind": phase.kind,
            "size": phase.size,
            "batch": phase.batch_size,
            "seconds": seconds,
            "turns": turns,
            "images_per_second": phase.batch_size / seconds,
            "waiting": self.waits.matching("train_dataloader_next") / whole,
            "preparing": self.waits.matching("batch_to_device") / whole,
            "first_batch_seconds": self.first,
        }
        if not self.job.smoke:
            row["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self.job.add("rows", row)
        self.done += 1


def loader_rate(source: Source, size: int, smoke: bool) -> float:
    """Photographs a second that the workers deliver when nothing keeps them waiting."""
    workers, batch = (0, 4) if smoke else (WORKERS, 88)
    count = 6 if smoke else 12 * workers
    rng = np.random.default_rng(0)
    loader = DataLoader(
        PhotoBatches(source, np.arange(len(source)), size),
        batch_sampler=[(step, rng.integers(0, len(source), batch)) for step in range(count)],
        collate_fn=_as_is,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=not smoke,
    )
    began, first = 0.0, count // 3
    for number, _ in enumerate(loader):
        if number == first:
            began = time.perf_counter()
    return batch * (count - 1 - first) / (time.perf_counter() - began)


def _as_is(batch: Any) -> Any:
    return batch
