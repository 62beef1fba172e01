"""What a command line means in files: which photograph or film goes where, and whether it can be written there."""

import glob
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from nogan.common.errors import UserError

READ_SUFFIXES = frozenset({".gif", ".avif", ".jp2"})
"""Photographs that are read and not written: their results are PNG files."""


@dataclass(frozen=True)
class Job:
    """One file to color."""

    source: Path
    target: Path

    @property
    def is_film(self) -> bool:
        """Whether the name says that this is a film."""
        from nogan.colorize.film import FILM_SUFFIXES

        return self.source.suffix.lower() in FILM_SUFFIXES


def plan_jobs(inputs: Sequence[str], output: str) -> tuple[list[Job], Counter[str]]:
    """Which file goes where, and how many files in folders and globs are skipped, by their suffix.

    Raises:
        UserError: nothing found, two sources for one target, a target that is a source, or a file as the folder.
    """
    out = Path(output)
    skipped: Counter[str] = Counter()
    found: dict[str, tuple[Path, Path]] = {}
    for source, relative in _sources(inputs, out, skipped):
        # One file once, whatever links or names lead to it: a link to a folder above can lead round and round.
        found.setdefault(os.path.realpath(source), (source, relative))
    sources = list(found.values())
    if not sources:
        also = f" ({skipped_text(skipped)})" if skipped else ""
        raise UserError(f"{' '.join(inputs)}: no photograph and no film in there{also}.")
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
                f"{taken[job.target]} and {job.source} would both become {job.target}; color them one by one."
            )
        taken[job.target] = job.source
    return jobs, skipped


def skipped_text(skipped: Mapping[str, int]) -> str:
    """What was skipped, as a user reads it: "3 files skipped: .heic (2), .txt"."""
    kinds = ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in sorted(skipped.items()))
    total = sum(skipped.values())
    return f"{total} file{'s' * (total != 1)} skipped: {kinds}"


def check_folders(jobs: Sequence[Job]) -> None:
    """Make the folders of the results, and see that they can be written to, before anything slow begins."""
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
    """Every file that ``inputs`` mean, with its path relative to the folder or to the fixed part of the glob.

    Files of folders and globs that are neither photographs nor films are counted in ``skipped``; hidden ones, and those
    below ``out``, which are earlier results, are passed over.
    """
    from nogan.colorize.film import FILM_SUFFIXES
    from nogan.colorize.photos import PHOTO_SUFFIXES

    suffixes = PHOTO_SUFFIXES | READ_SUFFIXES | FILM_SUFFIXES
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found, root = path.rglob("*"), path
        elif not path.exists() and glob.has_magic(text):
            found = [Path(name) for name in glob.glob(text, recursive=True)]  # noqa: PTH207 (Path.glob needs a root)
            fixed = [
                part for part in path.parts[: next(i for i, part in enumerate(path.parts) if glob.has_magic(part))]
            ]
            root = Path(*fixed)
        else:
            yield path, Path(path.name)
            continue
        results, here = out.resolve(), root.resolve()
        # An OUT that holds the input itself holds originals, and no results that could be told from them.
        inside = None if results in (here, *here.parents) else results
        for file in sorted(found):
            if file.name.startswith(".") or not file.is_file():
                continue
            if inside is not None and inside in file.resolve().parents:
                continue
            if file.suffix.lower() in suffixes:
                yield file, file.relative_to(root)
            else:
                skipped[file.suffix.lower() or "without suffix"] += 1


def _target_name(relative: Path, taken: Mapping[Path, int] = MappingProxyType({})) -> Path:
    """The result's name: the source's, but for suffixes that nothing colored is written in.

    Where film.avi beside film.mkv would become film.mkv too (``taken`` counts the names), it becomes film.avi.mkv.
    """
    from nogan.colorize.film import FILM_SUFFIXES, KEPT_SUFFIXES
    from nogan.colorize.photos import PHOTO_SUFFIXES

    suffix = relative.suffix.lower()
    if suffix in PHOTO_SUFFIXES | KEPT_SUFFIXES:
        return relative
    written = ".mkv" if suffix in FILM_SUFFIXES else ".png"
    name = relative.with_suffix(written)
    return name if taken.get(name, 0) < 2 else relative.with_name(relative.name + written)
