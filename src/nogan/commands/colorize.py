"""`nogan colorize`: photographs and films from the command line to their results."""

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nogan.commands import Parser, parser_of
from nogan.common.program import command
from nogan.common.terminal import name_column, say
from nogan.networks.named import STARTER

if TYPE_CHECKING:
    from nogan.colorize.adjustments import Adjustments, HueLimit, Tint
    from nogan.colorize.batch import Advance, BatchOptions, BatchReport
    from nogan.colorize.blending import Blending
    from nogan.colorize.film import FilmReport

_NUMBER = r"(\d+(?:\.\d+)?)"

EXAMPLES = """examples:
  {0} old.jpg -o new.jpg
  {0} old.jpg -o new.jpg --checkpoint outputs/quickstart/DATE
  {0} album/ -o colored/ --checkpoint deoldify-artistic --render-factor 30
  {0} "scans/**/*.tif" -o colored/ --blend vivid:0.6 stable:0.4
  {0} film.mkv -o film-color.mkv --checkpoint generator.safetensors --stabilize
"""

NO_CHECKPOINT = (
    f"no --checkpoint: coloring with the {STARTER}, a small model; --checkpoint deoldify-artistic fetches a better one"
)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The parsed command line. Every value is checked that can be checked without opening a file."""
    parser = parser_of(
        "colorize",
        usage="%(prog)s INPUT... [-o OUT] [OPTION...]",
        description="Colorize black-and-white photographs and films: the network's chroma, the original's luma.",
        epilog=EXAMPLES.format(command("colorize")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="photographs, films, folders (with all below them) or quoted globs; - is Y4M from a pipe",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="file for one input, otherwise a folder, made if missing (default: NAME-color beside each original); film "
        "also goes to numbered pictures (out/%%05d.png) and, as Y4M, to a pipe (-)",
    )
    models = parser.add_argument_group("model")
    model = models.add_mutually_exclusive_group()
    model.add_argument(
        "--checkpoint",
        metavar="X",
        help="run folder, .safetensors or .onnx export, DeOldify .pth, or a name that `nogan models` lists, such as "
        "deoldify-artistic (default: starter, which comes with the package); RUN:v0.5 sets its vividness",
    )
    model.add_argument("--blend", nargs="+", metavar="X:WEIGHT", help="mix the chroma of several checkpoints")
    models.add_argument(
        "--blend-luma",
        type=_levels,
        metavar="LOW-HIGH",
        help="the first of two in the shadows, the other in the lights, and both between these levels of 255: 64-192",
    )
    models.add_argument(
        "--blend-mask",
        type=Path,
        metavar="M",
        help="the second of two where a gray picture is white; or a folder with one for each file, by its name",
    )
    models.add_argument(
        "--blend-limit",
        type=_factor,
        metavar="N",
        help="chroma never further than N levels of 255 from that of the first",
    )
    models.add_argument(
        "--render-factor",
        type=_render_factor,
        metavar="N",
        help="the network sees 16 x N px a side: low is vivid, high is fine; or 'auto' (default: what suits the model, "
        "else 35, film 21)",
    )
    models.add_argument(
        "--vividness",
        type=float,
        metavar="V",
        help="0 (steady) to 1 (vivid): of a model=unified generator (default: 1; film 0), of a run's before and after "
        "its GAN phase, or of two checkpoints (--blend STEADY VIVID)",
    )
    add("--compare", action="store_true", help="write the original and the result side by side")
    add("--raw", action="store_true", help="the network's own colors, without the original's luma")
    add(
        "--gamut",
        choices=("fit", "clip"),
        default="fit",
        help="chroma too strong for its luma: weaken it, so that luma stays (fit, the default), or cut it off as "
        "DeOldify does (clip)",
    )
    add(
        "--colored",
        choices=("skip", "redo"),
        default="redo",
        help="photographs, and shots of film, that have colors already: keep them as they are (skip), or color anew "
        "(redo, the default)",
    )
    add("--overwrite", action="store_true", help="replace results that are already there")
    colors = parser.add_argument_group("colors (hues in degrees: 0 red, 60 yellow, 120 green, 180 cyan, 240 blue)")
    colors.add_argument("--saturation", type=_factor, default=1.0, metavar="F", help="factor of all chroma (default 1)")
    colors.add_argument(
        "--tint",
        type=_tint,
        metavar="HUE:AMOUNT",
        help="shift all colors towards a hue by AMOUNT levels of 255: 40:10 is warmer, 220:10 colder",
    )
    colors.add_argument(
        "--hue-limit",
        type=_hue_limit,
        action="append",
        default=[],
        metavar="LOW-HIGH:F",
        help="factor of the chroma of a range of hues: 270-330:0.3 tames purple; may be given several times",
    )
    colors.add_argument(
        "--shadows", type=_factor, default=1.0, metavar="F", help="factor of chroma in the dark: 0 keeps black neutral"
    )
    run = parser.add_argument_group("running")
    run.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)")
    run.add_argument(
        "--batch-size", type=_positive, metavar="N", help="images a pass (default: 1 on a CPU, 8 on a GPU)"
    )
    run.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 where it is fast and the colors stay the same; fp32: exact (default auto)",
    )
    run.add_argument("--compile", action="store_true", help="compile the network: slow to start, then faster")
    photos = parser.add_argument_group("photographs")
    photos.add_argument(
        "--quality", type=_quality, default=95, metavar="Q", help="of JPEG and WebP, 1-100 (default 95)"
    )
    photos.add_argument(
        "--max-megapixels", type=_positive_number, metavar="M", help="refuse larger images (default 500)"
    )
    film = parser.add_argument_group("film")
    film.add_argument(
        "--start", type=_time, metavar="TIME", help="begin there: seconds, or H:MM:SS.mmm, since the film's first frame"
    )
    film.add_argument("--end", type=_time, metavar="TIME", help="and end there")
    film.add_argument(
        "--stabilize",
        type=_strength,
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="S",
        help="smooth the chroma along the motion, against flicker, as far as S from 0 to 1 (default 1)",
    )
    film.add_argument(
        "--scenes", type=Path, metavar="FILE", help="table of the film's shots: read if it exists, otherwise written"
    )
    film.add_argument(
        "--export-keyframes",
        type=Path,
        metavar="DIR",
        help="only write one picture of each shot, colored as the film will be, and the same in gray; no film",
    )
    film.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="keyframes that you corrected: their colors are carried through their shots, by motion and by likeness",
    )
    film.add_argument(
        "--fps",
        type=_rate,
        metavar="N",
        help="frames a second of numbered pictures (frame_%%04d.png), and makes one film of a folder with such (24)",
    )
    film.add_argument(
        "--shot-threshold",
        type=_positive_number,
        default=0.35,
        metavar="T",
        help="how unlike two frames must be for a cut; lower finds more (default 0.35)",
    )
    film.add_argument(
        "--deinterlace",
        choices=("auto", "off"),
        default="auto",
        help="make whole frames of interlaced ones (auto, the default), or take them as they are (off)",
    )
    film.add_argument(
        "--audio",
        choices=("auto", "copy", "transcode", "none"),
        default="auto",
        help="copy the sound, encode it anew, leave it out, or (auto) copy what fits and encode the rest",
    )
    encoder = parser.add_argument_group("film: encoder")
    encoder.add_argument("--codec", default="libx264", help="video encoder of ffmpeg (default libx264)")
    encoder.add_argument(
        "--crf", type=int, metavar="N", help="its constant quality, on its own scale; lower is better (default 17)"
    )
    encoder.add_argument("--preset", help="slow, veryfast, …: how long it may take to make the file small")
    encoder.add_argument("--pix-fmt", metavar="F", help="its pixel format, such as yuv422p10le (default: the film's)")
    encoder.add_argument(
        "--encoder-option",
        dest="encoder_options",
        type=_option,
        action="append",
        default=[],
        metavar="K=V",
        help="any other option of it, as ffmpeg names them: tune=grain; may be given several times",
    )
    for text in argv[: argv.index("--")] if "--" in argv else argv:
        if text.startswith("-") and text != "-" and Path(text).exists():
            parser.error(f"{text}: a name that begins with a dash is taken for an option; write ./{text}")
    arguments = parser.parse_args(_with_strength(argv))
    arguments.adjustments = _adjustments(parser, arguments)
    arguments.encoder_options = dict(arguments.encoder_options)
    _check_clip(parser, arguments)
    arguments.chosen = bool(arguments.blend or arguments.checkpoint)
    arguments.blend = _blend(parser, arguments.blend or [arguments.checkpoint or STARTER])
    arguments.blending = _blending(parser, arguments)
    return arguments


def main(argv: Sequence[str]) -> int:
    """Colorize everything; 0 if all went well, 1 if anything failed."""
    arguments = parse_arguments(argv)
    if not arguments.chosen:
        print(NO_CHECKPOINT, file=sys.stderr)
    from nogan.colorize.batch import colorize_files, export_keyframes

    words = sys.stderr if arguments.output == "-" else sys.stdout  # which is the film, then
    reporter = TerminalReporter(words)
    if arguments.export_keyframes is not None:
        folder = arguments.export_keyframes
        keyframes = export_keyframes(arguments.blend, arguments.inputs, folder, _options(arguments), reporter)
        print("\n".join(keyframes.lines()))
        return 0
    report = colorize_files(arguments.blend, arguments.inputs, arguments.output, _options(arguments), reporter)
    print_report(report, arguments.output, arguments.colored, words)
    return 1 if report.failures else 0


def print_report(report: "BatchReport", output: str | None, colored: str, words: TextIO) -> None:
    """Say what was done and what was skipped on ``words``, and what failed on stderr."""
    say = partial(print, file=words)
    where = report.jobs[0].target if len(report.jobs) == 1 else output or "beside the originals"
    done = f"Colorized {report.done} of {len(report.jobs)}{_kinds(report)}"
    say(f"{done} in {report.seconds:.1f} s: {where}" if report.done else f"{done}.")
    if report.skipped:
        from nogan.colorize.jobs import packages_for, skipped_text

        say(f"{skipped_text(report.skipped)}.")
        for package in packages_for(report.skipped):
            say(f"Not installed: {package}.")
    if report.with_colors:
        what = f"{report.with_colors} had colors of {'its' if report.with_colors == 1 else 'their'} own"
        if colored == "skip":
            say(f"{what} and stayed as before (--colored redo colors anew).")
        else:
            say(f"{what}, which were replaced (--colored skip keeps them).")
    if report.existing:
        say(f"{report.existing} already existed and were kept as they are (--overwrite replaces them).")
    if report.failures:
        print(f"{len(report.failures)} failed:", file=sys.stderr)
        for reason in report.failures:
            print(f"  {reason}", file=sys.stderr)


def _kinds(report: "BatchReport") -> str:
    """How many of several results are films, and how many are photographs."""
    pictures = report.done - report.films
    parts = [f"{report.films} film{'s' * (report.films != 1)}"] if report.films else []
    if pictures:
        parts.append(f"{pictures} photograph{'s' * (pictures != 1)}")
    return f" ({', '.join(parts)})" if report.films and report.done > 1 else ""


class TerminalReporter:
    """A bar with the count, the time taken and the time left, on stderr; the reports of films on stdout, mostly.

    See :class:`nogan.colorize.batch.Reporter`.
    """

    def __init__(self, words: TextIO) -> None:
        """Reports go to ``words``."""
        from rich.console import Console

        self._words = words
        self._console = Console(stderr=True)

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> "Iterator[Advance]":
        """Show a bar, but none for a single photograph."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (name_column(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        left = (TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, *left, console=self._console) as progress:
            task = progress.add_task(name, total=total, visible=total != 1)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def remark(self, text: str) -> None:
        """Print a remark above the bar."""
        say(self._console, text, highlight=False)

    def finished(self, report: "FilmReport") -> None:
        """Print what became of a film."""
        print("\n".join(report.lines()), file=self._words)


def _options(arguments: argparse.Namespace) -> "BatchOptions":
    from dataclasses import fields

    from nogan.colorize.batch import BatchOptions

    return BatchOptions(**{option.name: getattr(arguments, option.name) for option in fields(BatchOptions)})


def _adjustments(parser: Parser, arguments: argparse.Namespace) -> "Adjustments":
    from nogan.colorize.adjustments import Adjustments
    from nogan.common.errors import UserError

    try:
        return Adjustments(arguments.saturation, arguments.tint, tuple(arguments.hue_limit), arguments.shadows)
    except UserError as error:
        parser.error(str(error))


def _check_clip(parser: Parser, arguments: argparse.Namespace) -> None:
    if arguments.start is None and arguments.end is None:
        return
    from nogan.colorize.film.clip import Clip
    from nogan.common.errors import UserError

    try:
        Clip(Fraction(0), arguments.start, arguments.end)
    except UserError as error:
        parser.error(str(error))


def _time(text: str) -> Fraction:
    from nogan.colorize.film.clip import seconds_of
    from nogan.common.errors import UserError

    try:
        return seconds_of(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE, such as tune=grain")
    return name, value


def _blending(parser: Parser, arguments: argparse.Namespace) -> "Blending":
    from nogan.colorize.blending import Blending
    from nogan.common.errors import UserError

    try:
        blending = Blending(arguments.blend_luma, arguments.blend_limit)
        blending.check([*arguments.blend.values()], masked=arguments.blend_mask is not None)
        return blending
    except UserError as error:
        parser.error(str(error))


def _factor(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _levels(text: str) -> tuple[float, float]:
    found = re.fullmatch(rf"{_NUMBER}-{_NUMBER}", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: expected LOW-HIGH, such as 64-192")
    low, high = map(float, found.groups())
    return low, high


def _tint(text: str) -> "Tint":
    from nogan.colorize.adjustments import Tint

    found = re.fullmatch(rf"{_NUMBER}:{_NUMBER}", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HUE:AMOUNT, such as 40:10")
    return Tint(*map(float, found.groups()))


def _hue_limit(text: str) -> "HueLimit":
    from nogan.colorize.adjustments import HueLimit

    found = re.fullmatch(rf"{_NUMBER}-{_NUMBER}:{_NUMBER}", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: expected LOW-HIGH:FACTOR, such as 270-330:0.3")
    return HueLimit(*map(float, found.groups()))


def _render_factor(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'auto'") from None


def _with_strength(argv: Sequence[str]) -> list[str]:
    """``--stabilize`` before an input means its default strength, and not that the input is one."""
    words = list(argv)
    for place, word in enumerate(words):
        if word == "--stabilize" and place + 1 < len(words):
            try:
                float(words[place + 1])
            except ValueError:
                words[place] = "--stabilize=1"
    return words


def _rate(text: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1000, such as 24 or 24000/1001")
    return value


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def _blend(parser: Parser, parts: Sequence[str]) -> dict[str, float]:
    from nogan.common.errors import UserError
    from nogan.networks.requested import weights_of

    try:
        return weights_of(parts)
    except UserError as error:
        parser.error(f"--blend {error}")
