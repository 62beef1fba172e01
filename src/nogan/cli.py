"""`nogan COMMAND`: find the command, hand over to it, and say how it ended.

This is the one error convention of all commands. What the user can mend is one line on stderr that begins with the
command, ``nogan COMMAND: …``. The exit code is 0 if all went well, 1 if anything failed, 2 for a wrong command line,
130 after Ctrl-C, and 128 + the signal's number after another signal that ended a run with everything saved.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

from nogan.commands import COMMANDS, CONTINUABLE
from nogan.common.errors import Interrupted
from nogan.common.failures import explained
from nogan.common.program import program
from nogan.common.version import __version__

USAGE = f"""usage: nogan COMMAND ...

Train a network to colorize photographs and film with NoGAN, and colorize with it.

commands:
{"".join(f"  {name:<11}{line}{chr(10)}" for name, line in COMMANDS.items())}
`nogan COMMAND --help` says more of each; `nogan --version` prints the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv``, by default the command line, begins with; returns the exit code."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ("",)
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        print(_unknown(name) if name else USAGE, file=sys.stderr)
        return 2
    return run(name, arguments)


def run(name: str, arguments: Sequence[str]) -> int:
    """Run command ``name``; returns the exit code, and prints what the user can mend in one line."""
    try:
        return importlib.import_module(f"nogan.commands.{name}").main(arguments) or 0
    except Interrupted as interrupted:
        return interrupted.exit_code
    except KeyboardInterrupt:
        further = "; the same command goes on from here" if name in CONTINUABLE else ""
        print(f"{program(name)}: interrupted{further}", file=sys.stderr)
        return 130
    except Exception as error:
        if (known := explained(error)) is None:
            raise
        print(f"{program(name)}: {known}", file=sys.stderr)
        return 1


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"nogan: {name} is not a command: {hint}expected one of {', '.join(COMMANDS)}"
