"""Exceptions that end a command with a message for its user, not with a traceback."""

import json
import re
import signal
from typing import Any


class UserError(Exception):
    """An error that the user can correct.

    Its message is one line (three at most): the value found, what was expected, and the config key or flag that sets
    it. Commands print the message without a traceback and exit with code 1.
    """


class Occupied(UserError):
    """The folder belongs to another run, and must not be changed."""


class Interrupted(BaseException):
    """A signal stopped the run, after everything was saved.

    Not an ``Exception``, so that nothing between the training loop and the command line handles it as a failure.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """Exit code of the process: 128 + the number of the signal, as in shells."""
        return 128 + self.signum


class EndedElsewhere(BaseException):
    """Another process of this run has said why it ends; this one ends without a word, for the reason that it did.

    Not an ``Exception``, as :class:`Interrupted`.
    """

    exit_code = 1


def shown(value: Any) -> str:
    """A value of the config as YAML and the command line write it: ``null``, ``true``, ``0.1``."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def visible(text: str) -> str:
    """``text`` with what would control a terminal written out, as ``\\x1b``: names in files may come from anybody."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)
