"""Every random draw of a run is a pure function of named keys, so that no generator state has to be saved.

The keys name what a draw is for, e.g. ``("augment", seed, rank, phase, step)``: the same keys give the same draw in
every process, after every resume, in any order.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Key = int | str


def derive_seed(*keys: Key) -> int:
    """Hash ``keys`` to a seed in [0, 2**63), stable across processes, platforms and Python versions."""
    digest = hashlib.blake2b(
        "\x1f".join(f"{type(key).__name__}:{key}" for key in keys).encode(), digest_size=8
    ).digest()
    return int.from_bytes(digest, "little") >> 1


def torch_rng(*keys: Key) -> "torch.Generator":
    """A CPU generator seeded by ``keys``."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*keys))


def numpy_rng(*keys: Key) -> np.random.Generator:
    """A NumPy generator seeded by ``keys``."""
    return np.random.default_rng(derive_seed(*keys))
