"""`nogan COMMAND`: find the command and hand over to it."""

import difflib
import sys
from collections.abc import Sequence

from nogan.commands import COMMANDS, run, while_somebody_reads
from nogan.common.version import __version__

USAGE = f"""usage: nogan COMMAND ...

Train a network to colorize photographs and film with NoGAN, and colorize with it.

commands:
{"".join(f"  {name:<11}{line}{chr(10)}" for name, line in COMMANDS.items())}
`nogan COMMAND --help` explains each; `nogan --version` prints the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv``, by default the command line, begins with; returns the exit code."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ("",)
    if name in ("-h", "--help"):
        return _say(USAGE)
    if name == "--version":
        return _say(__version__)
    if name not in COMMANDS:
        print(_unknown(name) if name else USAGE, file=sys.stderr)
        return 2
    return run(name, arguments)


def _say(text: str) -> int:
    def say() -> int:
        print(text)
        return 0

    return while_somebody_reads(say)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"nogan: {name} is not a command: {hint}expected one of {', '.join(COMMANDS)}"


if __name__ == "__main__":  # for torchrun and the like: -m nogan.cli
    sys.exit(main())
