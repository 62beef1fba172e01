"""Loads a batch of photographs, and replaces those that cannot be read."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nogan.common.errors import UserError
from nogan.common.image_files import printable
from nogan.data.images import GRAY, BadImage
from nogan.data.sources.base import Source

if TYPE_CHECKING:
    from torch import Tensor


class Batch(NamedTuple):
    """Photographs of several sizes on one canvas."""

    images: "Tensor"
    """uint8 RGB ``(B, 3, h, w)``, padded on the right and at the bottom; in channels-last memory."""
    sizes: "Tensor"
    """int64 ``(B, 2)``: each photograph's own height and width."""
    bad: list[str]
    """One "name: reason" for each photograph that could not be read and was replaced."""


def load_batch(source: Source, indices: Sequence[int] | np.ndarray, size: int, pool: np.ndarray | None = None) -> Batch:
    """Load ``indices`` of ``source`` for a phase of ``size`` pixels.

    A photograph that cannot be read is replaced by the first readable one of an order keyed by its index, out of
    ``pool`` (the indices that this phase may see; by default those of the batch itself), so that a run with a bad file
    is repeatable, and no held-out photograph gets into training.

    Raises:
        UserError: none of the replacements can be read either.
    """
    import torch

    bad: list[str] = []
    pictures = [_load_or_replace(source, int(index), size, indices if pool is None else pool, bad) for index in indices]
    sizes = np.array([picture.shape[:2] for picture in pictures], dtype=np.int64)
    # Rows are copied as they are decoded: a plane for each channel would double the time of decoding.
    canvas = np.zeros((len(pictures), *sizes.max(axis=0), 3), dtype=np.uint8)
    for row, picture in zip(canvas, pictures, strict=True):
        row[: picture.shape[0], : picture.shape[1]] = picture
    return Batch(torch.from_numpy(canvas).permute(0, 3, 1, 2), torch.from_numpy(sizes), bad)


_REPLACEMENTS = 100  # this many unreadable photographs in a row, drawn at random, mean that the disk is gone


def _load_or_replace(
    source: Source, index: int, size: int, pool: Sequence[int] | np.ndarray, bad: list[str]
) -> np.ndarray:
    for candidate in _candidates(index, pool):
        try:
            return source.load(candidate, size)
        except BadImage as error:
            bad.append(f"{printable(getattr(source, 'name', str)(candidate))}: {error}")
    if all(entry.endswith(f": {GRAY}") for entry in bad):
        raise UserError(
            f"{_REPLACEMENTS} photographs in a row are gray, which would teach gray: give photographs with color, "
            f"data.path=DIR (and data.val_path), the last one: {bad[-1].removesuffix(f': {GRAY}')}"
        )
    raise UserError(f"{_REPLACEMENTS} photographs in a row cannot be read: is data.path still there? ({bad[-1]})")


def _candidates(index: int, pool: Sequence[int] | np.ndarray) -> Iterator[int]:
    from nogan.common.rng import numpy_rng

    yield index
    rng = numpy_rng("replacement", index)
    for _ in range(_REPLACEMENTS - 1):
        yield int(pool[int(rng.integers(len(pool)))])
