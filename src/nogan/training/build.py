"""The parts of a run, each built by a small function, and wired together in :func:`build_run`."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console

from nogan.common.errors import UserError
from nogan.data.bad_images import BadImages
from nogan.data.datamodule import NoGANData, Reader
from nogan.data.sources import Source, split
from nogan.inflection import Detector, make_detector
from nogan.plan import GANPhase, Plan
from nogan.plan.config import RunConfig
from nogan.runs.run_folder import RunFolder
from nogan.training import position
from nogan.training.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoints
from nogan.training.callbacks.ema import GeneratorEMA
from nogan.training.callbacks.exports import Exports
from nogan.training.callbacks.probe import Probe
from nogan.training.callbacks.progress import PlanProgress
from nogan.training.callbacks.telemetry import Telemetry
from nogan.training.callbacks.wandb_events import WandBEvents
from nogan.training.fake_maker import FakeMaker
from nogan.training.gan_batch import GANBatches
from nogan.training.launch import cluster_environment, devices_and_nodes, strategy
from nogan.training.loggers import make_loggers
from nogan.training.modules import CriticModule, GANModule, GeneratorModule
from nogan.training.modules.compiled import compile_for_training
from nogan.training.modules.layer_sync import SyncedGenerator
from nogan.training.own_parts import build_callbacks, build_critic, build_generator, build_loss, lightning_arguments
from nogan.training.same_data import DataRecord
from nogan.training.scheduler import NoGANScheduler
from nogan.training.signals import StopOnSignal
from nogan.training.snapshot_average import SnapshotAverage
from nogan.training.state import RunState
from nogan.training.switch import AdaptiveSwitch

ORDER: tuple[type[pl.Callback], ...] = (
    NoGANScheduler,  # opens the record, keeps the snapshot, rolls back: all others report on that
    Telemetry,  # has the losses that the progress bar shows
    Probe,  # adds held-out metrics to the record
    GeneratorEMA,  # follows a rollback
    Exports,  # write the metrics into the files
    WandBEvents,  # send them
    PlanProgress,  # prints them
    RunCheckpoints,  # keep the state of all of them
)
"""Callbacks in the order in which they must act; the places of all others do not matter."""


@dataclass(frozen=True)
class Photographs:
    """Where a run's photographs come from."""

    train: Source
    held_out: Source | None  # None: a part of ``train`` is held out
    record: DataRecord | None = None  # what is kept of them in the run folder

    @property
    def planned_for(self) -> int:
        """How many the plan was made for: when the run began, there may have been more or fewer."""
        return self.record.planned_for if self.record else len(self.train)


@dataclass(frozen=True)
class Run:
    """The parts of a run, wired together."""

    config: RunConfig
    plan: Plan
    folder: RunFolder
    module: GANModule
    data: NoGANData
    fakes: FakeMaker
    state: RunState
    scheduler: NoGANScheduler
    stop: StopOnSignal
    trainer: pl.Trainer


def build_run(
    config: RunConfig,
    module: GANModule,
    plan: Plan,
    photographs: Photographs,
    folder: RunFolder,
    choices: Mapping[str, str],
    console: Console,
) -> Run:
    """Build data, callbacks and trainer around ``module``; nothing is trained yet.

    Raises:
        UserError: Lightning refuses the trainer's settings.
    """
    state = build_state(config, plan)
    gan = build_gan(config, module, state, folder, photographs.planned_for)
    cycle_worth = None if config.nogan.inflection.action == "mark" else config.nogan.inflection.cycle_worth
    scheduler = NoGANScheduler(module, state, gan, folder, restart=config.nogan.critic.restart, cycle_worth=cycle_worth)
    telemetry = Telemetry(module, state, config.trainer.log_every_n_steps)
    progress, stop = PlanProgress(state, telemetry.latest, console), StopOnSignal()
    fakes, data = build_data(config, plan, module, photographs, folder, progress, stop)
    about = {"name": config.name, "model": config.model.name, "data": config.data.kind}
    callbacks: list[pl.Callback] = [
        fakes,
        scheduler,
        telemetry,
        Probe(
            *(module, data, state, folder, telemetry.report, gan.measured),
            candidate=None if gan.average is None else lambda: gan.candidate,
            **config.probe.model_dump(),
            objective=config.objective,
        ),
        *build_averages(config, module, state, folder, about),
        Exports(module, state, folder, goes_on_from=config.nogan.critic.restart, **about),
        WandBEvents(state, folder),
        *build_callbacks(config, stop),
        progress,
        stop,
        RunCheckpoints(
            plan,
            module,
            folder,
            every_n_batches=config.trainer.checkpoint_every_n_batches,
            every_n_minutes=config.trainer.checkpoint_every_n_minutes,
            stop=stop,
        ),
    ]
    trainer = build_trainer(config, plan, folder, callbacks, make_loggers(config, folder, dict(choices)))
    check_order(trainer)
    return Run(config, plan, folder, module, data, fakes, state, scheduler, stop, trainer)


def check_order(trainer: pl.Trainer) -> None:
    """Assert that the callbacks stand in the order in which they must act, which Lightning may change."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set outside __init__
    found = [ORDER.index(type(callback)) for callback in callbacks if type(callback) in ORDER]
    assert found == sorted(found), f"callbacks out of order: {[ORDER[number].__name__ for number in found]}"


# --- networks ---------------------------------------------------------------------------------------------------------


def build_module(config: RunConfig) -> GANModule:
    """Generator, critic and their losses."""
    adam = config.nogan.optimizer.model_dump(exclude={"gradient_clip"})
    consistency = config.nogan.consistency
    generator = GeneratorModule(
        build_generator(config),
        build_loss(config.loss),
        consistency_weight=consistency.weight if consistency else 0.0,
        **adam,
    )
    critic = CriticModule(build_critic(config), **adam)
    for module in (generator, critic):  # the feature network, too
        module.to(memory_format=torch.channels_last)  # faster convolutions on CPUs and on tensor cores
        if config.trainer.compile:
            compile_for_training(module.network)
    weights = config.nogan.gan.weights
    return GANModule(
        generator,
        critic,
        adversarial_weight=weights.adversarial,
        feature_weight=weights.feature,
        seed=config.seed,
        accumulate=config.trainer.accumulate,
        max_bad_batches=config.trainer.max_bad_batches,
        gradient_clip=config.nogan.optimizer.gradient_clip,
        critic_sees=config.nogan.gan.vividness.critic_sees,
    )


# --- the program ------------------------------------------------------------------------------------------------------


def build_state(config: RunConfig, plan: Plan) -> RunState:
    """The state of a run that begins."""
    gan = config.nogan.gan
    return RunState(plan, AdaptiveSwitch(gan.critic_threshold, gan.max_critic_steps))


def build_gan(config: RunConfig, module: GANModule, state: RunState, folder: RunFolder, images: int) -> GANBatches:
    """What runs the GAN phases; ``images`` are those in the whole data."""
    average = config.nogan.inflection.average
    return GANBatches(
        module,
        state,
        folder,
        lambda phase: detector_for(config, phase, images),
        action=config.nogan.inflection.action,
        snapshot_budget=config.nogan.snapshot_budget_gb * 1e9,
        average=None if average is None else SnapshotAverage(average),
    )


def detector_for(config: RunConfig, phase: GANPhase, images: int) -> Detector:
    """A fresh inflection detector for a GAN ``phase``."""
    inflection = config.nogan.inflection
    known = {"total_steps": phase.steps, "batch_size": phase.batch_size, "lr": phase.generator_lr, "images": images}
    return make_detector(name=inflection.name, **{**known, **inflection.parameters})


# --- data -------------------------------------------------------------------------------------------------------------


def build_data(
    config: RunConfig,
    plan: Plan,
    module: GANModule,
    photographs: Photographs,
    folder: RunFolder,
    progress: PlanProgress,
    stop: StopOnSignal,
) -> tuple[FakeMaker, NoGANData]:
    """What makes the fakes, and what loads them and the photographs."""

    def report(done: int, count: int) -> None:
        progress.fakes(done, count)
        stop.raise_if_received()

    source = photographs.train
    parts = split(source, config.data.seed, config.data.held_out_share, config.data.reals_share)
    reader = Reader(config.data.workers, BadImages(len(source), config.data.max_bad_share))
    fakes = FakeMaker(config, module.generator, source, parts, reader, folder, report)
    return fakes, NoGANData(config, plan, source, parts, reader, fakes, position.loader_start, photographs.held_out)


# --- callbacks and trainer --------------------------------------------------------------------------------------------


def build_averages(
    config: RunConfig, module: GANModule, state: RunState, folder: RunFolder, about: Mapping[str, str]
) -> list[pl.Callback]:
    """The generator's moving average, where the recipe has one."""
    if config.nogan.ema is None:
        return []
    return [GeneratorEMA(module, state, folder, config.nogan.ema, **about)]


def build_trainer(
    config: RunConfig, plan: Plan, folder: RunFolder, callbacks: list[pl.Callback], loggers: list[Logger]
) -> pl.Trainer:
    """Lightning's trainer: one epoch for each phase of ``plan``.

    Raises:
        UserError: Lightning refuses the settings.
    """
    plugins = [AtomicCheckpointIO(), *cluster_environment()]
    if config.trainer.sync_batchnorm:
        plugins.append(SyncedGenerator())
    try:
        return pl.Trainer(
            accelerator=config.trainer.accelerator,
            **devices_and_nodes(config.trainer),
            strategy=strategy(config.trainer),
            precision=config.trainer.precision,
            # cuDNN's own choice of kernels is as fast as one that takes ten seconds in each phase.
            **{"benchmark": False, **lightning_arguments(config.trainer)},
            max_epochs=len(plan),
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,  # batches are divided between the ranks by StepSampler
            limit_val_batches=0,  # the probe measures instead, without moving training state
            num_sanity_val_steps=0,
            logger=loggers,
            callbacks=callbacks,
            plugins=plugins,
            enable_model_summary=False,
            default_root_dir=folder.path,
        )
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
