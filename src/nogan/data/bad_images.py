"""How many photographs of a run cannot be read, and when they are too many."""

import logging
from typing import Any

from nogan.common import distributed
from nogan.common.errors import UserError

log = logging.getLogger(__name__)

SPARE = 10  # unreadable ones that chance alone may bring early on, beyond the share
EXCHANGED_EVERY = 50  # batches


class BadImages:
    """Counts the photographs that could not be read, on all ranks, and stops the run when they are too many.

    Too many are more than ``max_share`` of all; and, so that a damaged set is found out early, more than ``max_share``
    of those seen so far and :data:`SPARE`. One that is met again is not counted again.

    Args:
        length: photographs in the source.
        max_share: of them that may be unreadable.
    """

    def __init__(self, length: int, max_share: float) -> None:
        self.length, self.max_share = length, max_share
        self.seen = 0
        self.bad: dict[str, None] = {}
        self._noted: list[str] = []  # by this rank, since the last exchange
        self._noted_seen = 0
        self._batches = 0

    def __len__(self) -> int:
        return len(self.bad)

    def note(self, bad: list[str], good: int) -> None:
        """Note what a batch of this rank reports as ``bad``, and how many photographs were ``good``."""
        self._noted += bad
        self._noted_seen += len(bad) + good

    def heed(self) -> None:
        """Stop the run if it must; every rank calls it after each batch, and now and then they exchange their notes.

        Raises:
            UserError: on every rank: too many cannot be read.
        """
        self._batches += 1
        if distributed.world_size() == 1 or self._batches % EXCHANGED_EVERY == 0:
            self.exchange()
        seen = min(self.seen, self.length)
        if len(self) > min(self.max_share * seen + SPARE, self.max_share * self.length):
            raise UserError(
                f"{len(self)} of the {seen} photographs seen so far cannot be read, more than"
                f" data.max_bad_share={self.max_share:g} allows; the last one: {next(reversed(self.bad))}"
            )

    def exchange(self) -> None:
        """Count what all ranks have noted, and log it; every rank must call it."""
        noted = distributed.all_gather((self._noted_seen, self._noted))
        self._noted_seen, self._noted = 0, []
        self.seen += sum(seen for seen, _ in noted)
        for entry in (entry for _, bad in noted for entry in bad):
            if entry not in self.bad:
                self.bad[entry] = None
                log.warning("skipped an unreadable photograph, %s (%d of %d seen so far)", entry, len(self), self.seen)

    def state_dict(self) -> dict[str, Any]:
        """The count over all ranks; every rank must call it."""
        self.exchange()
        return {"seen": self.seen, "bad": list(self.bad)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.seen, self.bad = state["seen"], dict.fromkeys(state["bad"])
