"""One file per command: it parses the arguments, makes one call, and prints what came of it.

``nogan.commands.NAME.main(argv)`` parses the words after ``nogan NAME`` and makes the call. It returns an exit code, or
None for 0, and raises :class:`~nogan.common.errors.UserError`. :func:`run` handles exceptions for all commands: an
error that the user can mend becomes one line on stderr that begins with the command, ``nogan COMMAND: …``. The exit
code is 0 if all went well, 1 if anything failed, 2 for a wrong command line, 130 after Ctrl-C, and 128 + the signal's
number after another signal that ended a run with everything saved. A reader that stops reading, such as ``head``, ends
a command without a word, with code 1.

Nothing here imports more than argparse before a command is chosen.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nogan.common import interrupts
from nogan.common.errors import EndedElsewhere, Interrupted, UserError, visible
from nogan.common.failures import explained
from nogan.common.program import Parser, program

COMMANDS = {
    "train": "train a colorizer with NoGAN, or go on with an interrupted run",
    "colorize": "colorize photographs and films",
    "app": "colorize photographs and films in a page of the browser",
    "evaluate": "measure colorizers on photographs, as papers do",
    "models": "list the colorizers that go by a name, and fetch them",
    "prepare": "copy photographs into a form that loads fast",
    "snapshots": "list the snapshots of a run, or export one",
    "blend": "interpolate between the weights of two checkpoints",
    "export": "write a generator as ONNX or in DeOldify's format",
    "report": "write the report page of a run again",
    "compare": "compare runs, or the trials of a sweep, in one page",
    "dashboard": "make the W&B workspace to compare runs in",
    "study": "repeat the studies: of the detectors, of one network in place of three",
}
"""Every command, in the order in which people come to need them, and its line in ``nogan --help``."""

CONTINUABLE = ("colorize", "evaluate", "prepare", "study")
"""Commands that, given again after an interruption, go on where they were."""


READER_IS_GONE = 1


def run(name: str, arguments: Sequence[str]) -> int:
    """Run command ``name``; returns the exit code, and prints what the user can mend in one line."""
    return while_somebody_reads(lambda: _run(name, arguments))


def while_somebody_reads(say: Callable[[], int]) -> int:
    """The exit code of ``say``, or that of a command whose reader has gone, as ``head`` goes after ten lines."""
    try:
        try:
            return say()
        finally:  # here, and not as the interpreter ends, which would print a traceback
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return READER_IS_GONE


def _run(name: str, arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold bytes that are not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        with interrupts.remembered():
            return importlib.import_module(f"nogan.commands.{name}").main(arguments) or 0
    except (Interrupted, EndedElsewhere) as end:
        return end.exit_code
    except KeyboardInterrupt:
        goes_on = name in CONTINUABLE and "-" not in arguments  # a pipe cannot be gone back to
        further = "; the same command goes on from here" if goes_on else ""
        print(f"{program(name)}: interrupted{further}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if (known := explained(error)) is None:
            raise
        print(f"{program(name)}: {visible(str(known))}", file=sys.stderr)
        return 1


def parser_of(name: str, **options: Any) -> Parser:
    """A parser for command ``name``; ``options`` are argparse's."""
    return Parser(program(name), **{"description": f"{sentence(COMMANDS[name])}.", **options})


def reading(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader of text that raises :class:`~nogan.common.errors.UserError`, as argparse takes it."""

    def read(text: str) -> Any:
        try:
            return reader(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def sentence(words: str) -> str:
    """``words`` with a capital letter in front; the others stay as they are."""
    return words[:1].upper() + words[1:]


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Keep a result that already exists.

    Raises:
        UserError: ``path`` exists, and ``overwrite`` is not set.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists; --overwrite replaces it")
