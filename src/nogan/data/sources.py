"""Where photographs come from, how they are divided, and how a batch of them is loaded.

A *source* has ``__len__()`` and ``load(index, size) -> uint8 RGB (H, W, 3)``. The shorter side is between ``size`` and
``2 * size``, and below that only where the file is: nothing is enlarged here. The longer side is at most twice the
shorter: what is longer is cut to its middle, so that the memory of a batch is bounded. Reducing is by area-averaging,
which keeps the bilinear resampling of :mod:`nogan.data.augment` from aliasing.

Sources hold no open file that a fork or a pickle would break, so any kind of DataLoader worker may use them. What needs
torch imports it where it is used: the processes of :mod:`nogan.data.prepare` need none of it, and start in no time.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from nogan.data.images import BadImage, decode
from nogan.errors import UserError
from nogan.plan import split_sizes

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".avif", ".jp2", ".ppm", ".pgm", ".tga"),
)


class Source(Protocol):
    """Anything that photographs can be loaded from by index."""

    def __len__(self) -> int: ...

    def load(self, index: int, size: int) -> np.ndarray:
        """Picture ``index`` as uint8 RGB ``(H, W, 3)``, shorter side in [size, 2 size] where the file allows it."""
        ...


# ---------------------------------------------------------------------------------------------------- dividing


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
    from nogan.rng import numpy_rng

    _, reals, val = split_sizes(length, val_share, reals_share)
    order = numpy_rng("split", seed).permutation(length)
    return Split(train=order[val + reals :], reals=order[val : val + reals], val=order[:val])


def subset(indices: np.ndarray, share: float, *keys: int | str) -> np.ndarray:
    """The first ``share`` of a permutation of ``indices`` keyed by ``keys``.

    The same keys give nested subsets: a larger share holds the smaller one.

    Raises:
        UserError: the share is so small that nothing is left.
    """
    from nogan.rng import numpy_rng

    count = round(len(indices) * share)
    if count == 0:
        raise UserError(
            f"a share of {share:g} of {len(indices)} photographs is none: raise the phase's `share`, "
            "or give more photographs (data.path, data.images)"
        )
    return numpy_rng("subset", *keys).permutation(indices)[:count]


# ---------------------------------------------------------------------------------------------------- loading


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
    is as repeatable as one without, and nothing held out slips in.

    Raises:
        UserError: none of the replacements can be read either.
    """
    import torch

    bad: list[str] = []
    pictures = [_load_or_replace(source, int(index), size, indices if pool is None else pool, bad) for index in indices]
    sizes = np.array([picture.shape[:2] for picture in pictures], dtype=np.int64)
    # Rows are copied as they are decoded; a plane for each channel would cost as much again as the decoding.
    canvas = np.zeros((len(pictures), *sizes.max(axis=0), 3), dtype=np.uint8)
    for row, picture in zip(canvas, pictures, strict=True):
        row[: picture.shape[0], : picture.shape[1]] = picture
    return Batch(torch.from_numpy(canvas).permute(0, 3, 1, 2), torch.from_numpy(sizes), bad)


_REPLACEMENTS = 100  # As many bad ones in a row, drawn at random, mean that the disk has gone, not that files are bad.


def _load_or_replace(
    source: Source, index: int, size: int, pool: Sequence[int] | np.ndarray, bad: list[str]
) -> np.ndarray:
    for candidate in _candidates(index, pool):
        try:
            return source.load(candidate, size)
        except BadImage as error:
            bad.append(f"{source.name(candidate) if hasattr(source, 'name') else candidate}: {error}")
    raise UserError(f"{_REPLACEMENTS} photographs in a row cannot be read: is data.path still there? ({bad[-1]})")


def _candidates(index: int, pool: Sequence[int] | np.ndarray) -> Iterator[int]:
    from nogan.rng import numpy_rng

    yield index
    rng = numpy_rng("replacement", index)
    for _ in range(_REPLACEMENTS - 1):
        yield int(pool[rng.integers(len(pool))])


class BadImages:
    """Counts the photographs that could not be read, and stops the run when they are more than ``max_share``.

    Keep one in the main process and give it the ``bad`` of every batch; a photograph met again is not counted again.
    """

    def __init__(self, length: int, max_share: float):
        self.length, self.max_share = length, max_share
        self.bad: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.bad)

    def add(self, bad: Iterable[str]) -> None:
        """Note what a batch reports as ``bad``; each new one goes to the log.

        Raises:
            UserError: they are more than ``max_share`` of the source's ``length``.
        """
        for entry in bad:
            if entry not in self.bad:
                self.bad[entry] = None
                log.warning("skipped an unreadable photograph, %s (%d of %d so far)", entry, len(self), self.length)
        if len(self) > self.max_share * self.length:
            raise UserError(
                f"{len(self)} of {self.length} photographs cannot be read, more than"
                f" data.max_bad_share={self.max_share:g} allows; the last one: {next(reversed(self.bad))}"
            )


# ---------------------------------------------------------------------------------------------------- folders


class FolderSource:
    """Every image file below a folder, in the order of their relative paths; decoded when asked for.

    Hidden files, hidden folders and files without an image's suffix are passed over; links to folders are followed.
    The listing takes one pass over the folders, sixteen of them at a time, with no look at the files themselves: about
    three seconds for the 1.28 million of ImageNet on a local disk.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            found = "a file" if self.path.exists() else "not there"
            raise UserError(f"data.path={path} is {found}; expected a folder of photographs")
        self._names = Strings(sorted(_image_files(self.path)))
        if not len(self):
            raise UserError(f"data.path={path} holds no photographs ({', '.join(IMAGE_SUFFIXES[:5])}, …) at any depth")

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """The path of photograph ``index``, relative to the folder, with ``/`` between its parts."""
        return self._names[index]

    def read(self, index: int) -> bytes:
        """The file of photograph ``index`` as it is. Raises BadImage where it cannot be opened."""
        try:
            return (self.path / self.name(index)).read_bytes()
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error

    def load(self, index: int, size: int) -> np.ndarray:
        """Photograph ``index`` as uint8 RGB ``(H, W, 3)``: see :func:`nogan.data.images.decode`."""
        return decode(self.read(index), size)


class Strings(Sequence[str]):
    """A million strings in two arrays, which forked workers share and spawned ones receive at once."""

    def __init__(self, strings: Iterable[str]):
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        self._ends = np.cumsum([len(string) for string in encoded], dtype=np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"{index} of {len(self)}")
        start = self._ends[index - 1] if index else 0
        return self._bytes[start : self._ends[index]].decode("utf-8", "surrogateescape")


def _image_files(root: Path) -> Iterator[str]:
    """Relative paths of the image files below ``root``, in no order; a folder that links lead to twice is read once."""
    seen: set[str] = set()
    links = [""]
    with ThreadPoolExecutor(16) as pool:
        while links:  # A link waits until all real folders are known, so that one that leads back adds nothing.
            links.sort()
            folders = [links.pop(0)]
            while folders := [folder for folder in folders if os.path.realpath(root / folder) not in seen]:
                seen.update(os.path.realpath(root / folder) for folder in folders)
                found = list(pool.map(lambda folder: _scan(root, folder), folders))
                for listing in found:
                    yield from listing.files
                    links += listing.links
                folders = [folder for listing in found for folder in listing.folders]


class _Listing(NamedTuple):
    files: list[str]
    folders: list[str]
    links: list[str]


def _scan(root: Path, folder: str) -> _Listing:
    """What is directly in ``root/folder``: image files, folders and links to folders, all relative to ``root``."""
    listing = _Listing([], [], [])
    prefix = f"{folder}/" if folder else ""
    try:
        entries = list(os.scandir(root / folder))
    except OSError as error:  # Passing over it would leave out photographs and say nothing.
        raise UserError(f"cannot list {root / folder} of data.path: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            (listing.links if entry.is_symlink() else listing.folders).append(prefix + entry.name)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            listing.files.append(prefix + entry.name)
    return listing


def ilsvrc_folder(path: str | Path) -> FolderSource | None:
    """The training photographs of an ILSVRC download: ``ILSVRC/Data/CLS-LOC/train/n01440764/*.JPEG``, …

    ``path`` may be any of these folders, down to ``train``. None where it is none of them.
    """
    inner = Path("ILSVRC/Data/CLS-LOC/train").parts
    for depth in range(len(inner) + 1):
        root = Path(path).expanduser().joinpath(*inner[depth:])
        if root.is_dir() and any(_WORDNET_ID.fullmatch(entry.name) for entry in os.scandir(root)):
            return FolderSource(root)
    return None


_WORDNET_ID = re.compile(r"n\d{8}")


# ---------------------------------------------------------------------------------------------------- Arrow


# What a prepared copy was begun with. A copy that has this and not yet ``state.json`` is unfinished.
PREPARING = "prepare.json"


class PreparedSource:
    """The copy that ``python -m nogan.data.prepare`` makes: Arrow shards of JPEG files, mapped into memory.

    Any folder that ``datasets`` wrote with ``save_to_disk`` will do, if it has an ``image`` column. Opening reads only
    what says where the rows are, and the pages that hold them are the system's file cache, shared by all workers.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        try:
            state = json.loads((self.path / "state.json").read_text())
            self._open([self.path / entry["filename"] for entry in state["_data_files"]])
        except FileNotFoundError as error:
            raise UserError(f"{path} is not a whole prepared copy: {error.filename or error}") from error
        except (ValueError, KeyError, TypeError, OSError) as error:  # pyarrow's own errors are among these
            raise UserError(f"{path} is not a prepared copy that can be read: {error}") from error

    def _open(self, shards: list[Path]) -> None:
        import pyarrow as pa

        tables = [pa.ipc.open_stream(pa.memory_map(os.fspath(shard))).read_all() for shard in shards]
        batches = [batch for table in tables for batch in table.to_batches()]
        self._files = [batch.column("image").field("bytes") for batch in batches]
        named = bool(batches) and "name" in batches[0].schema.names
        self._labels = [batch.column("name") if named else batch.column("image").field("path") for batch in batches]
        self._ends = np.cumsum([len(batch) for batch in batches], dtype=np.int64)

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"photograph {index} of {len(self)}")
        batch = int(np.searchsorted(self._ends, index, side="right"))
        return batch, int(index - self._ends[batch])  # Arrow counts from the end where an index is negative.

    def name(self, index: int) -> str:
        """The name that the photograph's file had in what the copy was prepared from."""
        batch, row = self._locate(index)
        return self._labels[batch][row].as_py() or f"row {index}"

    def read(self, index: int) -> bytes:
        """The JPEG file of photograph ``index``. Raises BadImage where the row holds none."""
        batch, row = self._locate(index)
        data = self._files[batch][row].as_py()
        if data is None:
            raise BadImage("no bytes in its row")
        return data

    def load(self, index: int, size: int) -> np.ndarray:
        """Photograph ``index`` as uint8 RGB ``(H, W, 3)``: see :func:`nogan.data.images.decode`."""
        return decode(self.read(index), size)


def arrow_folder(path: str | Path) -> Path | None:
    """Where ``datasets`` saved what :class:`PreparedSource` opens: ``path``, or its ``train`` part; None if nowhere."""
    root = Path(path).expanduser()
    return next((folder for folder in (root, root / "train") if (folder / "state.json").is_file()), None)


HUB_IMAGENET = "ILSVRC/imagenet-1k"


class HubSource:
    """A ``datasets.Dataset`` with an ``image`` column, decoded here and not by ``datasets``."""

    def __init__(self, dataset):
        from datasets import Image

        self._dataset = dataset.select_columns("image").cast_column("image", Image(decode=False))

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """ "row N": file names are not read, for they cost as much as the files."""
        return f"row {index}"

    def read(self, index: int) -> bytes:
        """The file of photograph ``index``. Raises BadImage where the row holds none."""
        data = self._dataset[int(index)]["image"]["bytes"]
        if data is None:
            raise BadImage("no bytes in its row")
        return data

    def load(self, index: int, size: int) -> np.ndarray:
        """Photograph ``index`` as uint8 RGB ``(H, W, 3)``: see :func:`nogan.data.images.decode`."""
        return decode(self.read(index), size)


def hub_imagenet(name: str = HUB_IMAGENET, part: str = "train") -> HubSource:
    """ImageNet from the Hugging Face hub, downloaded on first use (about 150 GB) to the cache of ``datasets``.

    Raises:
        UserError: the hub does not give it; says in three lines how to get access and log in.
    """
    import datasets

    try:
        return HubSource(datasets.load_dataset(name, split=part))
    except (
        Exception
    ) as error:  # The hub's client raises a wide family: gated, not found, HTTP status, no network, disk full.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{name} did not come from the hub: {reason}\n"
            f"to get access: accept its terms at https://huggingface.co/datasets/{name}, then run `hf auth login`\n"
            f"or use data.path=DIR (a prepared copy or the ILSVRC folders), or the built-in data: {_BUILT_IN}"
        ) from error


# ---------------------------------------------------------------------------------------------------- opening

_BUILT_IN = "`python train.py experiment=quickstart`, or data=scenes"


def open_source(
    kind: str = "scenes", path: str | Path | None = None, *, images: int | None = None, seed: int = 0
) -> Source:
    """The source that ``data=kind data.path=path`` means.

    Args:
        kind: "scenes" (built-in, drawn), "folder" or "imagenet".
        path: where the photographs are, unused by scenes. A prepared copy does for both of the others; "imagenet" also
            takes the ILSVRC folders, and "hub" for the hub's :data:`HUB_IMAGENET`.
        images: how many scenes there are.
        seed: of the scenes.

    Raises:
        UserError: the photographs are not there.
    """
    if kind == "scenes":
        from nogan.data.scenes import Scenes

        return Scenes(seed, 10_000 if images is None else images)
    if kind not in ("folder", "imagenet"):
        raise UserError(f"data={kind} is not known; expected scenes, folder or imagenet")
    if kind == "imagenet" and path == "hub":
        return hub_imagenet()
    if path is not None and (folder := arrow_folder(path)):
        return PreparedSource(folder)
    if path is not None and (Path(path).expanduser() / PREPARING).is_file():
        raise UserError(f"data.path={path} is half prepared; finish it: `python -m nogan.data.prepare SRC {path}`")
    if kind == "imagenet":
        found = None if path is None else ilsvrc_folder(path)
        if found is None:
            raise _no_imagenet(path)
        return found
    if path is None:
        raise UserError("data=folder needs to know which: data.path=DIR")
    return FolderSource(path)


def _no_imagenet(path: str | Path | None) -> UserError:
    found = "data.path is not set" if path is None else f"nothing of the kind at data.path={path}"
    return UserError(
        f"ImageNet: {found}; looked for a prepared copy, or ILSVRC/Data/CLS-LOC/train/n01440764/*.JPEG, …\n"
        f"point to it: data.path=DIR, or data.path=hub for {HUB_IMAGENET} (gated: accept its terms, `hf auth login`)\n"
        f"or run on the built-in data instead: {_BUILT_IN}"
    )
