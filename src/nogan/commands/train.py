"""`nogan train KEY=VALUE...`: train a colorizer with NoGAN, or with ``dry_run=true`` print what that would do."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from nogan.plan.effects import without_effect
from nogan.training.compose import chosen_groups, chosen_keys, job, output_folder, run_config, run_program
from nogan.training.launch import is_rank_zero

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run the job, or the jobs of a sweep, that ``argv`` asks for; returns the exit code."""
    return run_program(run, argv, conclude)


@job
def run(cfg: DictConfig) -> float | None:
    """Run one job; returns the value of ``objective``, for sweeps."""
    config = run_config(cfg)
    for line in without_effect(config, chosen_keys()) if is_rank_zero() else ():
        log.warning(line)
    if config.dry_run:
        from nogan.training.preview import show_plan

        show_plan(config, Console())
        return None
    from nogan.report import write_report
    from nogan.training.run import train  # torch and Lightning load after the config has been found right

    metrics = train(config, output_folder(), choices=chosen_groups(), write_report=write_report)
    return metrics.get(config.objective) if config.objective else None


def conclude(folder: Path, console: Console) -> bool:
    """Sum up the sweep in ``folder``; whether a trial was completed."""
    from nogan.report import sweep

    return sweep.conclude(folder, console)
