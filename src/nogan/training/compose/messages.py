"""How an error of Hydra, OmegaConf or this program reaches the user in one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf.errors import OmegaConfBaseException

from nogan.common.errors import UserError
from nogan.common.failures import explained
from nogan.plan.config import unknown_key
from nogan.training.compose.recipes import groups


class Refusal(BaseException):
    """Carries a ``UserError`` through Hydra.

    Not an ``Exception``: Hydra turns those of callbacks into warnings, and reports those of jobs as crashes.
    """

    def __init__(self, error: UserError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def refusing() -> Iterator[None]:
    """Raise a :class:`Refusal` for what the user can mend."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise Refusal(UserError(one_line(error))) from error
    except Exception as error:
        if known := explained(error):
            raise Refusal(known) from error
        raise


def one_line(error: Exception) -> str:
    """What Hydra or OmegaConf found wrong, in one line."""
    text = str(error)
    if match := re.match(r"UserError raised while resolving interpolation: (.*)", text):
        return match[1]
    if match := re.match(r"Could not override '([^']+)'", text):
        return unknown_key(match[1], groups())
    if match := re.search(
        r"Could not find '([^']+)/([^'/]+)'.*Available options in '[^']+':((?:\s*\n\t\S+)*)", text, re.DOTALL
    ):
        group, found, options = match.groups()
        hint = ' (or pip install -e ".[sweep]")' if group.startswith("hydra/") else ""
        return f"{group}={found} is not known: expected one of {', '.join(sorted(options.split()))}{hint}"
    return " ".join(text.split())
