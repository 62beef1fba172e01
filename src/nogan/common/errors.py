"""What ends a command in a way that its user is meant to see."""

import json
import signal
from typing import Any


class UserError(Exception):
    """A mistake that the user can mend.

    Its message is one line (three at most): what was found, what was expected, and which config key or flag sets it.
    The command-line entries print the message without a traceback and exit with code 1.
    """


class Occupied(UserError):
    """The folder is another run's, which is not to be touched."""


class Interrupted(BaseException):
    """The run stopped because a signal told it to, with everything saved.

    Not an ``Exception``: nothing between the training loop and the command line should take it for a failure.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """What the process exits with: 128 + the signal's number, as shells have it."""
        return 128 + self.signum


def shown(value: Any) -> str:
    """A config's value in a message, as YAML and the command line write it: ``null``, ``true``, ``0.1``."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
