"""Resuming an interrupted run: which one, and which changes of its config are allowed."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nogan.common.errors import UserError, shown
from nogan.common.lock import is_held
from nogan.plan import Plan, as_rows, build_plan
from nogan.plan.config import RunConfig, parse_config
from nogan.runs.environment import differences as differences_of_environment
from nogan.runs.environment import environment
from nogan.runs.run_folder import CheckpointName, RunFolder

log = logging.getLogger(__name__)

# Keys that may change when a run is resumed: they say where it runs and what it reports, not what it computes.
FREE = {
    ("name",),
    ("objective",),
    ("resume",),
    ("dry_run",),
    ("trust",),
    ("trainer",),
    ("logger",),
    ("data", "path"),
    ("data", "workers"),
    ("data", "max_bad_share"),
    ("data", "changed"),
    ("model", "init"),
    ("model", "init_critic"),
    ("nogan", "repeats"),
    ("nogan", "inflection", "cycle_worth"),
    ("nogan", "snapshot_budget_gb"),
}
# Keys that the plan does not show and only the critic/GAN cycles use: free to change until the first cycle begins.
CYCLES = {
    ("nogan", "critic", "reals"),
    ("nogan", "critic", "restart"),
    ("nogan", "gan", "weights"),
    ("nogan", "gan", "critic_threshold"),
    ("nogan", "gan", "max_critic_steps"),
    ("nogan", "inflection"),
}


def newest_unfinished(parent: Path, config: Mapping[str, Any]) -> Path | None:
    """The newest run folder under ``parent`` with the same config that has not ended and that no process is using.

    One that cannot be read is passed over, and the log says so.
    """
    if (wanted := _comparable(config)) is None:
        return None
    for folder in sorted(parent.glob("*/"), key=lambda path: path.name, reverse=True):
        try:
            if _can_go_on(RunFolder(folder)) and wanted == _comparable(RunFolder(folder).plain_config()):
                return folder
        except (OSError, UserError) as error:
            log.warning("resume=auto: %s is passed over: %s", folder, getattr(error, "strerror", None) or error)
    return None


def _can_go_on(run: RunFolder) -> bool:
    return not run.has_ended and not is_held(run.path) and run.config_file.is_file()


def _comparable(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """``config`` with the schema's defaults, for comparing; None if it is invalid, which is reported elsewhere."""
    try:
        left_out: Any = {"resume": True, "dry_run": True, "trust": True, "data": {"changed"}}
        return parse_config(config).model_dump(exclude=left_out)
    except UserError:
        return None


def changed_environment(run: RunFolder) -> str | None:
    """A line that says why a resumed run may not end the same to the bit; None if nothing that matters has changed."""
    noted = run.environment()
    latest = (noted.get("resumed") or [noted])[-1]
    changed = differences_of_environment(latest, environment())
    return (
        f"Resumed with {'; '.join(changed)}: results may differ slightly from those of a run that was not interrupted"
        if changed
        else None
    )


def check_changes(run: RunFolder, config: RunConfig, plan: Plan, checkpoint: Path, images: int) -> None:
    """Refuse a config that changes the part of the run that is already done.

    Args:
        run: the run.
        config: the config now.
        plan: the plan now.
        checkpoint: what the run goes on from.
        images: in the data, for a plan of before that has to be made again because its file is damaged.

    Raises:
        UserError: names the phase and the field, or the key, with both values.
    """
    position = CheckpointName.of(checkpoint)
    assert position is not None
    try:
        before = run.plan()
    except UserError as damage:
        log.warning("%s; the plan is made again from config.yaml", damage)
        before = build_plan(run.config(), images)
    done = position.phase + 1
    was, now = as_rows(before)[:done], as_rows(plan)[:done]
    for index, old in enumerate(was):
        new = now[index] if index < len(now) else {}
        for field, value in old.items():
            if new.get(field) != value:
                raise UserError(
                    f"resume={run}: phase {old['name']} is {_done(position, index)} with {field}={shown(value)}, "
                    f"and the config now says {shown(new.get(field))}: what is done cannot change; start a new run for "
                    "it"
                )
    in_cycles = before[position.phase].cycle > 0
    for path, old, new in differences(run.config().model_dump(), config.model_dump()):
        starts = {path[:length] for length in range(1, len(path) + 1)}
        planned = path[:2] in {
            ("nogan", "pretrain"),
            ("nogan", "critic"),
            ("nogan", "gan"),
            ("nogan", "snapshot_every"),
        }
        if starts & FREE or (starts & CYCLES and not in_cycles) or (planned and not starts & CYCLES):
            continue
        raise UserError(
            f"resume={run}: {'.'.join(path)} was {shown(old)} when the run began and is {shown(new)} now: start a "
            "new run for it, or change only trainer.*, logger.*, nogan.repeats and phases that have not begun"
        )


def _done(position: CheckpointName, index: int) -> str:
    return "finished" if index < position.phase or position.finished else "under way"


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Every leaf in which two nested mappings differ, with its path and both values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), (*path, key))
    elif old != new:
        yield path, old, new
