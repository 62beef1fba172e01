"""What the user typed to start this program, so that the commands in its messages can be copied."""

import sys
from pathlib import Path

SCRIPTS = ("train.py", "colorize.py")  # in the root of a checkout


def program(name: str) -> str:
    """What begins the error messages of command ``name``: ``nogan train``, or ``train.py`` if that was started."""
    script = f"{name}.py"
    from_checkout = script in SCRIPTS and Path(sys.argv[0]).name in SCRIPTS
    return script if from_checkout else f"nogan {name}"


def command(name: str) -> str:
    """How to start command ``name`` again: ``nogan train``, or ``python train.py`` for who works with the scripts."""
    found = program(name)
    return f"python {found}" if found in SCRIPTS else found
