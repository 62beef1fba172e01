"""Colour photographs and film: ``python colorize.py INPUT... -o OUT --checkpoint RUN_DIR``."""

import argparse
import glob
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from nogan.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

    from nogan.colorizer import Colorizer
    from nogan.photos import Photo

EXAMPLES = """examples:
  python colorize.py old.jpg -o new.jpg --checkpoint outputs/quickstart
  python colorize.py album/ -o coloured/ --checkpoint ColorizeArtistic_gen.pth --render-factor 30
  python colorize.py "scans/**/*.tif" -o coloured/ --blend vivid:0.6 stable:0.4
  python colorize.py film.mkv -o film-colour.mkv --checkpoint generator.safetensors --stabilize
"""


@dataclass(frozen=True)
class Job:
    """One file to colour."""

    source: Path
    target: Path

    @property
    def is_film(self) -> bool:
        """Whether the name says that this is a film."""
        from nogan.video import FILM_SUFFIXES

        return self.source.suffix.lower() in FILM_SUFFIXES


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints in one line."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` without the usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows how)\n")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked as far as it can be without opening a file."""
    parser = Parser(
        "colorize.py",
        description="Colour black-and-white photographs and films: the network's chroma, the original's luma.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="photographs, films, folders (with all below them) or quoted globs")
    add("-o", "--output", required=True, metavar="OUT", help="file for one input, otherwise a folder (made if missing)")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", metavar="X", help="run folder, .safetensors or .onnx export, or DeOldify .pth")
    model.add_argument("--blend", nargs="+", metavar="X:WEIGHT", help="mix the chroma of several checkpoints")
    add(
        "--render-factor",
        type=_render_factor,
        metavar="N",
        help="the network sees 16 x N px a side: low is vivid, high is fine; or 'auto' (default 35; film 21)",
    )
    add("--compare", action="store_true", help="write the original and the result side by side")
    add("--raw", action="store_true", help="the network's own colours, without the original's luma")
    add("--overwrite", action="store_true", help="replace results that are already there")
    run = parser.add_argument_group("running")
    run.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)")
    run.add_argument(
        "--batch-size", type=_positive, metavar="N", help="images a pass (default: 1 on a CPU, 8 on a GPU)"
    )
    run.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    run.add_argument("--compile", action="store_true", help="compile the network: slow to start, then faster")
    photos = parser.add_argument_group("photographs")
    photos.add_argument(
        "--quality", type=_quality, default=95, metavar="Q", help="of JPEG and WebP, 1-100 (default 95)"
    )
    photos.add_argument("--max-megapixels", type=float, metavar="M", help="refuse larger images (default 500)")
    film = parser.add_argument_group("film")
    film.add_argument("--codec", default="libx264", help="video encoder of ffmpeg (default libx264)")
    film.add_argument(
        "--crf", type=int, default=17, metavar="N", help="its constant quality, lower is better (default 17)"
    )
    film.add_argument("--stabilize", action="store_true", help="smooth the chroma along the motion, against flicker")
    arguments = parser.parse_args(argv)
    arguments.blend = _blend(parser, arguments.blend or [arguments.checkpoint])
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Colour everything; 0 if all went well, 1 if anything failed, 2 for a wrong command line, 130 if interrupted."""
    arguments = parse_arguments(argv)
    try:
        return run(arguments)
    except UserError as error:
        print(f"colorize.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return 130


def run(arguments: argparse.Namespace) -> int:
    """Plan the jobs, load the network, do the photographs, then the films; report."""
    from nogan.colorizer import Colorizer, network_size

    warnings.filterwarnings("ignore", module="PIL")  # what it says of damaged files, the failure says too
    if arguments.render_factor not in (None, "auto"):
        network_size(arguments.render_factor)
    jobs = plan_jobs(arguments.inputs, arguments.output)
    waiting = [job for job in jobs if arguments.overwrite or not job.target.exists()]
    if not waiting and len(jobs) == 1:
        raise UserError(f"{jobs[0].target} is there already; --overwrite replaces it.")
    if waiting:
        check_folders(waiting)
        colorizer = Colorizer.load(
            arguments.blend, device=arguments.device, precision=arguments.precision, compile=arguments.compile
        )
        start = time.perf_counter()
        failures = colour_photos(colorizer, [job for job in waiting if not job.is_film], arguments)
        failures += colour_films(colorizer, [job for job in waiting if job.is_film], arguments)
        seconds = time.perf_counter() - start
    else:
        failures, seconds = [], 0.0

    if failures and len(jobs) == 1:
        raise UserError(failures[0])
    done, skipped = len(waiting) - len(failures), len(jobs) - len(waiting)
    where = waiting[0].target if len(jobs) == 1 else arguments.output
    print(f"Coloured {done} of {len(jobs)} in {seconds:.1f} s: {where}" if done else f"Coloured 0 of {len(jobs)}.")
    if skipped:
        print(f"{skipped} were there already and stayed as they are (--overwrite replaces them).")
    if failures:
        print(f"{len(failures)} failed:", file=sys.stderr)
        for reason in failures:
            print(f"  {reason}", file=sys.stderr)
    return 1 if failures else 0


def plan_jobs(inputs: Sequence[str], output: str) -> list[Job]:
    """Which file goes where.

    Raises:
        UserError: nothing found, two sources for one target, a target that is a source, or a file as the folder.
    """
    out = Path(output)
    sources = list(dict.fromkeys(_sources(inputs, out)))
    if not sources:
        raise UserError(f"{' '.join(inputs)}: no photograph and no film in there.")
    one_file = len(inputs) == 1 and len(sources) == 1 and Path(inputs[0]).suffix != "" and not Path(inputs[0]).is_dir()
    if one_file and out.suffix and not out.is_dir() and not output.endswith(("/", os.sep)):
        jobs = [Job(sources[0][0], out)]
    else:
        if out.is_file():
            raise UserError(f"-o {out} is a file; {len(sources)} results need a folder.")
        names = Counter(_target_name(relative) for _, relative in sources)
        jobs = [Job(source, out / _target_name(relative, taken=names)) for source, relative in sources]
    taken: dict[Path, Path] = {}
    originals = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.target.resolve() in originals:
            raise UserError(f"{job.target} is an original and would be overwritten; choose another -o.")
        if job.target in taken:
            raise UserError(
                f"{taken[job.target]} and {job.source} would both become {job.target}; colour them one by one."
            )
        taken[job.target] = job.source
    return jobs


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


def colour_photos(colorizer: "Colorizer", jobs: Sequence[Job], arguments: argparse.Namespace) -> list[str]:
    """Colour photographs, reading ahead and writing behind the network; returns why each one that failed did."""
    import numpy as np

    from nogan.colorizer import PHOTO_RENDER_FACTOR
    from nogan.photos import MAX_MEGAPIXELS, check_writable, read_photo, write_photo
    from nogan.pipeline import WriteBehind, read_ahead

    factor = arguments.render_factor or PHOTO_RENDER_FACTOR
    limit = arguments.max_megapixels or MAX_MEGAPIXELS
    failures: list[str] = []

    def read() -> Iterator[tuple]:
        for job in jobs:
            try:
                check_writable(job.target)
                yield job, read_photo(job.source, max_megapixels=limit)
            except UserError as error:
                failures.append(str(error))
                progress.advance(task)

    def write(result: tuple) -> None:
        job, photo, coloured = result
        if arguments.compare:
            original = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None].repeat(3, axis=-1)
            coloured = np.hstack([original, coloured])
            photo = replace(photo, alpha=None if photo.alpha is None else np.hstack([photo.alpha, photo.alpha]))
        try:
            write_photo(replace(photo, pixels=coloured), job.target, quality=arguments.quality)
        except UserError as error:
            failures.append(str(error))
        for remark in photo.remarks:
            progress.console.print(f"{job.source}: {remark}", highlight=False, markup=False)
        progress.advance(task)

    with progress_bar() as progress, WriteBehind(write, 1) as writer:
        task = progress.add_task("photographs", total=len(jobs), visible=len(jobs) > 1)
        for batch in _batches(read_ahead(read(), 1), arguments.batch_size or colorizer.batch_size):
            pixels = [photo.pixels for _, photo in batch]
            try:
                coloured = colorizer.colorize_pixels(pixels, factor, raw=arguments.raw)
            except UserError as error:
                failures += [f"{job.source}: {error}" for job, _ in batch]
                progress.advance(task, len(batch))
                continue
            for (job, photo), result in zip(batch, coloured, strict=True):
                writer.put((job, photo, result))
    return failures


def colour_films(colorizer: "Colorizer", jobs: Sequence[Job], arguments: argparse.Namespace) -> list[str]:
    """Colour films one after the other; returns why each one that failed did."""
    from nogan.colorizer import FILM_RENDER_FACTOR
    from nogan.exports import find_weights
    from nogan.video import FilmOptions, colorize_film

    weights = [(find_weights(path), weight) for path, weight in arguments.blend.items()]
    options = FilmOptions(
        render_factor=arguments.render_factor or FILM_RENDER_FACTOR,
        batch_size=arguments.batch_size or colorizer.batch_size,
        codec=arguments.codec,
        crf=arguments.crf,
        stabilize=arguments.stabilize,
        compare=arguments.compare,
        raw=arguments.raw,
        model=[(str(path.resolve()), path.stat().st_mtime_ns, weight) for path, weight in weights],
    )
    failures = []
    for job in jobs:
        with progress_bar() as progress:
            task = progress.add_task(job.source.name, total=None)

            def advance(frames: int, total: int | None, progress: "Progress" = progress, task: int = task) -> None:
                progress.update(task, completed=frames, total=total)

            try:
                report = colorize_film(colorizer, job.source, job.target, options, progress=advance)
            except UserError as error:
                failures.append(str(error))
                continue
        for line in report.lines():
            print(line)
    return failures


def progress_bar() -> "Progress":
    """A bar with count, rate and the time left, on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True))


def _sources(inputs: Sequence[str], out: Path) -> Iterator[tuple[Path, Path]]:
    """Every file that ``inputs`` mean, with its path relative to the folder or to the fixed part of the glob."""
    from nogan.photos import PHOTO_SUFFIXES
    from nogan.video import FILM_SUFFIXES

    suffixes = PHOTO_SUFFIXES | FILM_SUFFIXES
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
        inside = out.resolve() if out.resolve() != root.resolve() else None
        for file in sorted(found):
            if file.suffix.lower() not in suffixes or not file.is_file() or file.name.startswith("."):
                continue
            if inside is None or inside not in file.resolve().parents:
                yield file, file.relative_to(root)


def _target_name(relative: Path, taken: Mapping[Path, int] = MappingProxyType({})) -> Path:
    """The result's name: the source's, but for suffixes that nothing coloured is written in.

    Where film.avi beside film.mkv would become film.mkv too (``taken`` counts the names), it becomes film.avi.mkv.
    """
    from nogan.photos import PHOTO_SUFFIXES
    from nogan.video import FILM_SUFFIXES, KEPT_SUFFIXES

    suffix = relative.suffix.lower()
    if suffix in PHOTO_SUFFIXES | KEPT_SUFFIXES:
        return relative
    written = ".mkv" if suffix in FILM_SUFFIXES else ".png"
    name = relative.with_suffix(written)
    return name if taken.get(name, 0) < 2 else relative.with_name(relative.name + written)


def _batches(photos: Iterator[tuple[Job, "Photo"]], size: int) -> Iterator[list[tuple[Job, "Photo"]]]:
    """Lists of up to ``size`` photographs, shorter where they are large: a batch is held in memory whole."""
    batch: list[tuple[Job, Photo]] = []
    for job, photo in photos:
        batch.append((job, photo))
        if len(batch) == size or sum(photo.pixels.nbytes for _, photo in batch) > 200e6:
            yield batch
            batch = []
    if batch:
        yield batch


def _render_factor(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'auto'") from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 100")
    return int(text)


def _blend(parser: Parser, parts: Sequence[str]) -> dict[str, float]:
    """``["a:0.6", "b"]`` to ``{"a": 0.6, "b": 1.0}``; a name that exists as it stands is taken whole."""
    blend: dict[str, float] = {}
    for part in parts:
        name, colon, weight = part.rpartition(":")
        if not colon or Path(part).exists():
            name, weight = part, "1"
        try:
            value = float(weight)
        except ValueError:
            name, value = part, 1.0
        if not 0 < value < float("inf"):
            parser.error(f"--blend {part}: the weight must be above 0")
        blend[name] = blend.get(name, 0.0) + value
    return blend


if __name__ == "__main__":
    sys.exit(main())
