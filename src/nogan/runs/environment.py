"""Where and with what a run is made: command, git commit, Python, platform, package versions."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
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
        "threads": _threads(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def check_environment(noted: Any) -> None:
    """Check that ``noted`` is of the kind that :func:`environment` makes.

    Raises:
        ValueError: it is not.
    """
    kinds = {"command": str, "packages": dict, "resumed": list}
    for one in [noted, *(noted.get("resumed") or [] if isinstance(noted, dict) else [])]:
        if not isinstance(one, dict) or not all(isinstance(one.get(key, kind()), kind) for key, kind in kinds.items()):
            raise ValueError("expected what a run notes of where it is made")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of ``now`` may make results differ from those that ``before`` gave, in words."""
    pairs = (
        ("PyTorch", before.get("packages", {}).get("torch"), now["packages"]["torch"]),
        ("commit", before.get("git"), now["git"]),
        ("threads (OMP_NUM_THREADS)", before.get("threads"), now["threads"]),
    )
    return [f"{name} {new}, before {old}" for name, old, new in pairs if old is not None and old != new]


def _threads() -> int:
    import torch

    return torch.get_num_threads()


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
