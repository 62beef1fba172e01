"""Where metrics go: ``metrics.csv`` in the run folder always; beside it W&B, TensorBoard and the user's own loggers."""

import csv
import functools
import logging
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from nogan.common.errors import UserError
from nogan.common.files import noticing_a_full_disk, write_atomically
from nogan.plan.config import RunConfig
from nogan.runs.run_folder import RunFolder
from nogan.training.launch import is_rank_zero
from nogan.training.loggers.wandb import WandB, sync_hint
from nogan.training.own_parts import LOGGER, build_part

log = logging.getLogger(__name__)

__all__ = ["MetricsCSV", "TensorBoard", "check_logger", "finish", "make_loggers", "sync_hint"]


class MetricsCSV(Logger):
    """``metrics.csv``: a row for each logged step, a column for each metric, in the order of their first appearance.

    Lightning's own ``CSVLogger`` removes the files of an earlier run in the same folder, which a resumed run must not.

    A checkpoint holds the :meth:`content`, so that a resumed run has its rows whatever became of the file.

    Args:
        path: the file; it begins anew, unless :meth:`restore` is called first.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows = 0
        self.columns: list[str] = ["step"]

    @property
    def name(self) -> str:
        """Lightning's name of this logger."""
        return "metrics.csv"

    @property
    def version(self) -> str:
        """Lightning wants one; the run folder has a single file."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> "MetricsCSV":
        """The logger itself."""
        return self

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row; a metric not seen before gets a new last column."""
        new = [name for name in metrics if name not in self.columns]
        if new:
            self.columns += new
            self._rewrite()
        with noticing_a_full_disk(self.path), self.path.open("r+", newline="") as file:  # not "a": it must be there
            file.seek(0, os.SEEK_END)
            csv.DictWriter(file, self.columns, restval="").writerow({"step": step, **metrics})
        self.rows += 1

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The config is written beside the metrics, not into them."""

    def content(self) -> bytes:
        """The file with all rows so far, which are then on the disk; empty before the first.

        Raises:
            UserError: somebody else has written to it.
        """
        if not self.rows:
            return b""
        with noticing_a_full_disk(self.path), self.path.open("rb+") as file:
            os.fsync(file.fileno())
            content = file.read()
        if content.count(b"\n") != self.rows + 1:
            raise UserError(f"{self.path} was changed while the run writes it: expected {self.rows} rows and a header")
        return content

    def first_rows(self, rows: int) -> bytes:
        """The file as it was with its first ``rows`` rows."""
        if not self.path.is_file():
            return b""
        return b"".join(self.path.read_bytes().splitlines(keepends=True)[: rows + 1])

    @rank_zero_only
    def restore(self, content: bytes) -> None:
        """Go on behind ``content``: a resumed run writes the later rows again.

        What is missing in the file or damaged comes back, and the log says so.
        """
        if content and not _begins_with(self.path, content):
            log.error("%s is damaged: its rows are restored from the checkpoint", self.path)
        if content:
            write_atomically(self.path, lambda path: path.write_bytes(content))
        else:
            self.path.unlink(missing_ok=True)
        lines = list(csv.reader(content.decode().splitlines()))
        self.columns, self.rows = (lines[0], len(lines) - 1) if lines else (["step"], 0)

    def _rewrite(self) -> None:
        """Write the rows so far again, with a cell for each of the columns."""
        rows = _rows(self.path.read_bytes()) if self.rows else []

        def write(path: Path) -> None:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, self.columns, restval="")
                writer.writeheader()
                writer.writerows(rows)

        write_atomically(self.path, write)


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(content.decode().splitlines()))


def _begins_with(path: Path, content: bytes) -> bool:
    """Whether the file holds the rows of ``content``; it may have more rows, and more columns."""
    try:
        there = _rows(path.read_bytes())
    except (OSError, ValueError, csv.Error):  # ValueError: not UTF-8
        return False
    rows = _rows(content)
    return len(there) >= len(rows) and all(
        row.items() <= found.items() for row, found in zip(rows, there, strict=False)
    )


def _never_raising(method: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``method`` of a logger: its first error is logged, and from then on it does nothing."""

    @functools.wraps(method)
    def guarded(self: "TensorBoard", *args: Any, **kwargs: Any) -> None:
        if self.trouble is not None:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            cause = error.__cause__ or error  # Lightning takes every error for a value that cannot be logged
            self.trouble = " ".join(str(cause).split()) or type(cause).__name__
            log.warning(
                "TensorBoard: %s. The run goes on without it; metrics.csv and report.html have everything", self.trouble
            )

    return guarded


class TensorBoard(TensorBoardLogger):
    """Lightning's logger for TensorBoard, with pictures; it never raises, so that no logging error ends a run."""

    trouble: str | None = None

    log_metrics = _never_raising(TensorBoardLogger.log_metrics)
    log_hyperparams = _never_raising(TensorBoardLogger.log_hyperparams)
    save = _never_raising(TensorBoardLogger.save)
    finalize = _never_raising(TensorBoardLogger.finalize)

    @_never_raising
    @rank_zero_only
    def log_image(
        self, key: str, images: Sequence[Image.Image], step: int | None = None, caption: Sequence[str] | None = None
    ) -> None:
        """Log pictures of one size; TensorBoard shows no captions."""
        self.experiment.add_images(key, np.stack([np.asarray(image) for image in images]), step, dataformats="NHWC")


def make_loggers(config: RunConfig, folder: RunFolder, choices: dict[str, str]) -> list[Logger]:
    """``metrics.csv``, and every logger that the config names.

    Args:
        config: the run's configuration.
        folder: the run folder.
        choices: the chosen config groups (``model: artistic``), for dashboards to group by.
    """
    loggers: list[Logger] = [MetricsCSV(folder.metrics_file)]
    if not is_rank_zero():  # of several processes; the CSV knows by itself not to write
        return loggers
    if config.logger.wandb is not None:
        loggers.append(WandB(config, folder, choices))
    if config.logger.tensorboard is not None:
        loggers.append(TensorBoard(folder.path, name=folder.tensorboard.name, version=""))
    for name, section in config.logger.own.items():
        loggers.append(build_part(section, f"logger.{name}", LOGGER))
    return loggers


def check_logger(config: RunConfig) -> None:
    """Refuse a logger whose package is missing, before anything is built.

    Raises:
        UserError: names the extra that brings it.
    """
    if config.logger.tensorboard is not None and not find_spec("tensorboard"):
        raise UserError('logger=tensorboard needs a package that is not there: pip install -e ".[tensorboard]"')


def finish(loggers: list[Logger]) -> None:
    """Close the W&B run, if there is one: the next job of a sweep in this process must not go on with it."""
    for logger in loggers:
        if isinstance(logger, WandB):
            logger.close()
