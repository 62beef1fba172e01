"""Which photographs train, which are the critic's "real" ones, and which are held out."""

from typing import NamedTuple

import numpy as np

from nogan.common.errors import UserError
from nogan.plan import split_sizes


class Split(NamedTuple):
    """Disjoint int64 indices of a source: what the networks train on, the critic's "real" pool, the held-out rest."""

    train: np.ndarray
    reals: np.ndarray
    val: np.ndarray


def split(length: int, seed: int, val_share: float, reals_share: float) -> Split:
    """Divide ``length`` photographs by a permutation that depends on ``seed`` alone, so the same in every run.

    Raises:
        UserError: a share leaves its part, or training, without a single photograph.
    """
    from nogan.common.rng import numpy_rng

    _, reals, val = split_sizes(length, val_share, reals_share)
    order = numpy_rng("split", seed).permutation(length)
    return Split(train=order[val + reals :], reals=order[val : val + reals], val=order[:val])


def subset(indices: np.ndarray, share: float, *keys: int | str) -> np.ndarray:
    """The first ``share`` of a permutation of ``indices`` keyed by ``keys``.

    The same keys give nested subsets: a larger share holds the smaller one.

    Raises:
        UserError: the share is so small that nothing is left.
    """
    from nogan.common.rng import numpy_rng

    count = round(len(indices) * share)
    if count == 0:
        raise UserError(
            f"a share of {share:g} of {len(indices)} photographs is none: raise the phase's `share`, "
            "or give more photographs (data.path, data.images)"
        )
    return numpy_rng("subset", *keys).permutation(indices)[:count]
