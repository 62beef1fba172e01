"""How much disk a run will take. It is printed before the run starts; where there is too little, no run starts."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nogan.common.errors import UserError
from nogan.common.files import bytes_of
from nogan.plan import CriticPhase, GANPhase, Phase, Plan, fakes_bytes
from nogan.runs.checkpoints import KEPT_WITHIN_A_PHASE

if TYPE_CHECKING:
    from torch import nn

MOMENTS = 2  # that Adam keeps of each parameter that trains
SPARED = 3  # snapshots of a GAN phase that are never thinned out: the first, the last and the best
EXPORTS = 3  # of the generator: as it stands, pretrained, at the inflection point
CRITICS = 2  # exports of the critic: before and after the GAN phase


class DiskUse(NamedTuple):
    """The maximum of bytes that each part of a run takes."""

    fakes: int  # of one cycle: those of the last cycle are removed first
    checkpoints: int
    snapshots: int
    exports: int  # generator and critic as files that other programs start from

    @property
    def total(self) -> int:
        """All together."""
        return sum(self)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in self._asdict().items())
        return f"up to {self.total / 1e9:.2f} GB of disk ({parts})"


def expected_use(
    plan: Plan,
    generator: "nn.Module",
    critic: "nn.Module",
    snapshot_budget: float,
    averaged: bool = False,
    averages_snapshots: bool = False,
) -> DiskUse:
    """The maximum that a whole run of ``plan`` takes.

    Args:
        plan: of the run.
        generator: the network.
        critic: the network.
        snapshot_budget: bytes that snapshots may take.
        averaged: each snapshot has a moving average beside it (``nogan.ema``).
        averages_snapshots: snapshots are averages (``nogan.inflection.average``), and a checkpoint holds the last one.
    """
    of_generator, of_critic = (bytes_of(network.state_dict()) for network in (generator, critic))
    both, average = of_generator + of_critic, of_generator if averaged else 0

    def checkpoint(phase: Phase) -> int:
        match phase:
            case GANPhase():
                trained = both
            case CriticPhase():
                trained = of_critic
            case _:
                trained = of_generator
        return both + average + MOMENTS * trained

    checkpoints = [checkpoint(phase) for phase in plan]
    largest_within = max(checkpoints) + averages_snapshots * of_generator
    gans = [phase for phase in plan if isinstance(phase, GANPhase)]
    snapshot = of_generator * (1 + averaged)
    budget = max(int(snapshot_budget), len(gans) * SPARED * snapshot)
    snapshots = sum(phase.steps // phase.snapshot_every + 2 for phase in gans) * snapshot
    return DiskUse(
        fakes=fakes_bytes(plan),
        # Those within a phase are still there while the last one of the run is written under a temporary name.
        checkpoints=sum(checkpoints) + KEPT_WITHIN_A_PHASE * largest_within,
        snapshots=min(budget, snapshots) + len(gans) * of_critic,
        exports=EXPORTS * of_generator + average + CRITICS * of_critic,
    )


def bytes_in(folder: Path) -> int:
    """Bytes of all files under ``folder``; a file with two names counts once."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in found}.values())


def check_disk(folder: Path, use: DiskUse) -> None:
    """Check that the disk of ``folder`` has room for what a run in it has not yet written.

    Raises:
        UserError: too little room; names what is needed, what is free, and the keys that lower the need.
    """
    there = bytes_in(folder)
    free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    if free + there < use.total:
        raise UserError(
            f"{folder} has {free / 1e9:.2f} GB free and the run may need {(use.total - there) / 1e9:.2f} GB more: "
            f"{use}; lower nogan.snapshot_budget_gb or nogan.critic.fakes.share, or set hydra.run.dir to another disk"
        )
