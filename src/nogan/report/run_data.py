"""Reads a run folder for pages and tables, also of a run that is still on, was interrupted, or has failed."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nogan.common.errors import UserError
from nogan.common.program import command, retyped
from nogan.plan import Phase, Plan
from nogan.runs.checkpoints import metrics_so_far, records_so_far
from nogan.runs.records import PhaseRecord
from nogan.runs.run_folder import Row, RunFolder
from nogan.runs.snapshots import SnapshotStore


@dataclass(frozen=True)
class Snapshot:
    """A moment at which the generator was measured and shown."""

    step: int  # batches of its phase
    at: int  # steps of the run
    images: int  # seen by the run
    metrics: Mapping[str, float]
    picture: Path | None
    kept: bool = False  # whether the weights are on disk


@dataclass(frozen=True)
class Span:
    """A phase that has begun: its place in the run, its record, its log and its snapshots."""

    phase: Phase
    start: int  # steps of the run before it
    steps: int
    rows: list[Row]
    record: PhaseRecord | None  # None before the first checkpoint in the phase
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def inflection(self) -> int | None:
        """The batch of the inflection point (0: no gain); None if the detector has found none."""
        return self.record.verdict.inflection if self.record and self.record.verdict else None

    @property
    def chosen(self) -> int | None:
        """The step of the snapshot that the run went on from; None while the phase is on."""
        return self.record.chosen if self.record else None

    def series(self, name: str) -> list[tuple[int, float]]:
        """``(step of the run, value)`` of a logged metric."""
        return [(int(row["step"]), row[name]) for row in self.rows if name in row]


class RunData:
    """The run in ``folder``.

    Raises:
        UserError: there is no run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = RunFolder(folder)
        if not self.files.has_begun:
            raise UserError(f"{folder}: expected a run folder, but there is no config.yaml and plan.json in it")
        self.config: dict[str, Any] = self.files.plain_config()
        self.plan: Plan = self.files.plan()
        self.environment: dict[str, Any] = self.files.environment()
        self.complete = self.files.has_ended
        self.failure = self.files.failure

    @cached_property
    def records(self) -> list[PhaseRecord]:
        """What each phase cost and how it ended; of an unfinished run, up to its newest checkpoint."""
        return records_so_far(self.files)

    @cached_property
    def rows(self) -> list[Row]:
        """``metrics.csv``, each row without its empty cells."""
        return metrics_so_far(self.files)

    @cached_property
    def spans(self) -> list[Span]:
        """The phases that have begun."""
        records = {record.name: record for record in self.records}
        spans: list[Span] = []
        start = 0
        for index, phase in enumerate(self.plan):
            rows = [row for row in self.rows if int(row["nogan/phase"]) == index]
            record = records.get(phase.name)
            if not rows and record is None:
                break
            end = start + record.steps if record and record.end else int(rows[-1]["step"]) if rows else start
            spans.append(Span(phase, start, end - start, rows, record, self._snapshots(phase, start, rows)))
            start = end
        return spans

    def _snapshots(self, phase: Phase, start: int, rows: list[Row]) -> list[Snapshot]:
        kept = set(SnapshotStore(self.files.snapshots(phase.name)).steps())
        found: dict[int, Snapshot] = {}
        for row in rows:
            metrics = {name.removeprefix("val/"): value for name, value in row.items() if name.startswith("val/")}
            if not metrics:
                continue
            at = int(row["step"])
            picture = self.files.sample(at)
            found[at] = Snapshot(
                at - start,
                at,
                int(row["nogan/images_seen"]),
                metrics,
                picture if picture.is_file() else None,
                phase.kind == "gan" and at - start in kept,
            )
        return [found[at] for at in sorted(found)]

    @property
    def gan_spans(self) -> list[Span]:
        """The GAN phases that have begun."""
        return [span for span in self.spans if span.phase.kind == "gan"]

    @property
    def pictures_measured(self) -> int | None:
        """Held-out pictures that snapshots are measured on; None before the first GAN phase."""
        for span in self.gan_spans:
            if merits := SnapshotStore(self.files.snapshots(span.phase.name)).pictures(0):
                return len(merits)
        return None

    @property
    def final(self) -> Mapping[str, float]:
        """Held-out metrics of the generator that the run ended with; if it has not ended, the newest."""
        for span in reversed(self.spans):
            if span.record and span.record.metrics:
                return span.record.metrics
            if span.snapshots:
                return span.snapshots[-1].metrics
        return {}

    @property
    def before_gan(self) -> Mapping[str, float]:
        """Held-out metrics before the first GAN phase; empty if that has not begun."""
        spans = self.gan_spans
        return spans[0].snapshots[0].metrics if spans and spans[0].snapshots else {}

    @property
    def final_picture(self) -> Path | None:
        """The grid of samples of the generator that the run ended with; if it has not ended, the newest."""
        for span in reversed(self.spans):
            chosen = span.chosen if span.phase.kind == "gan" else None
            for snapshot in reversed(span.snapshots):
                if snapshot.picture and (chosen is None or snapshot.step == chosen):
                    return snapshot.picture
        return None

    @property
    def first_picture(self) -> Path | None:
        """The grid of samples before the first GAN phase."""
        spans = self.gan_spans
        return spans[0].snapshots[0].picture if spans and spans[0].snapshots else None

    @property
    def seconds(self) -> float:
        """Time in all phases, in seconds, measuring included."""
        return sum(record.total_seconds for record in self.records)

    @property
    def progress(self) -> str:
        """How far the run has come: ``phase 5 of 7 (gan@1), batch 2 of 13``."""
        if not self.spans:
            return f"no phase of {len(self.plan)}"
        last = self.spans[-1]
        where = f"phase {len(self.spans)} of {len(self.plan)} ({last.phase.name})"
        return f"{where}, batch {last.steps:,} of {last.phase.steps:,}"

    @property
    def status(self) -> str:
        """``complete``, ``failed`` or ``unfinished``."""
        return "complete" if self.complete else "failed" if self.failure else "unfinished"


def overrides_of(folder: Path) -> list[str]:
    """What the command lines of the run in ``folder`` said, resumptions included, without Hydra's own settings."""
    run = RunFolder(folder)
    by_key = {override.partition("=")[0]: override for override in (*run.overrides(), *run.later_overrides())}
    return list(by_key.values())


def repeat_command(folder: Path) -> str:
    """The command line that repeats the run in ``folder``; a sweep's trial is repeated without the sweep."""
    run = RunFolder(folder)
    overrides = [o for o in overrides_of(folder) if o.partition("=")[0] not in ("sweep", "objective", "resume")]
    if not run.overrides():
        typed = shlex.split(run.environment().get("command", ""))
        return f"{retyped(typed) if typed else command('train')} {shlex.join(overrides)}".rstrip()
    # Without sweep=, only the file of an experiment can still ask for a sweep.
    sweeps = _is_trial_by_config(folder) and any(o.startswith("experiment=") for o in overrides)
    return f"{command('train')} {shlex.join([*overrides, *(['hydra.mode=RUN'] if sweeps else [])])}"


def _is_trial_by_config(folder: Path) -> bool:
    """Whether the run is a sweep's trial because of its config, and not of ``-m`` on the command line."""
    hydra = RunFolder(folder).hydra()
    overrides = hydra.get("overrides")
    said = overrides.get("hydra") if isinstance(overrides, dict) else None
    return hydra.get("mode") == "MULTIRUN" and "hydra.mode=MULTIRUN" not in (said or [])
