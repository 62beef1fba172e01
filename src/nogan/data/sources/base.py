"""What a source of photographs must offer."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """Anything that photographs can be loaded from by index."""

    def __len__(self) -> int: ...

    def load(self, index: int, size: int) -> np.ndarray:
        """Picture ``index`` as uint8 RGB ``(H, W, 3)``.

        Its shorter side is from ``size`` to ``2 * size`` px where the file allows it, its longer side at most twice the
        shorter; :func:`nogan.data.images.decode` does both.

        Raises:
            BadImage: this one picture cannot be read; another takes its place, and the run goes on.
        """
        ...


class FileSource(Source, Protocol):
    """A source whose pictures are files: it can name them and give their bytes."""

    def name(self, index: int) -> str:
        """What the file of picture ``index`` is called, in messages."""
        ...

    def read(self, index: int) -> bytes:
        """The file of picture ``index`` as it is.

        Raises:
            BadImage: there is none, or it may not be read.
            OSError: the disk failed to read it.
        """
        ...


def fingerprint(source: Source) -> dict[str, Any]:
    """What tells later whether ``source`` is still the same: how many photographs, and digests where it offers them.

    A source offers them by a method ``fingerprint()``, which gives a digest for each aspect of it, by name.
    """
    digests: Callable[[], dict[str, str]] = getattr(source, "fingerprint", dict)
    return {"photographs": len(source), **digests()}


def short_digest(data: bytes) -> str:
    """16 hexadecimal digits that stand for ``data``."""
    return short_digest_of([data])


def short_digest_of(parts: Iterable[bytes]) -> str:
    """:func:`short_digest` of ``parts`` joined, which need not be in memory together."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
