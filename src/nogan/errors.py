"""The one exception that a user is meant to see."""


class UserError(Exception):
    """A mistake that the user can mend.

    Its message is one line (three at most): what was found, what was expected, and which config key or flag sets it.
    The command-line entries print the message without a traceback and exit with code 1.
    """
