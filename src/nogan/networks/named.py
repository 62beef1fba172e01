"""Generators that go by a name: the starter, which comes with the package, and DeOldify's, which are fetched.

DeOldify's weights are Jason Antic's, under the MIT license; the addresses are those of his README
(https://github.com/jantic/DeOldify). A file is fetched when it is first asked for, into :func:`cache_folder`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nogan.common.errors import UserError
from nogan.common.files import in_words, noticing_a_full_disk

STARTER = "starter"
"""The name of the generator that comes with the package, which is taken where no checkpoint is given."""

STARTER_FILE = Path(__file__).parents[1] / "models" / "starter.safetensors"

CACHE = "NOGAN_CACHE"
"""The environment variable that puts the cache elsewhere."""

TIMEOUT = 30.0
"""Seconds without a byte, after which a connection counts as lost."""

TRIES = 3
"""Connections, one after the other, that may bring nothing before a download is given up."""

BLOCK = 1 << 20

Progress = Callable[[int], None]
"""Called with the number of bytes that are there."""


@dataclass(frozen=True)
class Published:
    """A weight file that its author publishes."""

    name: str
    """What it is called here: ``--checkpoint NAME``."""
    file: str
    url: str
    size: int
    """In bytes."""
    sha256: str | None
    """As others who mirror the file note it; None where nobody does."""
    about: str

    @property
    def path(self) -> Path:
        """Where it is in the cache, fetched or not."""
        return cache_folder() / self.file

    @property
    def is_there(self) -> bool:
        """Whether the cache has it, whole."""
        return self.path.is_file() and self.path.stat().st_size == self.size


DEOLDIFY = (
    Published(
        "deoldify-artistic",
        "ColorizeArtistic_gen.pth",
        "https://data.deepai.org/deoldify/ColorizeArtistic_gen.pth",
        255_144_681,
        "3f750246fa220529323b85a8905f9b49c0e5d427099185334d048fb5b5e22477",
        "the most vivid of DeOldify's",
    ),
    Published(
        "deoldify-stable",
        "ColorizeStable_gen.pth",
        "https://www.dropbox.com/s/usf7uifrctqw9rl/ColorizeStable_gen.pth?dl=1",
        874_066_230,
        "ca9cd7f43fb8b222c9a70f7b292e305a000694b0ff9d2ae4a6747b1a2e1ee5af",
        "for portraits and landscapes, with fewer patches",
    ),
    Published(
        "deoldify-video",
        "ColorizeVideo_gen.pth",
        "https://data.deepai.org/deoldify/ColorizeVideo_gen.pth",
        874_066_230,
        None,
        "for film, with the least flicker",
    ),
)


def cache_folder() -> Path:
    """Where fetched weights are kept: ``$NOGAN_CACHE``, or ``nogan`` in the user's cache folder."""
    if given := os.environ.get(CACHE):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nogan"


def resolve(checkpoint: str | os.PathLike[str]) -> Path:
    """The file that a name stands for, fetched if need be; anything else comes back as a path, as it is.

    A file or folder of that name in the current folder comes first.

    Raises:
        UserError: the file cannot be fetched; or ``checkpoint`` is where one of DeOldify's files is not.
    """
    path = Path(checkpoint)
    if path.exists():
        return path
    if str(path) == STARTER:
        return STARTER_FILE
    for published in DEOLDIFY:
        if str(path) == published.name:
            return obtain(published)
        if path.name == published.file:
            raise UserError(
                f"No checkpoint at {path}: download it from {published.url} and put it there, or write "
                f"{published.name} in its place, and it is fetched"
            )
    return path


def is_name(checkpoint: str | os.PathLike[str]) -> bool:
    """Whether ``checkpoint`` is one of the names, and no path."""
    known = (STARTER, *(published.name for published in DEOLDIFY))
    return str(checkpoint) in known and not Path(checkpoint).exists()


def obtain(published: Published, progress: Progress | None = None) -> Path:
    """Its file, fetched into the cache if it is not there.

    Args:
        published: one of :data:`DEOLDIFY`.
        progress: called as bytes come; None shows a bar on stderr.

    Raises:
        UserError: in one line, where to take the file from and where to put it.
    """
    if published.is_there:
        return published.path
    from nogan.common.lock import only_one

    with _by_hand(published), only_one(published.path.parent, f"{published.name}, {published.path.parent}"):
        if published.is_there:
            return published.path
        if published.path.exists():
            size = published.path.stat().st_size
            raise UserError(f"{published.path} has {size:,} bytes, and {published.size:,} were expected: remove it")
        with _bar(published) if progress is None else contextlib.nullcontext(progress) as advance:
            fetch(published, advance)
    return published.path


def fetch(published: Published, progress: Progress = lambda done: None) -> None:
    """Fetch the file into the cache; what an earlier try has brought is kept and gone on from.

    Raises:
        UserError: the server cannot be reached, or gives something else: by its size, or by its checksum.
    """
    from http.client import HTTPException

    target = published.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    tries = 0
    while (done := _size(part)) < published.size:
        try:
            with noticing_a_full_disk(target, published.size - done):
                _append(published, part, progress)
        except (OSError, HTTPException) as error:
            failure: Exception | None = error
        else:
            failure = None
        tries = 0 if _size(part) > done else tries + 1
        if isinstance(failure, urllib.error.HTTPError) or tries == TRIES:
            raise UserError(_reason(failure) if failure else "the server ends the connection") from failure
    if _size(part) > published.size:
        found = _size(part)
        part.unlink()
        raise UserError(f"{published.url} gives {found:,} bytes or more, and {published.size:,} were expected")
    with part.open("rb") as file:
        found_sum = hashlib.file_digest(file, "sha256").hexdigest()
    if published.sha256 not in (None, found_sum):
        part.unlink()
        wanted = str(published.sha256)
        raise UserError(f"{published.url} gives a file whose SHA-256 is {found_sum[:12]}…, not {wanted[:12]}…")
    part.replace(target)


def _append(published: Published, part: Path, progress: Progress) -> None:
    """Fetch what is missing of ``part``, up to one byte more than the whole, until the connection ends."""
    from urllib.request import Request, urlopen

    done = _size(part)
    headers = {"User-Agent": "nogan", **({"Range": f"bytes={done}-"} if done else {})}
    with urlopen(Request(published.url, headers=headers), timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206
        length = answer.headers.get("Content-Length")
        whole = (done if goes_on else 0) + int(length) if length and length.isdecimal() else published.size
        if whole != published.size:
            raise UserError(f"{published.url} gives {whole:,} bytes, and {published.size:,} were expected")
        with part.open("ab" if goes_on else "wb") as file:
            while file.tell() <= published.size and (block := answer.read(BLOCK)):
                file.write(block)
                progress(file.tell())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(cause).split()) or type(cause).__name__


@contextlib.contextmanager
def _by_hand(published: Published) -> Iterator[None]:
    """Add to an error what to do instead."""
    try:
        yield
    except (UserError, OSError) as error:
        raise UserError(
            f"{published.name} cannot be had: {_reason(error)}. Again goes on with what is there; or download "
            f"{published.url} elsewhere, and put it at {published.path}"
        ) from error


@contextlib.contextmanager
def _bar(published: Published) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    print(f"fetching {published.name}, {in_words(published.size)}, into {published.path.parent}", file=sys.stderr)
    columns: tuple[Any, ...] = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(published.name, total=published.size)
        yield lambda done: bar.update(task, completed=done)
