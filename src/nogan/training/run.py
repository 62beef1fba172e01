"""A run from its config to its files: validate, plan, build, fit, sum up."""

import logging
import os
import shlex
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from nogan.colorize.square import MIN_RENDER_FACTOR, PIXELS_PER_FACTOR
from nogan.common.errors import Interrupted, UserError
from nogan.common.failures import explained
from nogan.common.files import remove_temporary
from nogan.common.lock import only_one
from nogan.common.program import command, setting
from nogan.common.terminal import say
from nogan.data.datamodule import end_workers
from nogan.data.sources import open_held_out, open_photographs
from nogan.plan import Plan, build_plan
from nogan.plan.config import RunConfig
from nogan.runs.checkpoints import newest_whole_checkpoint
from nogan.runs.disk import check_disk, expected_use
from nogan.runs.records import final_metrics
from nogan.runs.run_folder import RunFolder, write_json
from nogan.runs.summary import clock, plan_table, summary_table
from nogan.training.build import Photographs, Run, build_module, build_run
from nogan.training.initial_weights import start_from
from nogan.training.launch import check_devices, is_rank_zero
from nogan.training.loggers import check_logger, finish, sync_hint
from nogan.training.modules import GANModule
from nogan.training.modules.step import TooManySkippedBatches
from nogan.training.preflight import check_networks, check_sizes
from nogan.training.preview import photographs
from nogan.training.ranks import Ranks
from nogan.training.resume import changed_environment, check_changes
from nogan.training.same_data import check_same_data, record_of

log = logging.getLogger(__name__)

# Lightning's warnings of what is done on purpose.
INTENDED = (
    ".*LeafSpec.*",
    ".*eval mode at the start of training.*",  # the scheduler sets the modes itself
    ".*your dataloader is not resumable.*",  # a loader begins at the batch that the checkpoint was taken at
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*Grad strides do not match bucket view strides.*",  # 1x1 convolutions: one memory under two sets of strides
)

UNSTARTED = "call `iter(combined_loader)` first"
"""In the error of Lightning's own teardown after workers could not be started, which hides why."""


@dataclass(frozen=True)
class Job:
    """What to run, in which folder, and where its output goes."""

    config: RunConfig
    folder: RunFolder
    choices: Mapping[str, str]
    console: Console
    write_report: Callable[[Path], object] | None


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
        write_report: makes a page of the run folder, when the run ends or is interrupted.

    Returns:
        The held-out metrics at the end, as ``val/…``.

    Raises:
        UserError: something that the user can mend.
    """
    _quiet_lightning()
    if not is_rank_zero():
        console = Console(quiet=True)
        logging.getLogger("nogan").setLevel(logging.CRITICAL)
    check_devices(config.trainer)
    check_logger(config)
    job = Job(config, RunFolder(folder), choices or {}, console or Console(), write_report)
    with only_one(folder) if is_rank_zero() else nullcontext():
        return _train(job)


def _train(job: Job) -> dict[str, float]:
    checkpoint = _find_checkpoint(job.config, job.folder)
    check_networks(job.config, fresh=checkpoint is None)
    data = job.config.data
    train, held_out = open_photographs(data), open_held_out(data)
    record = record_of(data, train, held_out)
    if checkpoint:
        record = check_same_data(job.folder, data, record)
    sources = Photographs(train, held_out, record)
    plan = build_plan(job.config, record.planned_for)
    check_sizes(job.config, plan)
    if checkpoint:
        check_changes(job.folder, job.config, plan, checkpoint, record.planned_for)
        if changed := changed_environment(job.folder):
            say(job.console, changed)
    job.console.print(plan_table(plan))
    say(job.console, photographs(data, len(train)))
    started = time.monotonic()
    with Ranks(job.folder.ranks, job.config.trainer.max_silent_minutes, _resume_command(job.folder)) as ranks:
        run = _fit(job, plan, sources, checkpoint, ranks)
    with _known_failures_explained(job.folder):
        return _sum_up(job, run, time.monotonic() - started)


def _quiet_lightning() -> None:
    """The plan, the progress bar and the summary say what Lightning's tips would."""
    for talkative in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _find_checkpoint(config: RunConfig, folder: RunFolder) -> Path | None:
    """The checkpoint that the run goes on from; None if it begins.

    Raises:
        Occupied: the folder holds a run or files, and the config does not say to go on; or the checkpoints are gone.
    """
    if not config.resume:
        if is_rank_zero():  # who alone sees the folder before anything is written
            folder.check_is_free()
            remove_temporary(folder.path)
        return None
    if is_rank_zero():
        remove_temporary(folder.path)
    checkpoint = newest_whole_checkpoint(folder)
    if checkpoint is None and is_rank_zero():
        folder.check_may_begin_again()
    return checkpoint


# --- fit --------------------------------------------------------------------------------------------------------------


def _fit(job: Job, plan: Plan, sources: Photographs, checkpoint: Path | None, ranks: Ranks) -> Run:
    """Train to the end of the plan; where too many batches in a row were skipped, go back once and try again."""
    try:
        return _try_to_fit(job, plan, sources, checkpoint, ranks, first=True)
    except TooManySkippedBatches as error:
        checkpoint = newest_whole_checkpoint(job.folder, finite=True)
        say(job.console, f"{error}; going back to {checkpoint or 'the start'}, once")
    try:
        return _try_to_fit(job, plan, sources, checkpoint, ranks, first=False)
    except TooManySkippedBatches as error:
        raise UserError(f"{error}; going back did not help: try a lower learning rate or precision=32-true") from error


def _try_to_fit(
    job: Job, plan: Plan, sources: Photographs, checkpoint: Path | None, ranks: Ranks, *, first: bool
) -> Run:
    module = build_module(job.config)
    if checkpoint is None:
        for line in start_from(module, job.config.model):
            say(job.console, line)
    _check_disk(job, plan, module)
    run = build_run(job.config, module, plan, sources, job.folder, job.choices, job.console)
    try:
        with _known_failures_explained(job.folder):
            if is_rank_zero() and first:  # this late, so that a run that cannot begin leaves nothing behind
                if sources.record is not None:
                    sources.record.write(job.folder)
                job.folder.describe(job.config, plan)
                job.folder.forget_end()
            ranks.follow(run.trainer)
            try:
                _run_lightning(run, checkpoint)
            finally:
                _note_skipped(job, run)
    except Interrupted as interrupted:
        say(job.console, f"{interrupted}: saved. To go on: {_resume_command(job.folder)}")
        if run.trainer.is_global_zero:
            _write_report(job)
        raise
    finally:
        end_workers()
        finish(run.trainer.loggers)
    return run


def _check_disk(job: Job, plan: Plan, module: GANModule) -> None:
    """Say how much disk the run takes, and refuse to begin where there is too little."""
    if not is_rank_zero():
        return
    nogan = job.config.nogan
    use = expected_use(
        plan,
        **module.networks,
        snapshot_budget=nogan.snapshot_budget_gb * 1e9,
        averaged=nogan.ema is not None,
        averages_snapshots=nogan.inflection.average is not None,
    )
    check_disk(job.folder.path, use)
    say(job.console, f"The run takes {use}.")


def _run_lightning(run: Run, checkpoint: Path | None) -> None:
    with warnings.catch_warnings(), run.stop.listening():  # signals, from before the first fakes are made
        for message in INTENDED:
            warnings.filterwarnings("ignore", message=message)
        try:
            run.trainer.fit(run.module, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException as error:  # Lightning's own handler, in the moment before `stop` replaces it
            raise Interrupted(signal.SIGTERM) from error
        except RuntimeError as error:
            if UNSTARTED in str(error) and error.__context__ is not None:
                raise error.__context__ from None
            raise


@contextmanager
def _known_failures_explained(folder: RunFolder) -> Iterator[None]:
    """Turn known failures into a UserError that says how to go on."""
    try:
        yield
    except Exception as error:
        if known := explained(error):
            raise UserError(f"{known}\nto go on: {_resume_command(folder)}") from error
        raise


def _resume_command(folder: RunFolder) -> str:
    return f"{command('train')} {setting('resume', os.path.relpath(folder))}"


# --- the end ----------------------------------------------------------------------------------------------------------


def _sum_up(job: Job, run: Run, seconds: float) -> dict[str, float]:
    """Write the records and the report, and print what became of the run; returns the final held-out metrics."""
    records = run.state.records
    if run.trainer.is_global_zero:
        run.fakes.remove()
        job.folder.write_records(records)
        job.console.print(summary_table(run.plan, records))
        folder = os.path.relpath(job.folder)
        say(job.console, f"Done in {clock(seconds)}. The run is in {folder}")
        if _write_report(job):
            say(job.console, f"Look at it: {os.path.relpath(job.folder.report_file)}")
        say(job.console, f"Next: {_command_to_colorize(job, run.plan)}")
        if hint := sync_hint(job.folder):
            say(job.console, hint)
    return {f"val/{name}": value for name, value in final_metrics(records).items()}


def _command_to_colorize(job: Job, plan: Plan) -> str:
    """With what the run has learned: photographs, at several sizes; or scenes, of which it has written some."""
    folder, pictures, factor = os.path.relpath(job.folder), "PHOTO", "auto"
    if job.config.data.kind == "scenes" and not job.config.data.source and job.folder.held_out.is_dir():
        pictures = os.path.relpath(job.folder.held_out)
        factor = str(max(plan[-1].size // PIXELS_PER_FACTOR, MIN_RENDER_FACTOR))
    where = f"{shlex.quote(pictures)} -o OUT --checkpoint {shlex.quote(folder)}"
    return f"{command('colorize')} {where} --render-factor {factor}"


def _note_skipped(job: Job, run: Run) -> None:
    """Keep the names of the photographs that were passed over, if there are any."""
    if is_rank_zero() and (skipped := run.data.bad_images.names()):
        with suppress(OSError):  # of a full disk, say; it must not hide why a run ends
            write_json(job.folder.skipped_file, skipped)


def _write_report(job: Job) -> bool:
    """Write ``report.html``; whether it could be: a page that fails must not lose a run."""
    if job.write_report is None:
        return False
    try:
        job.write_report(job.folder.path)
    except Exception as error:
        log.warning("no report.html: %s; to try again: nogan report %s", error, os.path.relpath(job.folder))
        return False
    return True


__all__ = ["UserError", "build_run", "train"]
