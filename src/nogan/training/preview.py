"""``dry_run=true``: prints what a run would do, and does none of it."""

from rich.console import Console

from nogan.common.targets import TARGET
from nogan.plan import build_plan
from nogan.plan.config import Data, RunConfig
from nogan.runs.summary import plan_table
from nogan.training.preflight import check_networks, check_sizes


def show_plan(config: RunConfig, console: Console) -> None:
    """Print the plan of ``config``, if a run of it could begin; the photographs are only counted.

    Raises:
        UserError: something that would keep a run from beginning; but the photographs need not be there yet where
            ``data.images`` says how many there will be.
    """
    from nogan.data.sources import open_held_out, open_photographs

    check_networks(config, fresh=not config.resume)
    data = config.data
    open_held_out(data)
    # "hub" would download them.
    counted = data.source is not None or data.kind == "scenes" or data.path not in (None, "hub")
    assumed = None if counted else data.images
    images = assumed or len(open_photographs(data))
    plan = build_plan(config, images)
    check_sizes(config, plan)
    console.print(plan_table(plan))
    console.print(photographs(data, images, assumed is not None), soft_wrap=True, markup=False)


def photographs(data: Data, images: int, assumed: bool = False) -> str:
    """How many photographs a plan is for, and how that is known."""
    if assumed:
        return f"For {images:,} photographs, as data.images says: those at data.path are counted when a run begins."
    if data.source is not None:
        return f"For {images:,} photographs, counted by data.source ({data.source[TARGET]})."
    if data.kind == "scenes":
        return f"For {images:,} scenes (data.images)."
    return f"For {images:,} photographs, counted at data.path={data.path}."
