"""From inputs to files: which photographs and films are meant, and where each result goes."""

import glob
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from nogan.colorize.film import (
    FILM_SUFFIXES,
    KEPT_SUFFIXES,
    PIPE,
    is_animated,
    is_pattern,
    numbered,
    pattern_of,
    work_folder,
)
from nogan.colorize.film.pictures import PATTERN, numbers_of
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

_ADDED = "-color"
"""What is added to the name of a file or folder whose result is put beside it."""

_WEB_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

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
        """Whether it is a film: by its suffix, numbered pictures, a picture that is animated, or a pipe."""
        return self.source == PIPE or _is_film(self.source)

    @property
    def is_done(self) -> bool:
        """Whether its result is there; numbered pictures are not as long as their run goes on."""
        if is_pattern(self.target):
            return not work_folder(self.target).exists() and bool(numbers_of(self.target))
        return self.target != PIPE and self.target.exists()


def _is_film(path: Path) -> bool:
    return path.suffix.lower() in FILM_SUFFIXES or is_pattern(path) or is_animated(path)


def plan_jobs(
    inputs: Sequence[str], output: str | None, *, fps: Fraction | None = None
) -> tuple[list[Job], Counter[str]]:
    """The jobs that ``inputs`` and ``output`` of a command line stand for.

    Args:
        inputs: photographs, films, folders (with everything below them) or globs; "-" for stdin.
        output: a file where the input is one file, otherwise a folder; None for results beside the originals; "-" for
            stdout.
        fps: makes one film of a folder with numbered pictures.

    Returns:
        The jobs, and how many files in folders and globs are neither photographs nor films, by suffix.

    Raises:
        UserError: a web address, nothing found, two sources for one target, a target that is a source, or a file in
            place of the folder.
    """
    if str(PIPE) in inputs:
        return [_piped(inputs, output)], Counter()
    for text in inputs:
        if _WEB_ADDRESS.match(text):
            raise UserError(f"{text}: a web address, and nothing is fetched: download it, and name the file.")
    if fps is not None:
        inputs = [str(pattern_of(Path(text))) if Path(text).is_dir() else text for text in inputs]
    out = None if output is None else Path(output)
    skipped: Counter[str] = Counter()
    found: dict[str, _Source] = {}
    for source in _sources(inputs, out, skipped):
        # Each file once, also where several links or names lead to it; links to parent folders can lead in circles.
        found.setdefault(os.path.realpath(source.path), source)
    sources = list(found.values())
    if not sources:
        also = f" ({skipped_text(skipped)})" if skipped else ""
        raise UserError(f"{' '.join(inputs)}: no photograph and no film found{also}.")
    if out is not None and len(sources) > 1 and is_pattern(out):
        raise UserError(f"-o {out}: numbered pictures are of one film; expected one film as the input.")
    if out == PIPE and (len(sources) > 1 or not _is_film(sources[0].path)):
        raise UserError("-o -: a pipe takes one film; expected one film as the input.")
    if out is None or output is None:
        jobs = _beside(sources)
    elif out == PIPE:
        jobs = [Job(sources[0].path, PIPE)]
    else:
        jobs = _below(out, sources, single=_is_one_file(inputs, sources, output))
    originals = {os.path.realpath(job.source) for job in jobs}
    taken: dict[Path, Path] = {}
    for job in jobs:
        if os.path.realpath(job.target) in originals:
            raise UserError(f"{job.target} is an original and would be overwritten; choose another -o.")
        if job.target in taken:
            raise UserError(
                f"{taken[job.target]} and {job.source} would both become {job.target}; colorize them one by one."
            )
        taken[job.target] = job.source
    return jobs, skipped


def _piped(inputs: Sequence[str], output: str | None) -> Job:
    """The job for a film that comes through a pipe."""
    if len(inputs) > 1:
        raise UserError("-: what comes through the pipe is one film; expected no further input.")
    if output is None or Path(output).is_dir() or output.endswith(("/", os.sep)):
        raise UserError("-: what comes through the pipe has no name; expected -o FILE, or -o - for a pipe.")
    return Job(PIPE, Path(output))


class _Source(NamedTuple):
    path: Path
    relative: Path  # to the folder, or to the fixed part of the glob: where its result is in OUT
    beside: Path  # its result without OUT, but for the suffix


def _is_one_file(inputs: Sequence[str], sources: Sequence[_Source], output: str) -> bool:
    """Whether ``output`` is the name of the one result, and not of a folder."""
    if len(inputs) > 1 or len(sources) > 1 or Path(inputs[0]).is_dir():
        return False
    return bool(Path(output).suffix) and not Path(output).is_dir() and not output.endswith(("/", os.sep))


def _below(out: Path, sources: Sequence[_Source], *, single: bool) -> list[Job]:
    if single:
        return [Job(sources[0].path, out)]
    if out.is_file():
        raise UserError(f"-o {out} is a file; results of a folder or of several inputs need a folder.")
    names = Counter(_target_name(source.relative) for source in sources)
    return [Job(source.path, out / _target_name(source.relative, taken=names)) for source in sources]


def _beside(sources: Sequence[_Source]) -> list[Job]:
    """Results beside the originals; earlier results of that kind are not taken for originals."""
    originals = {source.path.absolute().with_suffix("") for source in sources}
    fresh = []
    for source in sources:
        bare = source.path.absolute().with_suffix("")
        if not bare.name.endswith(_ADDED) or bare.with_name(bare.name.removesuffix(_ADDED)) not in originals:
            fresh.append(source)
    names = Counter(_target_name(source.beside) for source in fresh)
    return [Job(source.path, _target_name(source.beside, taken=names)) for source in fresh]


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
    for folder in dict.fromkeys(job.target.parent for job in jobs if job.target != PIPE):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"-o {folder}: the folder cannot be made: {error.strerror}.") from error
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(f"-o {folder}: cannot be written to: {error.strerror}.") from error


def _sources(inputs: Sequence[str], out: Path | None, skipped: Counter[str]) -> Iterator[_Source]:
    """Every photograph and film of ``inputs``.

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
            yield _as_film(_Source(path, Path(path.name), path.with_name(f"{path.stem}{_ADDED}{path.suffix}")))
            continue
        here = root.resolve()
        # Where OUT contains the input itself, results cannot be told from originals by their folder.
        inside = None if out is None or out.resolve() in (here, *here.parents) else out.resolve()
        twin = here.with_name(here.name + _ADDED) if path.is_dir() and here.name else None
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
                relative = file.relative_to(root)
                beside = twin / relative if twin else file.with_name(f"{file.stem}{_ADDED}{file.suffix}")
                yield _as_film(_Source(file, relative, beside))
            else:
                skipped[file.suffix.lower() or "without suffix"] += 1


def _as_film(source: _Source) -> _Source:
    """``source``, whose result is a Matroska film if it is animated or numbered pictures."""
    if is_pattern(source.path):
        numbered(source.path)  # refuse those with gaps
        name = PATTERN.sub("", source.path.stem).rstrip("_-. ") or "film"
        return _Source(source.path, Path(f"{name}.mkv"), source.path.with_name(f"{name}{_ADDED}.mkv"))
    if is_animated(source.path):
        return _Source(source.path, source.relative.with_suffix(".mkv"), source.beside.with_suffix(".mkv"))
    return source


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
