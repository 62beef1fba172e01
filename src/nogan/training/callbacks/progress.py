"""The progress bar of the whole plan: cycle and phase, losses, images/s, and the time left for everything."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.utilities.types import STEP_OUTPUT
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from nogan.common.terminal import name_column, say
from nogan.plan import Phase
from nogan.runs.summary import clock
from nogan.training import position
from nogan.training.state import RunState

SHOWN = {  # metric: its name in the bar, and in a narrow one
    "generator/loss": ("loss", "loss"),
    "critic/loss": ("loss", "loss"),
    "critic/accuracy": ("accuracy", "acc."),
    "gan/critic_loss_smooth": ("critic", "critic"),
    "gan/generator_loss": ("generator", "gen."),
}
SHORTEST_BAR = 8  # cells
LINE_EVERY = 60.0  # s, where there is no bar


@dataclass(frozen=True)
class Progressed:
    """The text beside the bar, in as many words as there is room for."""

    number: str
    phase: Phase
    steps: int
    losses: Mapping[str, float]  # by metric; the last is left out first
    rate: float | None  # images/s
    left: float | None  # s, for the whole plan

    def within(self, width: int) -> tuple[str, str]:
        """The text before and after the bar in a line of ``width`` cells: the longest wording that fits.

        Titles get shorter first, then numbers, then losses are left out; the batch, images/s and the time left stay.
        (Rich's columns cut what does not fit; they know no shorter wording for it.)
        """
        wordings = self._wordings()
        return next((texts for texts in wordings if sum(map(len, texts)) + SHORTEST_BAR + 2 <= width), wordings[-1])

    @property
    def line(self) -> str:
        """All of it in one line, for a log."""
        share = f"batch {self.steps} of {self.phase.steps}"
        return f"    {share}{f'  {status}' if (status := self._status(3)) else ''}"

    def _wordings(self) -> list[tuple[str, str]]:
        batch = f"{self.steps}/{self.phase.steps}"
        title = self.phase.short_title
        before = [f"{self.number} {self.phase.title} {batch}", f"{self.number} {title} {batch}", f"{title} {batch}"]
        behind = [self._status(3), self._status(3, brief=True), self._status(2, brief=True)]
        fewer = [self._status(2, brief=True, losses=count) for count in reversed(range(len(self.losses)))]
        return [
            *((text, behind[0]) for text in before[:2]),
            *((text, status) for status in behind[1:] for text in before[1:]),
            *((before[-1], status) for status in fewer),
        ]

    def _status(self, digits: int, *, brief: bool = False, losses: int | None = None) -> str:
        texts = [f"{SHOWN[metric][brief]} {value:.{digits}f}" for metric, value in self.losses.items()][:losses]
        if self.rate is not None:
            texts.append(f"{self.rate:.0f} {'img/s' if brief else 'images/s'}")
        if self.left is not None:
            texts.append(f"{clock(self.left)} left")
        return (" " if brief else "  ").join(texts)


class PlanProgress(ProgressBar):
    """One bar for the whole plan on a terminal; elsewhere a line as a phase starts and ends, and each minute within it.

    Args:
        state: says what is to be done, and where the run stands.
        latest: the newest values of the metrics of the phase; cleared when another begins.
        console: where to print.
    """

    def __init__(self, state: RunState, latest: dict[str, float], console: Console) -> None:
        super().__init__()
        self.plan, self.state, self.latest, self.console = state.plan, state, latest, console
        self.costs = [phase.cost for phase in self.plan]
        self._bar: Progress | None = None
        self._seconds_per_cost: dict[str, float] = {}
        self._phase_started = 0.0
        self._line_printed = 0.0
        self._first_step = 0

    def disable(self) -> None:
        """Lightning calls this on every rank but 0."""
        self.console = Console(quiet=True)

    def enable(self) -> None:
        """Nothing to undo: the console stays quiet on other ranks."""

    # --- Lightning's hooks --------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar, and say where a resumed run goes on."""
        if trainer.ckpt_path and trainer.current_epoch < len(self.plan):
            say(self.console, self._restored(trainer, Path(trainer.ckpt_path)))
        if self.console.is_terminal:
            self._start_bar(trainer)
        if trainer.current_epoch < len(self.plan) and position.batches_done(trainer):
            self._begin(trainer)

    def _restored(self, trainer: pl.Trainer, checkpoint: Path) -> str:
        phase, steps = self.plan[trainer.current_epoch], position.batches_done(trainer)
        rates = phase.hyper(min(steps, phase.steps - 1), self.state.turn(phase)).lr
        return (
            f"Resumed from {checkpoint.name}: {phase.title}, "
            f"phase {trainer.current_epoch + 1} of {len(self.plan)}, "
            f"batch {steps} of {phase.steps}, lr {rates[-1]:.3g}, {self.state.images_seen:,} images seen"
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Name the phase."""
        self._begin(trainer)
        if not self.console.is_terminal:
            phase = self.plan[trainer.current_epoch]
            say(self.console, f"[{trainer.current_epoch + 1}/{len(self.plan)}] {phase.title}: {phase.steps} batches")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, or print a line if the last one is a minute old."""
        if self._bar is not None:
            self._update(trainer, batch_idx + 1)
        elif time.monotonic() - self._line_printed > LINE_EVERY:
            self._line_printed = time.monotonic()
            self._print(self._progressed(trainer, batch_idx + 1).line)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the phase where there is no bar, and learn what its kind costs."""
        phase = self.plan[trainer.current_epoch]
        record = self.state.record
        steps = record.steps - self._first_step
        if steps > 0:
            self._learn(phase, steps, time.monotonic() - self._phase_started)
        if not self.console.is_terminal:
            took = record.total_seconds
            left = self._time_left(trainer.current_epoch + 1, 0)
            metrics = "".join(
                f", {name} {record.metrics[key]:.3g}"
                for key, name in (("colorfulness_ratio", "colorfulness"), ("psnr", "PSNR"))
                if record.metrics
            )
            say(self.console, f"    {took:.0f} s{metrics}, about {clock(left)} left")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._stop_bar()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message stands below it."""
        self._stop_bar()

    def fakes(self, done: int, count: int) -> None:
        """Say how far the making of fakes is."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"fakes {done}/{count}", status="")
        elif done == count:
            say(self.console, f"    {count} fakes made")
        elif time.monotonic() - self._line_printed > LINE_EVERY:
            self._line_printed = time.monotonic()
            self._print(f"    {done} of {count} fakes made")

    # --- the bar ------------------------------------------------------------------------------------------------------

    def _start_bar(self, trainer: pl.Trainer) -> None:
        before = name_column()
        behind = TextColumn("{task.fields[status]}", markup=False)
        self._bar = Progress(before, BarColumn(bar_width=None), behind, console=self.console, expand=True)
        self._task = self._bar.add_task("", total=sum(self.costs), status="")
        self._bar.start()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, trainer: pl.Trainer) -> None:
        self._phase_started = self._line_printed = time.monotonic()
        self._first_step = position.batches_done(trainer)
        self.latest.clear()
        if self._bar is not None:
            self._update(trainer, self._first_step)

    def _update(self, trainer: pl.Trainer, steps: int) -> None:
        assert self._bar is not None
        index = trainer.current_epoch
        before, behind = self._progressed(trainer, steps).within(self.console.width)
        completed = sum(self.costs[:index]) + self.costs[index] * steps / self.plan[index].steps
        self._bar.update(self._task, completed=completed, description=before, status=behind)

    def _progressed(self, trainer: pl.Trainer, steps: int) -> Progressed:
        index = trainer.current_epoch
        phase = self.plan[index]
        elapsed = time.monotonic() - self._phase_started
        done_here = steps - self._first_step
        if done_here:
            self._learn(phase, done_here, elapsed)
        return Progressed(
            f"[{index + 1}/{len(self.plan)}]",
            phase,
            steps,
            losses={key: self.latest[key] for key in SHOWN if key in self.latest},
            rate=done_here * phase.batch_size / elapsed if done_here else None,
            left=self._time_left(index, steps),
        )

    def _print(self, line: str) -> None:
        say(self.console, line, highlight=False)

    # --- the time left ------------------------------------------------------------------------------------------------

    def _learn(self, phase: Phase, steps: int, seconds: float) -> None:
        self._seconds_per_cost[phase.kind] = seconds / (phase.cost * steps / phase.steps)

    def _time_left(self, index: int, steps: int) -> float | None:
        """Seconds for the rest of the plan, at the pace that each kind of phase has shown so far."""
        if not self._seconds_per_cost:
            return None
        usual = sum(self._seconds_per_cost.values()) / len(self._seconds_per_cost)
        costs = list(self.costs[index:])
        if costs and steps:
            costs[0] *= 1 - steps / self.plan[index].steps
        kinds = [phase.kind for phase in self.plan[index:]]
        return sum(cost * self._seconds_per_cost.get(kind, usual) for cost, kind in zip(costs, kinds, strict=True))
