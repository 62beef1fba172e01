"""What all sources have in common."""

from typing import Protocol

import numpy as np


class Source(Protocol):
    """Anything that photographs can be loaded from by index."""

    def __len__(self) -> int: ...

    def load(self, index: int, size: int) -> np.ndarray:
        """Picture ``index`` as uint8 RGB ``(H, W, 3)``, shorter side in [size, 2 size] where the file allows it."""
        ...
