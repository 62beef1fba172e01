"""Where and with what a run is made: command, git commit, Python, platform, package versions."""

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("nogan", "torch", "torchvision", "pytorch-lightning", "hydra-core", "timm", "kornia", "wandb", "datasets")


def environment() -> dict[str, Any]:
    """What ``environment.json`` says of this process."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "git": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def git_commit() -> str | None:
    """The commit of the checkout that this runs from, with ``+changes`` where files differ; None outside a checkout."""
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
