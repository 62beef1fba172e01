"""`nogan colorize`: photographs and films from the command line to their results."""

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from nogan.colorize.flags import FLAGS, check, number, positive_number, render_factor
from nogan.commands import Parser, parser_of, reading
from nogan.common.errors import UserError
from nogan.common.program import command
from nogan.common.terminal import name_column, say
from nogan.networks.named import STARTER

if TYPE_CHECKING:
    from rich.console import Console

    from nogan.colorize.adjustments import Adjustments, Tint
    from nogan.colorize.batch import Advance, BatchOptions, BatchReport
    from nogan.colorize.blending import Blending
    from nogan.colorize.film import FilmReport

EXAMPLES = """examples:
  {0} old.jpg -o new.jpg
  {0} old.jpg -o new.jpg --checkpoint outputs/quickstart/DATE
  {0} album/ -o colored/ --checkpoint deoldify-artistic --render-factor 30
  {0} "scans/**/*.tif" -o colored/ --blend vivid:0.6 stable:0.4
  {0} film.mkv -o film-color.mkv --checkpoint generator.safetensors --stabilize
"""

_Group = argparse._ActionsContainer  # what a parser and its groups have in common; the module has no other name for it

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
    _add(models, "blend-luma")
    models.add_argument(
        "--blend-mask",
        type=Path,
        metavar="M",
        help="the second of two where a gray picture is white; or a folder with one for each file, by its name",
    )
    _add(models, "blend-limit")
    models.add_argument(
        "--render-factor",
        type=reading(render_factor),
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
    _add(parser, "compare", "raw", "gamut", "colored")
    add("--overwrite", action="store_true", help="replace results that are already there")
    colors = parser.add_argument_group("colors (hues in degrees: 0 red, 60 yellow, 120 green, 180 cyan, 240 blue)")
    colors.add_argument(
        "--saturation", type=reading(number), default=1.0, metavar="F", help="factor of all chroma (default 1)"
    )
    colors.add_argument(
        "--tint",
        type=reading(_tint),
        metavar="HUE:AMOUNT",
        help="shift all colors towards a hue by AMOUNT levels of 255: 40:10 is warmer, 220:10 colder",
    )
    _add(colors, "hue-limit", "shadows")
    run = parser.add_argument_group("running")
    run.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)")
    _add(run, "batch-size")
    run.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 where it is fast and the colors stay the same; fp32: exact (default auto)",
    )
    run.add_argument("--compile", action="store_true", help="compile the network: slow to start, then faster")
    photos = parser.add_argument_group("photographs")
    _add(photos, "quality")
    photos.add_argument(
        "--max-megapixels", type=reading(positive_number), metavar="M", help="refuse larger images (default 500)"
    )
    film = parser.add_argument_group("film")
    _add(film, "start", "end")
    film.add_argument(
        "--stabilize",
        type=reading(_strength),
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
        type=reading(_rate),
        metavar="N",
        help="frames a second of numbered pictures (frame_%%04d.png), and makes one film of a folder with such (24)",
    )
    _add(film, "shot-threshold", "deinterlace", "audio")
    encoder = parser.add_argument_group("film: encoder")
    _add(encoder, "codec", "crf", "preset", "pix-fmt", "encoder-option")
    for text in argv[: argv.index("--")] if "--" in argv else argv:
        if text.startswith("-") and text != "-" and Path(text).exists():
            parser.error(f"{text}: a name that begins with a dash is taken for an option; write ./{text}")
    arguments = parser.parse_args(_with_strength(argv))
    arguments.encoder_options = dict(arguments.encoder_options)
    arguments.chosen = bool(arguments.blend or arguments.checkpoint)
    arguments.blend = _blend(parser, arguments.blend or [arguments.checkpoint or STARTER])
    try:
        check(vars(arguments))
        arguments.adjustments = _adjustments(arguments)
        arguments.blending = _blending(arguments)
    except UserError as error:
        parser.error(str(error))
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
        self._words = words

    @cached_property
    def _console(self) -> "Console":
        from rich.console import Console

        return Console(stderr=True)

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> "Iterator[Advance]":
        """Show a bar, but none for a single photograph."""
        if total == 1:
            yield lambda done, total: None
            return
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
            task = progress.add_task(name, total=total)
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


def _add(group: _Group, *names: str) -> None:
    """Add options that the page has, too."""
    for name in names:
        flag = FLAGS[name]
        given: dict[str, Any] = {"dest": flag.field, "help": flag.help.replace("%", "%%"), "default": flag.default}
        if flag.is_switch:
            given |= {"action": "store_true"}
        elif flag.choices:
            given |= {"choices": flag.choices}
        else:
            given |= {"type": reading(flag.read), "metavar": flag.metavar}
        if flag.several:
            given |= {"action": "append", "default": []}
        group.add_argument(flag.option, **given)


def _adjustments(arguments: argparse.Namespace) -> "Adjustments":
    from nogan.colorize.adjustments import Adjustments

    return Adjustments(arguments.saturation, arguments.tint, tuple(arguments.hue_limits), arguments.shadows)


def _blending(arguments: argparse.Namespace) -> "Blending":
    from nogan.colorize.blending import Blending

    blending = Blending(arguments.blend_luma, arguments.blend_limit)
    blending.check([*arguments.blend.values()], masked=arguments.blend_mask is not None)
    return blending


def _tint(text: str) -> "Tint":
    from nogan.colorize.adjustments import Tint

    value = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"{value}:{value}", text)
    if not found:
        raise UserError(f"{text!r}: expected HUE:AMOUNT, such as 40:10")
    return Tint(*map(float, found.groups()))


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
        raise UserError(f"{text!r} is not a number above 0 and up to 1000, such as 24 or 24000/1001")
    return value


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"{text!r} is not a number from 0 to 1")
    return value


def _blend(parser: Parser, parts: Sequence[str]) -> dict[str, float]:
    from nogan.networks.requested import weights_of

    try:
        return weights_of(parts)
    except UserError as error:
        parser.error(f"--blend {error}")
