"""How much disk a run will take, said before it starts, and refused where there is not enough."""

import shutil
from pathlib import Path
from typing import NamedTuple

from torch import nn

from nogan.errors import UserError
from nogan.plan import Plan, fakes_bytes

ADAM = 3  # a checkpoint holds each parameter and its two moments


class DiskUse(NamedTuple):
    """Bytes at the most, by what takes them."""

    fakes: int  # of one cycle: older ones are removed
    checkpoints: int
    snapshots: int

    @property
    def total(self) -> int:
        """All together."""
        return sum(self)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in self._asdict().items())
        return f"up to {self.total / 1e9:.2f} GB of disk ({parts})"


def expected_use(
    plan: Plan, generator: nn.Module, critic: nn.Module, snapshot_budget: float, averaged: bool = False
) -> DiskUse:
    """What a whole run of ``plan`` takes at most; ``averaged`` where each snapshot has one of the moving average."""
    generator_bytes, critic_bytes = (_bytes(network) for network in (generator, critic))
    snapshots = sum(phase.steps // phase.snapshot_every + 2 for phase in plan if phase.snapshot_every)
    cycles = sum(phase.kind == "gan" for phase in plan)
    return DiskUse(
        fakes=fakes_bytes(plan),
        checkpoints=(len(plan) + 2) * ADAM * (generator_bytes + critic_bytes),
        snapshots=min(int(snapshot_budget), snapshots * generator_bytes * (1 + averaged)) + cycles * critic_bytes,
    )


def _bytes(network: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def check_disk(folder: Path, use: DiskUse) -> None:
    """Raise a UserError unless the disk of ``folder`` has room for what a run in it has not yet written.

    Raises:
        UserError: names what is needed, what is free, and the keys that lower the need.
    """
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    if free + there < use.total:
        raise UserError(
            f"{folder} has {free / 1e9:.2f} GB free and the run may need {(use.total - there) / 1e9:.2f} GB more: "
            f"{use}; lower nogan.snapshot_budget_gb or nogan.critic.fakes.share, or set hydra.run.dir to another disk"
        )
