"""``dry_run=true``: prints what a run would do, and does none of it."""

import os
from pathlib import Path

from rich.console import Console

from nogan.common.targets import TARGET
from nogan.common.terminal import say
from nogan.plan import build_plan
from nogan.plan.config import Data, RunConfig
from nogan.runs.checkpoints import newest_first
from nogan.runs.run_folder import RunFolder
from nogan.runs.summary import plan_table
from nogan.training.preflight import check_networks, check_sizes
from nogan.training.resume import check_changes
from nogan.training.same_data import check_same_data, record_of


def show_plan(config: RunConfig, console: Console) -> None:
    """Print the plan of ``config``, if a run of it could begin, or go on; the photographs are counted, and none read.

    Raises:
        UserError: something that would keep a run from beginning; but the photographs need not be there yet where
            ``data.images`` says how many there will be.
    """
    from nogan.data.sources import open_held_out, open_photographs

    check_networks(config, fresh=not config.resume)
    data = config.data
    held_out = open_held_out(data)
    # "hub" would download them.
    counted = data.source is not None or data.kind == "scenes" or data.path not in (None, "hub")
    source = open_photographs(data) if counted or data.images is None else None
    images = planned_for = len(source) if source is not None else data.images
    run = RunFolder(Path(config.resume)) if config.resume else None
    if run is not None and source is not None:
        planned_for = check_same_data(run, data, record_of(data, source, held_out)).planned_for
    plan = build_plan(config, planned_for)
    check_sizes(config, plan)
    if run is not None and planned_for is not None:
        if checkpoints := newest_first(run):
            check_changes(run, config, plan, checkpoints[0], planned_for)
        else:
            run.check_may_begin_again()
        say(console, f"Goes on with {os.path.relpath(run)}.")
    console.print(plan_table(plan))
    assert images is not None
    say(console, photographs(data, images, assumed=source is None))


def photographs(data: Data, images: int, assumed: bool = False) -> str:
    """How many photographs a plan is for, and how that is known."""
    if assumed:
        return f"For {images:,} photographs, as data.images says: those at data.path are counted when a run begins."
    if data.source is not None:
        return f"For {images:,} photographs, counted by data.source ({data.source[TARGET]})."
    if data.kind == "scenes":
        return f"For {images:,} scenes (data.images)."
    return f"For {images:,} photographs, counted at data.path={data.path}."
