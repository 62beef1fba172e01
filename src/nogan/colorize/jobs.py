"""From inputs to files: which photographs and films are meant, and where each result goes."""

import glob
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType

from nogan.colorize.film import FILM_SUFFIXES, KEPT_SUFFIXES
from nogan.colorize.photos import PHOTO_SUFFIXES
from nogan.colorize.photos.special import EXR_SUFFIXES, RAW_SUFFIXES
from nogan.common.errors import UserError
from nogan.common.image_files import HEIF_INSTALLED, HEIF_SUFFIXES, IMAGE_SUFFIXES

_EXTRAS = {
    "pillow-heif": (HEIF_INSTALLED, HEIF_SUFFIXES),
    "rawpy": (find_spec("rawpy") is not None, RAW_SUFFIXES),
    "openexr": (find_spec("OpenEXR") is not None, EXR_SUFFIXES),
}
"""Packages that read further kinds, whether each is installed, and the suffixes."""

READ_SUFFIXES = (
    frozenset(IMAGE_SUFFIXES).union(*(suffixes for here, suffixes in _EXTRAS.values() if here)) - PHOTO_SUFFIXES
)
"""Photographs that can be read but not written; their results are PNG files."""


@dataclass(frozen=True)
class Job:
    """One file to colorize."""

    source: Path
    target: Path

    @property
    def is_film(self) -> bool:
        """Whether the suffix is that of a film."""
        return self.source.suffix.lower() in FILM_SUFFIXES


def plan_jobs(inputs: Sequence[str], output: str) -> tuple[list[Job], Counter[str]]:
    """The jobs that ``inputs`` and ``output`` of a command line stand for.

    Args:
        inputs: photographs, films, folders (with everything below them) or globs.
        output: a file where the input is one file, otherwise a folder.

    Returns:
        The jobs, and how many files in folders and globs are neither photographs nor films, by suffix.

    Raises:
        UserError: nothing found, two sources for one target, a target that is a source, or a file in place of the
            folder.
    """
    out = Path(output)
    skipped: Counter[str] = Counter()
    found: dict[str, tuple[Path, Path]] = {}
    for source, relative in _sources(inputs, out, skipped):
        # Each file once, also where several links or names lead to it; links to parent folders can lead in circles.
        found.setdefault(os.path.realpath(source), (source, relative))
    sources = list(found.values())
    if not sources:
        also = f" ({skipped_text(skipped)})" if skipped else ""
        raise UserError(f"{' '.join(inputs)}: no photograph and no film found{also}.")
    one_file = len(inputs) == 1 and len(sources) == 1 and not Path(inputs[0]).is_dir()
    if one_file and out.suffix and not out.is_dir() and not output.endswith(("/", os.sep)):
        jobs = [Job(sources[0][0], out)]
    else:
        if out.is_file():
            raise UserError(f"-o {out} is a file; results of a folder or of several inputs need a folder.")
        names = Counter(_target_name(relative) for _, relative in sources)
        jobs = [Job(source, out / _target_name(relative, taken=names)) for source, relative in sources]
    taken: dict[Path, Path] = {}
    for job in jobs:
        if os.path.realpath(job.target) in found:
            raise UserError(f"{job.target} is an original and would be overwritten; choose another -o.")
        if job.target in taken:
            raise UserError(
                f"{taken[job.target]} and {job.source} would both become {job.target}; colorize them one by one."
            )
        taken[job.target] = job.source
    return jobs, skipped


def skipped_text(skipped: Mapping[str, int]) -> str:
    """The counts by suffix as a line for the user: "3 files skipped: .heic (2), .txt"."""
    kinds = ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in sorted(skipped.items()))
    total = sum(skipped.values())
    return f"{total} file{'s' * (total != 1)} skipped: {kinds}"


def packages_for(skipped: Mapping[str, int]) -> list[str]:
    """Which packages, if they were installed, would read files that were skipped: "pillow-heif reads .heic"."""
    found = {package: sorted(set(suffixes) & set(skipped)) for package, (here, suffixes) in _EXTRAS.items() if not here}
    return [f"{package} reads {', '.join(kinds)}" for package, kinds in found.items() if kinds]


def check_folders(jobs: Sequence[Job]) -> None:
    """Make the folders of the results.

    Raises:
        UserError: a folder cannot be made or written to.
    """
    for folder in dict.fromkeys(job.target.parent for job in jobs):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"-o {folder}: the folder cannot be made: {error.strerror}.") from error
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(f"-o {folder}: cannot be written to: {error.strerror}.") from error


def _sources(inputs: Sequence[str], out: Path, skipped: Counter[str]) -> Iterator[tuple[Path, Path]]:
    """Every photograph and film of ``inputs``, with its path relative to the folder or to the fixed part of the glob.

    Other files of folders and globs are counted in ``skipped``. Hidden files, and those below ``out``, which are
    earlier results, are left out without being counted.
    """
    suffixes = PHOTO_SUFFIXES | READ_SUFFIXES | FILM_SUFFIXES
    for text in inputs:
        path = Path(text)
        found: Iterable[Path]
        if path.is_dir():
            found, root = path.rglob("*"), path
        elif not path.exists() and glob.has_magic(text):
            found = [Path(name) for name in glob.glob(text, recursive=True)]  # noqa: PTH207 (Path.glob needs a root)
            root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        else:
            yield path, Path(path.name)
            continue
        results, here = out.resolve(), root.resolve()
        # Where OUT contains the input itself, results cannot be told from originals by their folder.
        inside = None if results in (here, *here.parents) else results
        for file in sorted(found):
            if file.name.startswith("."):
                continue
            if not file.is_file():
                if file.is_symlink() and not file.exists():
                    skipped["broken link"] += 1
                continue
            if inside is not None and inside in file.resolve().parents:
                continue
            if file.suffix.lower() in suffixes:
                yield file, file.relative_to(root)
            else:
                skipped[file.suffix.lower() or "without suffix"] += 1


def _target_name(relative: Path, taken: Mapping[Path, int] = MappingProxyType({})) -> Path:
    """The result's name: the source's, or one with another suffix where its format is not written.

    ``taken`` counts such names. Where film.avi and film.mkv would both become film.mkv, the first becomes film.avi.mkv.
    """
    suffix = relative.suffix.lower()
    if suffix in PHOTO_SUFFIXES | KEPT_SUFFIXES:
        return relative
    written = ".mkv" if suffix in FILM_SUFFIXES else ".png"
    name = relative.with_suffix(written)
    return name if taken.get(name, 0) < 2 else relative.with_name(relative.name + written)
