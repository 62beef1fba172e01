"""The command ``colorize.py``: photographs and films from the command line to their results."""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nogan.commands.jobs import Job, check_folders, plan_jobs, skipped_text
from nogan.common.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

    from nogan.colorize.colorizer import Colorizer
    from nogan.colorize.photos import Photo

EXAMPLES = """examples:
  python colorize.py old.jpg -o new.jpg --checkpoint outputs/quickstart
  python colorize.py album/ -o colored/ --checkpoint ColorizeArtistic_gen.pth --render-factor 30
  python colorize.py "scans/**/*.tif" -o colored/ --blend vivid:0.6 stable:0.4
  python colorize.py film.mkv -o film-color.mkv --checkpoint generator.safetensors --stabilize
"""


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints in one line."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` without the usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows how)\n")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked as far as it can be without opening a file."""
    parser = Parser(
        "colorize.py",
        description="Color black-and-white photographs and films: the network's chroma, the original's luma.",
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
    add("--raw", action="store_true", help="the network's own colors, without the original's luma")
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
    photos.add_argument(
        "--max-megapixels", type=_positive_number, metavar="M", help="refuse larger images (default 500)"
    )
    film = parser.add_argument_group("film")
    film.add_argument("--codec", default="libx264", help="video encoder of ffmpeg (default libx264)")
    film.add_argument(
        "--crf", type=int, default=17, metavar="N", help="its constant quality, lower is better (default 17)"
    )
    film.add_argument("--stabilize", action="store_true", help="smooth the chroma along the motion, against flicker")
    given = sys.argv[1:] if argv is None else argv
    for text in given[: given.index("--")] if "--" in given else given:
        if text.startswith("-") and text != "-" and Path(text).exists():
            parser.error(f"{text}: a name that begins with a dash is taken for an option; write ./{text}")
    arguments = parser.parse_args(given)
    arguments.blend = _blend(parser, arguments.blend or [arguments.checkpoint])
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Color everything; 0 if all went well, 1 if anything failed, 2 for a wrong command line, 130 if interrupted."""
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
    import cv2

    from nogan.colorize.colorizer import Colorizer, network_size

    # What these libraries say of damaged files, the failure says too, in one line.
    warnings.filterwarnings("ignore", module="PIL")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if arguments.render_factor not in (None, "auto"):
        network_size(arguments.render_factor)
    jobs, unread = plan_jobs(arguments.inputs, arguments.output)
    waiting = [job for job in jobs if arguments.overwrite or not job.target.exists()]
    if not waiting and len(jobs) == 1:
        raise UserError(f"{jobs[0].target} is there already; --overwrite replaces it.")
    if waiting:
        check_folders(waiting)
        colorizer = Colorizer.load(
            arguments.blend, device=arguments.device, precision=arguments.precision, compile=arguments.compile
        )
        start = time.perf_counter()
        failures = color_photos(colorizer, [job for job in waiting if not job.is_film], arguments)
        failures += color_films(colorizer, [job for job in waiting if job.is_film], arguments)
        seconds = time.perf_counter() - start
    else:
        failures, seconds = [], 0.0

    if failures and len(jobs) == 1:
        raise UserError(failures[0])
    done, skipped = len(waiting) - len(failures), len(jobs) - len(waiting)
    where = waiting[0].target if len(jobs) == 1 else arguments.output
    print(f"Colored {done} of {len(jobs)} in {seconds:.1f} s: {where}" if done else f"Colored 0 of {len(jobs)}.")
    if unread:
        print(f"{skipped_text(unread)}.")
    if skipped:
        print(f"{skipped} were there already and stayed as they are (--overwrite replaces them).")
    if failures:
        print(f"{len(failures)} failed:", file=sys.stderr)
        for reason in failures:
            print(f"  {reason}", file=sys.stderr)
    return 1 if failures else 0


def color_photos(colorizer: "Colorizer", jobs: Sequence[Job], arguments: argparse.Namespace) -> list[str]:
    """Color photographs, reading ahead and writing behind the network; returns why each one that failed did."""
    import numpy as np

    from nogan.colorize.colorizer import PHOTO_RENDER_FACTOR
    from nogan.colorize.photos import MAX_MEGAPIXELS, check_writable, read_photo, write_photo
    from nogan.common.threads import WriteBehind, read_ahead

    factor = arguments.render_factor or PHOTO_RENDER_FACTOR
    limit = arguments.max_megapixels or MAX_MEGAPIXELS
    failures: list[str] = []

    def read() -> Iterator[tuple]:
        for job in jobs:
            try:
                check_writable(job.target)
                yield job, read_photo(job.source, max_megapixels=limit)
            except Exception as error:
                failures.append(_failure(job, error))
                progress.advance(task)

    def write(result: tuple) -> None:
        job, photo, colored = result
        remarks = photo.remarks
        try:
            if arguments.compare:
                original = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None].repeat(3, axis=-1)
                colored = np.hstack([original, colored])
                photo = replace(photo, alpha=None if photo.alpha is None else np.hstack([photo.alpha, photo.alpha]))
            remarks += write_photo(replace(photo, pixels=colored), job.target, quality=arguments.quality)
        except Exception as error:
            failures.append(_failure(job, error))
        for remark in remarks:
            progress.console.print(f"{job.source}: {remark}", highlight=False, markup=False)
        progress.advance(task)

    def color(batch: list[tuple[Job, "Photo"]]) -> None:
        try:
            pixels = [photo.pixels for _, photo in batch]
            colored = colorizer.colorize_pixels(pixels, factor, raw=arguments.raw)
        except Exception as error:
            reason = _failure(batch[0][0], error)
        else:
            for (job, photo), result in zip(batch, colored, strict=True):
                writer.put((job, photo, result))
            return
        # Here, and not in the handler: the error holds the memory of the pass that it ended.
        if len(batch) == 1:
            failures.append(reason)
            progress.advance(task)
        else:  # what is too much for all at once, or wrong with one of them, may not be with each
            for photograph in batch:
                color([photograph])

    with progress_bar() as progress, WriteBehind(write, 1) as writer:
        task = progress.add_task("photographs", total=len(jobs), visible=len(jobs) > 1)
        for batch in _batches(read_ahead(read(), 1), arguments.batch_size or colorizer.batch_size):
            color(batch)
            del batch  # else the next photographs are read beside these
    return failures


def color_films(colorizer: "Colorizer", jobs: Sequence[Job], arguments: argparse.Namespace) -> list[str]:
    """Color films one after the other; returns why each one that failed did."""
    from nogan.colorize.colorizer import FILM_RENDER_FACTOR
    from nogan.colorize.film import FilmOptions, colorize_film
    from nogan.networks.generator_file import find_weights

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
            except Exception as error:
                failures.append(_failure(job, error))
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


def _failure(job: Job, error: Exception) -> str:
    """Why a job failed, in one line that names it; what is no mistake of the user's is named by its kind."""
    reason = " ".join(str(error).split())
    if not isinstance(error, UserError):
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return reason if str(job.source) in reason or str(job.target) in reason else f"{job.source}: {reason}"


def _batches(photos: Iterator[tuple[Job, "Photo"]], size: int) -> Iterator[list[tuple[Job, "Photo"]]]:
    """Lists of up to ``size`` photographs, shorter where they are large: a batch is held in memory whole."""
    batch: list[tuple[Job, Photo]] = []
    for job, photo in photos:
        batch.append((job, photo))
        if len(batch) == size or sum(photo.pixels.nbytes for _, photo in batch) > 200e6:
            del photo  # else the next is read beside it
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


def _positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


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
