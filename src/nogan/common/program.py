"""What the user typed to start this program, so that the commands in its messages can be copied."""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

SCRIPTS = ("train.py", "colorize.py")  # in the root of a checkout
ENTRIES = ("nogan", "nogan.exe", "cli.py")  # of the console script, and of `python -m nogan.cli`


def program(name: str) -> str:
    """What begins the error messages of command ``name``: ``nogan train``, or ``train.py`` if that was started."""
    script = f"{name}.py"
    from_checkout = script in SCRIPTS and Path(sys.argv[0]).name in SCRIPTS
    return script if from_checkout else f"nogan {name}"


def command(name: str) -> str:
    """How to start command ``name``: ``nogan train``, or ``python train.py`` for whoever started one of the scripts."""
    found = program(name)
    return f"python {found}" if found in SCRIPTS else found


def retyped(argv: Sequence[str]) -> str:
    """The shell command that starts a program again whose ``sys.argv`` was ``argv``."""
    started, *arguments = argv
    again = ["nogan"] if Path(started).name in ENTRIES else ["python", started]
    return shlex.join([*again, *arguments])


def setting(key: str, value: object) -> str:
    """``KEY=VALUE`` as a shell and Hydra both take it, whatever characters are in ``value``."""
    return shlex.quote(f"{key}={for_hydra(str(value))}")


def for_hydra(value: str) -> str:
    """``value`` in Hydra's own quotes, if it needs them."""
    if re.fullmatch(r"[A-Za-z0-9_/.+@%~-]+", value):
        return value
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (found[2] and '\\"'), value)
    return f'"{escaped}"'


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints in one line."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` without the usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows how)\n")
