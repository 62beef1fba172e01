"""Bicubic interpolation of small planes to full size, a strip at a time, as products with small matrices.

Interpolation along one axis is a matrix with a few entries a row. A strip of the full size needs few rows of the small
plane, so that the matrix is small, and the product takes less time than any other step. The entries are Pillow's
(Keys' kernel with a = -0.5, widened where the full size is smaller than the small one): Pillow resizes the identity.
"""

import math

import numpy as np
from PIL import Image

_BLOCK = 256  # columns made at once


def bicubic_rows(small: int, full: int, rows: slice) -> tuple[np.ndarray, slice]:
    """The matrix that makes some rows of a plane of ``full`` rows from a plane of ``small`` rows.

    Args:
        small: rows of the small plane.
        full: rows of the full size.
        rows: of the full size, those wanted.

    Returns:
        Weights ``(wanted, needed)`` float32, and the rows of the small plane that they apply to.
    """
    scale = small / full
    top, bottom = rows.start * scale, min(rows.stop * scale, small)
    margin = math.ceil(2 * max(scale, 1)) + 1  # the kernel reaches two samples, or more where it averages
    first, last = max(0, math.floor(top) - margin), min(small, math.ceil(bottom) + margin)
    count = last - first
    identity = Image.fromarray(np.eye(count, dtype=np.float32))
    box = (0, top - first, count, min(bottom - first, count))
    weights = identity.resize((count, rows.stop - rows.start), Image.Resampling.BICUBIC, box=box)
    return np.asarray(weights), slice(first, last)


def widened(plane: np.ndarray, width: int) -> np.ndarray:
    """A plane ``(h, w)`` float32 interpolated along its rows to ``(h, width)``."""
    result = np.empty((plane.shape[0], width), np.float32)
    for left in range(0, width, _BLOCK):
        columns = slice(left, min(left + _BLOCK, width))
        weights, needed = bicubic_rows(plane.shape[1], width, columns)
        result[:, columns] = plane[:, needed] @ weights.T
    return result
