"""What a run leaves behind, and how a later command reads it.

=============================  =====================================================================================
``config.yaml``                the composed config, as the run used it
``plan.json``                  every phase
``environment.json``           git commit, package versions, the command, when
``metrics.csv``                every logged step
``records.json``               each phase: what it cost, how it ended, held-out metrics
``samples/``                   the fixed grid (gray | output | truth) from step 0 on
``report.html``                all of it to look at, in one file: ``nogan.report``
``checkpoints/``               to resume from
``snapshots/``                 the generator within each GAN phase
``generator.safetensors``      the final generator, and ``generator.json``, which says how to rebuild it; beside it the
                               ones ``@pretrained`` (before the first GAN phase), ``@inflection``, and with
                               ``nogan.ema`` the moving average ``@ema``
``critic.safetensors``         the critic that a further cycle would go on from; ``critic@gan.safetensors`` is the one
                               that the latest GAN phase trained
``wandb/``, ``tensorboard/``   where asked for
=============================  =====================================================================================
"""

import csv
import json
import math
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.plan import Plan, as_rows, from_rows
from nogan.plan.config import RunConfig, parse_config

PACKAGES = ("nogan", "torch", "torchvision", "pytorch-lightning", "hydra-core", "timm", "kornia", "wandb", "datasets")

FAILURE = "failed.txt"  # in the folder of a sweep's trial that failed: why, in one line
SWEEP_MARK = "sweep.json"  # in the folder of a sweep: what it optimizes

Row = dict[str, float]


def write_json(path: Path, content: Any) -> None:
    """Write ``content``, atomically and for people to read."""
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(content, indent=1) + "\n"))


def describe_run(folder: Path, config: RunConfig, plan: Plan) -> None:
    """Write config, plan and environment; those of a resumption are added to the first."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / "config.yaml", lambda path: path.write_text(text))
    write_json(folder / "plan.json", as_rows(plan))
    path = folder / "environment.json"
    if path.is_file():
        first = json.loads(path.read_text())
        write_json(path, {**first, "resumed": [*first.get("resumed", []), environment()]})
    else:
        write_json(path, environment())


def environment() -> dict[str, Any]:
    """Where and with what this runs."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "git": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def git_commit() -> str | None:
    """The commit of the checkout that this runs from, ``+changes`` behind it where files differ; None outside one."""
    here = Path(__file__).parent
    try:
        describe = ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"]
        return subprocess.run(describe, cwd=here, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def saved_config(folder: Path) -> RunConfig:
    """The config of the run in ``folder``.

    Raises:
        UserError: there is no run in it.
    """
    check_is_run(folder)
    return parse_config(yaml.safe_load((folder / "config.yaml").read_text()))


def check_is_run(folder: Path) -> None:
    """Refuse a ``resume=folder`` that holds no run.

    Raises:
        UserError: says so.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume={folder}: expected a run folder, but there is no config.yaml in it")


def saved_plan(folder: Path) -> Plan:
    """The plan of the run in ``folder`` as it was when it began, or was last resumed."""
    return from_rows(json.loads((folder / "plan.json").read_text()))


def write_records(folder: Path, records: list[Mapping[str, Any]]) -> None:
    """Write what each phase cost and how it ended; the run has then come to its end."""
    write_json(folder / "records.json", records)


def has_checkpoints(folder: Path) -> bool:
    """Whether the run in ``folder`` has got as far as a checkpoint."""
    return any((folder / "checkpoints").glob("*.ckpt"))


def has_ended(folder: Path) -> bool:
    """Whether the run in ``folder`` has come to its end."""
    return (folder / "records.json").is_file()


def forget_end(folder: Path) -> None:
    """Take the end of a run back: it goes on, with more cycles."""
    (folder / "records.json").unlink(missing_ok=True)


def failure_of(folder: Path) -> str | None:
    """Why the trial in ``folder`` failed, in one line; None if it did not."""
    path = folder / FAILURE
    return path.read_text().strip() if path.is_file() and not (folder / "records.json").is_file() else None


def metrics_of(folder: Path) -> list[Row]:
    """``metrics.csv`` of the run in ``folder``, each row without its empty cells; no row before there is any."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [_numbers(row) for row in csv.DictReader(file)]


def _numbers(row: Mapping[str, str]) -> Row:
    values = {name: float(cell) for name, cell in row.items() if cell}
    return {name: value for name, value in values.items() if math.isfinite(value)}
