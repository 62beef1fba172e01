"""Stopping on a signal: Ctrl-C, SIGTERM, a cluster's preemption. The run saves, says how to resume, and exits.

Exit codes: 130 after SIGINT, 143 after SIGTERM, 138 after SIGUSR1 (128 + the signal's number, as shells have it).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytorch_lightning as pl

from nogan.common import distributed, interrupts
from nogan.common.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopOnSignal(pl.Callback):
    """Turns a signal into a request to stop at the end of the batch.

    ``RunCheckpoints`` honors it. A second signal ends the process at once, without saving.
    """

    def __init__(self) -> None:
        self.received = 0  # the signal's number

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within the context, and restore the handlers after it.

        Raises:
            KeyboardInterrupt: one came while the program started, and was lost.
        """
        before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        try:
            interrupts.raise_if_received()
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Handle the signals again: Lightning has set its own handlers by now."""
        for signum in SIGNALS:
            signal.signal(signum, self._receive)

    def raise_if_received(self) -> None:
        """Raise :class:`Interrupted` on every rank if one has received a signal; for work that is saved as it goes."""
        (signum,) = distributed.all_reduce_max(self.received)
        if signum:
            raise Interrupted(signum)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.received:
            os._exit(128 + signum)
        self.received = signum
