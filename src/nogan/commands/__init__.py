"""One file a command: arguments in, a call, words out.

``nogan.commands.NAME.main(argv)`` parses the words after ``nogan NAME`` and makes the call. It returns an exit code, or
None for 0, and raises :class:`~nogan.common.errors.UserError`; what becomes of an exception is written once, in
:mod:`nogan.cli`. Nothing here imports more than argparse before a command is chosen.
"""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from nogan.common.errors import UserError
from nogan.common.program import program

COMMANDS = {
    "train": "train a colorizer with NoGAN, or go on with an interrupted run",
    "colorize": "colorize photographs and films",
    "prepare": "copy photographs into a form that loads fast",
    "snapshots": "list the snapshots of a run, or export one",
    "blend": "interpolate between the weights of two checkpoints",
    "export": "write a generator as ONNX or in DeOldify's format",
    "report": "write the report page of a run again",
    "compare": "compare runs, or the trials of a sweep, in one page",
    "dashboard": "make the W&B workspace to compare runs in",
    "study": "repeat the study of the inflection detectors",
}
"""Every command, in the order in which people come to need them, and the line that ``nogan --help`` says of it."""

CONTINUABLE = ("colorize", "prepare", "study")
"""Commands that go on where they were interrupted when they are given again."""


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints in one line."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` without the usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows how)\n")


def parser_of(name: str, **options: Any) -> Parser:
    """A parser for command ``name``; ``options`` are argparse's."""
    return Parser(program(name), **{"description": f"{sentence(COMMANDS[name])}.", **options})


def sentence(words: str) -> str:
    """``words`` with a capital letter in front; the others stay as they are."""
    return words[:1].upper() + words[1:]


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Keep a result that is there already.

    Raises:
        UserError: ``path`` exists, and ``overwrite`` is not set.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already; --overwrite replaces it")
