"""Bicubic interpolation of small planes to full size, a strip at a time, as products with small matrices.

Interpolation along one axis is a matrix with a few entries a row. A strip of the full size needs few rows of the small
plane, so that the matrix is small, and the product takes less time than any other step. The entries are Pillow's
(Keys' kernel with a = -0.5, widened where the full size is smaller than the small one): Pillow resizes the identity.
"""

import math

import numpy as np
from PIL import Image

_BLOCK = 32  # columns made at once
_ONE_THREAD = 1 << 18  # multiplications in a product up to which OpenBLAS does not wake other threads, which then wait


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
        result[:, columns] = product(plane[:, needed], weights.T)
    return result


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """``a @ b`` in pieces that are small enough for one thread; several lose more time in waiting than they gain."""
    (rows, inner), columns = a.shape, b.shape[1]
    result = np.empty((rows, columns), np.float32) if out is None else out
    if columns >= rows:
        step = max(1, _ONE_THREAD // (rows * inner))
        for left in range(0, columns, step):
            np.matmul(a, b[:, left : left + step], out=result[:, left : left + step])
    else:
        step = max(1, _ONE_THREAD // (columns * inner))
        for top in range(0, rows, step):
            np.matmul(a[top : top + step], b, out=result[top : top + step])
    return result
