"""Photographs as files below a folder."""

import contextlib
import errno
import heapq
import io
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from nogan.common.errors import UserError
from nogan.common.image_files import IMAGE_SUFFIXES
from nogan.data.images import BadImage, decode_color
from nogan.data.sources.base import short_digest, short_digest_of


class FolderSource:
    """Every image file below a folder, in the order of their relative paths; decoded when asked for.

    Hidden files, hidden folders and files without an image's suffix are passed over; links to folders are followed.
    The listing takes one pass over the folders, sixteen of them at a time, with no look at the files themselves: about
    three seconds for the 1.28 million of ImageNet on a local disk.

    Args:
        path: the folder.
        setting: the config key or flag that names it, for the messages.
    """

    def __init__(self, path: str | Path, setting: str = "data.path"):
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            found = "a file" if self.path.exists() else "not there"
            raise UserError(f"{setting}={path} is {found}; expected a folder of photographs")
        self._names = Strings(_in_order(_image_files(self.path, setting)))
        if not len(self):
            raise UserError(f"{setting}={path} holds no photographs ({', '.join(IMAGE_SUFFIXES[:5])}, …) at any depth")

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """The path of photograph ``index``, relative to the folder, with ``/`` between its parts."""
        return self._names[index]

    def read(self, index: int) -> bytes:
        """The file of photograph ``index`` as it is.

        Raises:
            BadImage: this one file may not be read.
            OSError: the disk failed to read it, which says nothing about the photograph.
        """
        path = self.path / self.name(index)
        try:
            return path.read_bytes()
        except PermissionError as error:
            path.stat()  # fails, too, if the whole folder may not be read, and not only this file
            os.scandir(self.path).close()
            raise BadImage(error.strerror) from error
        except OSError as error:
            if error.errno == errno.ELOOP:  # which will not pass
                raise BadImage("a link that leads in a circle") from error
            raise

    def fingerprint(self) -> dict[str, str]:
        """Digests of the names and of the sizes of all files: see :func:`nogan.data.sources.fingerprint`."""
        with ThreadPoolExecutor(16) as pool:
            starts = range(0, len(self), 4096)
            sizes = b"".join(pool.map(lambda start: self._sizes(start, start + 4096), starts))
        return {"names": short_digest_of(self._names.joined(b"\0")), "sizes": short_digest(sizes)}

    def _sizes(self, start: int, stop: int) -> bytes:
        sizes = np.full(min(stop, len(self)) - start, -1, np.int64)
        for place in range(len(sizes)):
            with contextlib.suppress(OSError):  # that it cannot be read is said when it is
                sizes[place] = (self.path / self.name(start + place)).stat().st_size
        return sizes.tobytes()

    def load(self, index: int, size: int) -> np.ndarray:
        """Photograph ``index`` as uint8 RGB ``(H, W, 3)``: see :func:`nogan.data.images.decode_color`."""
        try:
            data = self.read(index)
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error
        return decode_color(data, size)


class Strings(Sequence[str]):
    """A million strings in two arrays, which forked workers share and spawned ones receive at once."""

    def __init__(self, strings: Iterable[str]):
        content, ends = io.BytesIO(), array("q")
        for string in strings:
            content.write(string.encode("utf-8", "surrogateescape"))
            ends.append(content.tell())
        self._ends = np.array(ends, dtype=np.int64)
        self._bytes = content.getvalue()

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"{index} of {len(self)}")
        start = self._ends[index - 1] if index else 0
        return self._bytes[start : self._ends[index]].decode("utf-8", "surrogateescape")

    def joined(self, separator: bytes) -> Iterator[bytes]:
        """All strings as bytes with ``separator`` between them, in parts: a million as objects take much memory."""
        start = 0
        for end in self._ends:
            yield (separator if start else b"") + self._bytes[start:end]
            start = end


class _Part(NamedTuple):
    """The image files directly in a folder: ``prefix`` is the folder's path with a slash, or empty for the root."""

    prefix: str
    names: bytes  # sorted, with zeros between them: as objects, a million take ten times the memory

    def paths(self) -> Iterator[str]:
        """Their paths below the root, in order."""
        for name in re.finditer(rb"[^\0]+", self.names):
            yield self.prefix + name[0].decode("utf-8", "surrogateescape")


def _packed(names: Iterable[str]) -> bytes:
    return b"\0".join(name.encode("utf-8", "surrogateescape") for name in sorted(names))


def _in_order(parts: list[_Part]) -> Iterator[str]:
    """All paths of ``parts``, sorted, without having them all in memory."""
    parts = sorted(part for part in parts if part.names)
    paths = [part.paths() for part in parts]
    # Sorted, a folder comes right before those in it. Without any of those, all its files come before all of the next.
    nested = any(below.prefix.startswith(folder.prefix) for folder, below in pairwise(parts))
    return heapq.merge(*paths) if nested else chain.from_iterable(paths)


def _image_files(root: Path, setting: str) -> list[_Part]:
    """The image files below ``root``. A folder with several links to it is read once."""
    seen: set[str] = set()
    links, parts = [""], []
    with ThreadPoolExecutor(16) as pool:
        while links:  # links come after all real folders, so that a link back to one adds nothing
            links.sort()
            folders = [links.pop(0)]
            while folders := [folder for folder in folders if os.path.realpath(root / folder) not in seen]:
                seen.update(os.path.realpath(root / folder) for folder in folders)
                found = list(pool.map(lambda folder: _scan(root, folder, setting), folders))
                for folder, listing in zip(folders, found, strict=True):
                    parts.append(_Part(f"{folder}/" if folder else "", listing.files))
                    links += listing.links
                folders = [folder for listing in found for folder in listing.folders]
    return parts


class _Listing(NamedTuple):
    files: bytes  # as in _Part
    folders: list[str]
    links: list[str]


def _scan(root: Path, folder: str, setting: str) -> _Listing:
    """What is directly in ``root/folder``: image files by name; folders and links to folders relative to ``root``."""
    files: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    prefix = f"{folder}/" if folder else ""
    try:
        for entry in os.scandir(root / folder):
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(prefix + entry.name)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES) and _is_file(entry):
                files.append(entry.name)
    except OSError as error:  # skipping it would silently leave out photographs
        raise UserError(f"cannot list {error.filename or root / folder} of {setting}: {error.strerror}") from error
    return _Listing(_packed(files), folders, links)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        if entry.is_symlink():  # a link that leads in a circle is no folder
            return False
        raise


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is one to be read: no pipe, socket or device. A link that leads nowhere is; reading it says so."""
    try:
        return entry.is_file() or not Path(entry).exists()
    except OSError:
        if entry.is_symlink():
            return True
        raise


def ilsvrc_folder(path: str | Path) -> FolderSource | None:
    """The training photographs of an ILSVRC download: see :func:`ilsvrc_root`."""
    root = ilsvrc_root(path)
    return None if root is None else FolderSource(root)


def ilsvrc_root(path: str | Path) -> Path | None:
    """Where the training photographs of an ILSVRC download are: ``ILSVRC/Data/CLS-LOC/train/n01440764/*.JPEG``, …

    ``path`` may be any of these folders, down to ``train``. None where it is none of them.
    """
    inner = Path("ILSVRC/Data/CLS-LOC/train").parts
    for depth in range(len(inner) + 1):
        root = Path(path).expanduser().joinpath(*inner[depth:])
        if root.is_dir() and any(_WORDNET_ID.fullmatch(entry.name) for entry in os.scandir(root)):
            return root
    return None


_WORDNET_ID = re.compile(r"n\d{8}")
