"""Snapshots of the generator within a GAN phase, on disk: what a rollback goes back to.

Snapshot ``step`` is the generator after ``step`` batches of the phase; 0 is the generator before it.
"""

import re
from pathlib import Path

from torch import nn

from nogan.files import write_atomically

FILE = re.compile(r"step-(\d+)\.safetensors")


class SnapshotStore:
    """The snapshots of one phase, in one folder.

    Args:
        folder: made at the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Where snapshot ``step`` is or would be."""
        return self.folder / f"step-{step:06d}.safetensors"

    def steps(self) -> list[int]:
        """The steps that have a snapshot, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for file in self.folder.iterdir() if (match := FILE.fullmatch(file.name)))

    def save(self, step: int, network: nn.Module) -> Path:
        """Write the state of ``network``, atomically."""
        path = self.path(step)
        save_state(network, path)
        return path

    def nearest(self, step: int) -> int | None:
        """The step of the snapshot nearest to ``step``, the earlier of two as near; None without snapshots."""
        return min(self.steps(), key=lambda have: (abs(have - step), have), default=None)

    def restore(self, step: int, network: nn.Module) -> None:
        """Put snapshot ``step`` back into ``network``."""
        load_state(network, self.path(step))

    def discard_after(self, step: int) -> None:
        """Remove the snapshots later than ``step``: a resumed phase makes them again."""
        for later in self.steps():
            if later > step:
                self.path(later).unlink()


def save_state(network: nn.Module, path: Path) -> None:
    """Write the state dict of ``network`` as safetensors, atomically."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(state, temporary))


def load_state(network: nn.Module, path: Path) -> None:
    """Read what :func:`save_state` wrote."""
    from safetensors.torch import load_file

    network.load_state_dict(load_file(path))
