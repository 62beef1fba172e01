"""Which photographs train, which are the critic's "real" ones, and which are held out."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nogan.common.errors import UserError
from nogan.common.rng import Key, numpy_rng
from nogan.data.sources.base import Source
from nogan.plan import split_sizes

AT_ONCE = 4096
"""Names that are in memory at a time."""


class Split(NamedTuple):
    """Disjoint int64 indices of a source: what the networks train on, the critic's "real" pool, the held-out rest."""

    train: np.ndarray
    reals: np.ndarray
    val: np.ndarray


def split(source: Source, seed: int, val_share: float, reals_share: float) -> Split:
    """Divide the photographs of ``source``, the same in every run: see :func:`shuffled`.

    Where photographs have names, one more or less moves at most one other across each border. What moves into the
    held-out part comes from the critic's pool, which the generator has not seen.

    Raises:
        UserError: a share leaves its part, or training, without a single photograph.
    """
    _, reals, val = split_sizes(len(source), val_share, reals_share)
    order = shuffled(source, np.arange(len(source)), "split", seed)
    return Split(train=order[val + reals :], reals=order[val : val + reals], val=order[:val])


def shuffled(source: Source, indices: np.ndarray, *keys: Key) -> np.ndarray:
    """``indices`` of ``source`` in an order that depends on ``keys``.

    It is by a hash of each photograph's name where the source has names, so that one more or less leaves the order of
    all others; else it is a permutation of as many.
    """
    name = getattr(source, "name", None)
    if name is None:
        return numpy_rng(*keys).permutation(indices)
    # Not of all at once: a million names as objects take a hundred times the memory of their hashes.
    starts = range(0, len(indices), AT_ONCE)
    parts = [_hashes(_encoded(name, indices[start : start + AT_ONCE]), keys) for start in starts]
    hashes = np.concatenate(parts) if parts else np.empty(0, "<u8")
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    repeated = (np.flatnonzero(ordered[1:] == ordered[:-1]) + 1).tolist()
    if not repeated:  # as in every folder
        return indices[order]
    again, last = 0, 0
    for place in repeated:  # several of one name must not all fall into one part
        again, last = again + 1 if place == last + 1 else 1, place
        number = order[place]
        hashes[number] = _hashes(_encoded(name, indices[number : number + 1]), (*keys, again))[0]
    return indices[np.argsort(hashes, kind="stable")]


def _encoded(name: Callable[[int], str], indices: np.ndarray) -> list[bytes]:
    return [name(index).encode("utf-8", "surrogateescape") for index in indices.tolist()]


def _hashes(names: list[bytes], keys: tuple[Key, ...]) -> np.ndarray:
    key = hashlib.blake2b(repr(keys).encode(), digest_size=16).digest()
    digests = b"".join(hashlib.blake2b(name, digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(digests, "<u8").copy()


def subset(indices: np.ndarray, share: float, *keys: Key) -> np.ndarray:
    """The first ``share`` of a permutation of ``indices`` keyed by ``keys``.

    The same keys give nested subsets: a larger share holds the smaller one.

    Raises:
        UserError: the share is so small that nothing is left.
    """
    count = round(len(indices) * share)
    if count == 0:
        raise UserError(
            f"a share of {share:g} of {len(indices)} photographs is none: raise the phase's `share`, "
            "or give more photographs (data.path, data.images)"
        )
    return numpy_rng("subset", *keys).permutation(indices)[:count]
