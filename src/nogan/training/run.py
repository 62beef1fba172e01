"""A run from its config to its files: validate, plan, build, fit, sum up."""

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from rich.console import Console

from nogan.common.errors import Interrupted, Occupied, UserError
from nogan.common.failures import explained
from nogan.common.files import remove_temporary
from nogan.common.lock import only_one
from nogan.common.program import command
from nogan.data.datamodule import NoGANData
from nogan.data.sources import Source, open_held_out, open_photographs, split
from nogan.inflection import Detector, make_detector
from nogan.plan import GANPhase, Plan, build_plan
from nogan.plan.config import RunConfig
from nogan.runs.checkpoints import newest_whole_checkpoint
from nogan.runs.disk import check_disk, expected_use
from nogan.runs.records import final_metrics
from nogan.runs.run_folder import RunFolder
from nogan.runs.summary import clock, plan_table, summary_table
from nogan.training.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoints
from nogan.training.callbacks.ema import GeneratorEMA
from nogan.training.callbacks.exports import Exports
from nogan.training.callbacks.probe import Probe
from nogan.training.callbacks.progress import PlanProgress
from nogan.training.callbacks.telemetry import Telemetry
from nogan.training.callbacks.wandb_events import WandBEvents
from nogan.training.initial_weights import start_from
from nogan.training.launch import check_batches, check_devices, cluster_environment, devices_and_nodes, is_rank_zero
from nogan.training.loggers import check_logger, finish, make_loggers, sync_hint
from nogan.training.modules import CriticModule, GANModule, GeneratorModule
from nogan.training.modules.layer_sync import SyncedGenerator
from nogan.training.modules.step import TooManyBadBatches
from nogan.training.own_parts import build_callbacks, build_critic, build_generator, build_loss, lightning_arguments
from nogan.training.preflight import check_networks
from nogan.training.preview import photographs
from nogan.training.resume import check_changes
from nogan.training.scheduler import NoGANScheduler
from nogan.training.signals import StopOnSignal

log = logging.getLogger(__name__)


def train(
    config: RunConfig,
    folder: Path,
    *,
    choices: Mapping[str, str] | None = None,
    console: Console | None = None,
    write_report: Callable[[Path], object] | None = None,
) -> dict[str, float]:
    """Run ``config`` in ``folder``, or go on with the run that is there.

    Args:
        config: the whole run.
        folder: the run folder; ``config.resume`` says that it holds an interrupted run.
        choices: the config groups that were chosen, for dashboards.
        console: where tables and the progress bar go.
        write_report: makes a page of the run folder, when the run ends or is cut.

    Returns:
        The held-out metrics at the end, as ``val/…``.

    Raises:
        UserError: something that the user can mend.
    """
    console = console or Console()
    if not is_rank_zero():  # of several processes: one of them speaks
        console = Console(quiet=True)
        logging.getLogger("nogan").setLevel(logging.CRITICAL)
    check_devices(config.trainer)
    check_logger(config)
    with only_one(folder) if is_rank_zero() else nullcontext():
        return _train(config, folder, choices or {}, console, write_report)


def _train(
    config: RunConfig,
    folder: Path,
    choices: Mapping[str, str],
    console: Console,
    write_report: Callable[[Path], object] | None,
) -> dict[str, float]:
    files = RunFolder(folder)
    checkpoint = _checkpoint(config, files)
    check_networks(config, fresh=checkpoint is None)
    source, held_out = open_photographs(config.data), open_held_out(config.data)
    plan = build_plan(config, len(source))
    if checkpoint:
        check_changes(files, config, plan, checkpoint)
    console.print(plan_table(plan))
    console.print(photographs(config.data, len(source)), soft_wrap=True)

    started = time.monotonic()
    # The plan, the progress bar and the summary say what Lightning's tips would.
    for talkative in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    for last_try in (False, True):
        module = build_module(config)
        if checkpoint is None:
            for line in start_from(module, config.model):
                console.print(line, soft_wrap=True)
        if is_rank_zero():
            budget, averaged = config.nogan.snapshot_budget_gb * 1e9, config.nogan.ema is not None
            use = expected_use(plan, **module.networks, snapshot_budget=budget, averaged=averaged)
            check_disk(folder, use)
            console.print(f"The run takes {use}.", soft_wrap=True)
        run = build_run(config, module, plan, source, held_out, files, choices, console)
        try:
            with _explaining(folder):
                if is_rank_zero() and not last_try:  # this late, so that a run that cannot begin leaves nothing behind
                    files.describe(config, plan)
                    files.forget_end()
                _fit(run, checkpoint)
            break
        except TooManyBadBatches as error:
            if last_try:
                raise UserError(
                    f"{error}; going back did not help: try a lower learning rate or precision=32-true"
                ) from error
            checkpoint = newest_whole_checkpoint(files, finite=True)
            console.print(f"{error}; going back to {checkpoint or 'the start'}, once", soft_wrap=True)
        except Interrupted as interrupted:
            console.print(f"{interrupted}: saved. To go on: {command('train')} {_resume(folder)}", soft_wrap=True)
            if run.trainer.is_global_zero:
                _report(folder, write_report)
            raise
        finally:
            finish(run.trainer.loggers)
    with _explaining(folder):
        return _sum_up(run, console, time.monotonic() - started, write_report)


def _checkpoint(config: RunConfig, folder: RunFolder) -> Path | None:
    """What the run goes on from; None if it begins."""
    if not config.resume:
        if folder.has_checkpoints:
            raise Occupied(
                f"{folder} holds a run already: go on with it by resume={folder}, or give this one another folder, "
                "hydra.run.dir=DIR (for a sweep: hydra.sweep.dir=DIR)"
            )
        return None
    if is_rank_zero():
        remove_temporary(folder.path)
    return newest_whole_checkpoint(folder)


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    """Say of what is known to go wrong within what it is, and how to go on afterwards."""
    try:
        yield
    except Exception as error:
        if known := explained(error):
            raise UserError(f"{known}\nto go on: {command('train')} {_resume(folder)}") from error
        raise


def _resume(folder: Path) -> str:
    return f"resume={os.path.relpath(folder)}"


class Run:
    """The parts of a run, wired together."""

    def __init__(self, config: RunConfig, plan: Plan, folder: RunFolder) -> None:
        self.config, self.plan, self.folder = config, plan, folder
        self.module: GANModule
        self.data: NoGANData
        self.scheduler: NoGANScheduler
        self.stop: StopOnSignal
        self.trainer: pl.Trainer


def build_run(
    config: RunConfig,
    module: GANModule,
    plan: Plan,
    source: Source,
    held_out: Source | None,
    folder: RunFolder,
    choices: Mapping[str, str],
    console: Console,
) -> Run:
    """Build data, callbacks and trainer around ``module``; nothing is trained yet."""
    run = Run(config, plan, folder)
    nogan = config.nogan
    run.module = module
    run.scheduler = NoGANScheduler(
        plan,
        folder,
        lambda phase: detector_for(config, phase, len(source)),
        critic_threshold=nogan.gan.critic_threshold,
        max_critic_steps=nogan.gan.max_critic_steps,
        action=nogan.inflection.action,
        restart=nogan.critic.restart,
        snapshot_budget=nogan.snapshot_budget_gb * 1e9,
    )
    telemetry = Telemetry(run.scheduler, config.trainer.log_every_n_steps)
    progress = PlanProgress(plan, run.scheduler, telemetry, console)
    stop = run.stop = StopOnSignal()

    def report_fakes(done: int, count: int) -> None:
        progress.fakes(done, count)
        stop.raise_if_received()

    probe = Probe(run.scheduler, telemetry, folder, **config.probe.model_dump())
    parts = split(len(source), config.data.seed, config.data.held_out_share, config.data.reals_share)
    run.data = NoGANData(config, plan, source, parts, folder.path, held_out, report_fakes)
    about = {"name": config.name, "model": config.model.name}
    averages = [GeneratorEMA(run.scheduler, folder, nogan.ema, **about)] if nogan.ema is not None else []
    try:
        run.trainer = pl.Trainer(
            accelerator=config.trainer.accelerator,
            **devices_and_nodes(config.trainer),
            strategy=config.trainer.strategy,
            precision=config.trainer.precision,
            # cuDNN tries its kernels: within a phase, all batches have one size.
            **{"benchmark": True, **lightning_arguments(config.trainer)},
            max_epochs=len(plan),
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,  # batches are divided between the ranks by StepSampler
            limit_val_batches=0,  # the probe measures instead, without moving training state
            num_sanity_val_steps=0,
            logger=make_loggers(config, folder, dict(choices)),
            # The order matters: the scheduler acts, telemetry and probe report on it, exports and checkpoints keep it.
            callbacks=[
                run.scheduler,
                telemetry,
                probe,
                *averages,
                Exports(plan, run.scheduler, folder, **about),
                WandBEvents(plan, run.scheduler, folder),
                *build_callbacks(config, stop),
                progress,
                stop,
                RunCheckpoints(
                    run.scheduler,
                    folder,
                    every_n_batches=config.trainer.checkpoint_every_n_batches,
                    every_n_minutes=config.trainer.checkpoint_every_n_minutes,
                    stop=stop,
                ),
            ],
            plugins=[
                AtomicCheckpointIO(),
                *([SyncedGenerator()] if config.trainer.sync_batchnorm else []),
                *cluster_environment(),
            ],
            enable_model_summary=False,
            default_root_dir=folder.path,
        )
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    check_batches(plan, run.trainer.num_devices * run.trainer.num_nodes, config.trainer.accumulate)
    return run


def build_module(config: RunConfig) -> GANModule:
    """Generator, critic and their losses."""
    adam = config.nogan.optimizer.model_dump(exclude={"gradient_clip"})
    generator = GeneratorModule(build_generator(config), build_loss(config.loss), **adam)
    critic = CriticModule(build_critic(config), **adam)
    for module in (generator, critic):  # the feature network, too
        module.to(memory_format=torch.channels_last)  # faster convolutions on CPUs and on tensor cores
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
    )


def detector_for(config: RunConfig, phase: GANPhase, images: int) -> Detector:
    """A fresh inflection detector for a GAN ``phase``."""
    inflection = config.nogan.inflection
    known = {"total_steps": phase.steps, "batch_size": phase.batch_size, "lr": phase.generator_lr, "images": images}
    return make_detector(name=inflection.name, **{**known, **inflection.parameters})


def _fit(run: Run, checkpoint: Path | None) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        # The scheduler sets the modes itself, and the loaders continue where the checkpoint was taken.
        warnings.filterwarnings("ignore", message=".*eval mode at the start of training.*")
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        # 1x1 convolutions have the same memory under two sets of strides.
        warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")
        with run.stop.listening():  # from before the first fakes, which Lightning asks for ahead of any hook
            try:
                run.trainer.fit(run.module, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
            except SIGTERMException as error:  # Lightning's own end, in the moment before `stop` is in front
                raise Interrupted(signal.SIGTERM) from error


def _sum_up(
    run: Run, console: Console, seconds: float, write_report: Callable[[Path], object] | None
) -> dict[str, float]:
    records = run.scheduler.records
    metrics = {f"val/{name}": value for name, value in final_metrics(records).items()}
    if run.trainer.is_global_zero:
        run.data.remove_fakes()
        run.folder.write_records(records)
        console.print(summary_table(run.plan, records))
        folder = os.path.relpath(run.folder)
        console.print(f"Done in {clock(seconds)}. The run is in {folder}", soft_wrap=True)
        if _report(run.folder.path, write_report):
            console.print(f"Look at it: {os.path.relpath(run.folder.report_file)}", soft_wrap=True)
        colorize = f"{command('colorize')} PHOTO -o OUT --checkpoint {folder} --render-factor auto"
        console.print(f"Next: {colorize}", soft_wrap=True)
        if hint := sync_hint(run.folder):
            console.print(hint, soft_wrap=True)
    return metrics


def _report(folder: Path, write_report: Callable[[Path], object] | None) -> bool:
    """Write ``report.html``; whether it could be: a page that fails must not lose a run."""
    if write_report is None:
        return False
    try:
        write_report(folder)
    except Exception as error:
        log.warning("no report.html: %s; to try again: nogan report %s", error, os.path.relpath(folder))
        return False
    return True


__all__ = ["Run", "UserError", "build_run", "train"]
