"""How many photographs of a run cannot be read, and when they are too many."""

import logging
from typing import Any

from nogan.common import distributed
from nogan.common.errors import UserError
from nogan.data.images import GRAY

log = logging.getLogger(__name__)

SPARE = 10  # unreadable photographs allowed beyond the share, since a run may meet several early by chance
FEW = 3  # unreadable photographs allowed whatever the share: in a small set one is more than any share
EXCHANGED_EVERY = 50  # batches


class BadImages:
    """Counts the photographs that could not be read, on all ranks, and stops the run when they are too many.

    Too many is more than ``max_share`` of all photographs, or, so that a damaged set is noticed early, more than
    ``max_share`` of those seen so far plus :data:`SPARE`, and never as few as :data:`FEW`. Each photograph
    counts once. Gray photographs are counted apart, and may be any number.

    Args:
        length: photographs in the source.
        max_share: share of them that may be unreadable.
    """

    def __init__(self, length: int, max_share: float) -> None:
        self.length, self.max_share = length, max_share
        self.seen = 0
        self.bad: dict[str, None] = {}
        self.gray: dict[str, None] = {}
        self._noted: list[str] = []  # by this rank, since the last exchange
        self._noted_seen = 0
        self._batches = 0

    def __len__(self) -> int:
        return len(self.bad)

    def note(self, bad: list[str], good: int) -> None:
        """Record the unreadable photographs of a batch of this rank, and how many were ``good``."""
        self._noted += bad
        self._noted_seen += len(bad) + good

    def heed(self) -> None:
        """Stop the run if there are too many. Every rank calls this after each batch; sometimes they exchange counts.

        Raises:
            UserError: too many cannot be read; raised on every rank.
        """
        self._batches += 1
        if distributed.world_size() == 1 or self._batches % EXCHANGED_EVERY == 0:
            self.exchange()
        seen = min(self.seen, self.length)
        if len(self) > min(self.max_share * seen + SPARE, max(self.max_share * self.length, FEW)):
            raise UserError(
                f"{len(self)} of the {seen} photographs seen so far cannot be read, more than"
                f" data.max_bad_share={self.max_share:g} allows; the last one: {next(reversed(self.bad))}"
            )

    def exchange(self) -> None:
        """Add up what all ranks have recorded since the last exchange, and log it. Every rank must call this."""
        noted = distributed.all_gather((self._noted_seen, self._noted))
        self._noted_seen, self._noted = 0, []
        self.seen += sum(seen for seen, _ in noted)
        for entry in (entry for _, bad in noted for entry in bad):
            if entry.endswith(f": {GRAY}"):
                self._note_gray(entry)
            elif entry not in self.bad:
                self.bad[entry] = None
                log.warning("skipped an unreadable photograph, %s (%d of %d seen so far)", entry, len(self), self.seen)

    def _note_gray(self, entry: str) -> None:
        if entry in self.gray:
            return
        self.gray[entry] = None
        count = len(self.gray)
        if str(count).rstrip("0") == "1":  # a line for the first, the tenth, the hundredth: there may be thousands
            name = entry.removesuffix(f": {GRAY}")
            log.warning("skipped a gray photograph, %s (%d of %d seen so far)", name, count, self.seen)

    def names(self) -> dict[str, list[str]]:
        """The photographs skipped so far, with the reasons why some could not be read; empty if there are none."""
        gray = [entry.removesuffix(f": {GRAY}") for entry in self.gray]
        return {"unreadable": list(self.bad), "gray": gray} if self.bad or self.gray else {}

    def state_dict(self) -> dict[str, Any]:
        """The counts over all ranks. Every rank must call this."""
        self.exchange()
        return {"seen": self.seen, "bad": list(self.bad), "gray": list(self.gray)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.seen, self.bad = state["seen"], dict.fromkeys(state["bad"])
        self.gray = dict.fromkeys(state.get("gray", ()))
