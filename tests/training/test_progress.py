"""The progress bar, as a terminal of some width shows it."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from nogan.plan import build_plan
from nogan.training.callbacks import progress
from nogan.training.callbacks.progress import SHORTEST_BAR, PlanProgress
from nogan.training.state import RunState
from nogan.training.switch import AdaptiveSwitch

LOSSES = {
    "generator": {"generator/loss": 1.2345},
    "critic": {"critic/loss": 0.4321, "critic/accuracy": 0.8765},
    "gan": {"gan/critic_loss_smooth": 0.6543, "gan/generator_loss": 12.3456},
}
SECONDS = 5.0  # a batch


@pytest.fixture
def shown(configure, monkeypatch):
    """``shown(kind, width)``: the line at batch 123 of the artistic model's last phase of that kind, and the phase."""
    plan = build_plan(configure("model=artistic", "nogan.repeats=5", "data.images=1281167"))
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def line(kind: str, width: int):
        index = max(i for i, phase in enumerate(plan) if phase.kind == kind)
        terminal = Console(width=width, record=True, force_terminal=True, file=io.StringIO())
        latest: dict[str, float] = {}
        bar = PlanProgress(RunState(plan, AdaptiveSwitch(0.65)), latest, terminal)
        trainer = SimpleNamespace(ckpt_path=None, current_epoch=index, fit_loop=SimpleNamespace(restarting=False))
        bar.on_train_start(trainer, None)
        bar.on_train_epoch_start(trainer, None)
        latest.update(LOSSES[kind])
        now[0] += SECONDS * 123
        bar.on_train_batch_end(trainer, None, {}, None, 122)
        bar.on_train_end(trainer, None)
        return terminal.export_text().rstrip("\n")[-width:], plan[index]  # each line was drawn over the one before

    return line


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("kind", LOSSES)
def test_it_says_where_the_run_stands_and_how_long_it_will_take(shown, kind, width):
    line, phase = shown(kind, width)
    assert "…" not in line, line
    assert f"{phase.short_title} " in line and f" 123/{phase.steps} " in line
    assert len(re.search("[━╸╺]+", line)[0]) >= SHORTEST_BAR
    rate = phase.batch_size / SECONDS
    assert re.search(rf" {rate:.0f} (images|img)/s +\d+(:\d\d)+ left$", line.rstrip())
    assert all(f" {value:.3f}" in line or f" {value:.2f}" in line for value in LOSSES[kind].values()), line


def test_the_more_room_there_is_the_more_it_says(shown):
    narrow, wide, widest = (shown("gan", width)[0] for width in (80, 100, 140))
    assert narrow.startswith("cycle 6 · GAN 123/") and " gen. 12.346 " in narrow
    assert re.match(r"\[\d+/\d+\] cycle 6 · GAN 123/", wide)
    assert re.match(r"\[\d+/\d+\] cycle 6 · GAN · 192 px 123/", widest) and " generator 12.346 " in widest


def test_where_there_is_hardly_room_losses_go_first(shown):
    line, phase = shown("gan", 62)
    assert "gen." not in line and f"123/{phase.steps}" in line and line.rstrip().endswith(" left"), line


def test_without_a_terminal_a_long_phase_says_every_minute_where_it_stands(configure, monkeypatch):
    plan = build_plan(configure("model=artistic", "data.images=1281167"))
    now, log = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = PlanProgress(RunState(plan, AdaptiveSwitch(0.65)), {}, Console(file=log, width=60))
    trainer = SimpleNamespace(ckpt_path=None, current_epoch=0, fit_loop=SimpleNamespace(restarting=False))
    bar.on_train_start(trainer, None)
    bar.on_train_epoch_start(trainer, None)
    bar.latest.update(LOSSES["generator"])
    for batch in range(27):
        now[0] += SECONDS
        bar.on_train_batch_end(trainer, None, {}, None, batch)
    first, second = log.getvalue().splitlines()[1:]
    rate = f"{plan[0].batch_size / SECONDS:.0f} images/s"
    assert re.fullmatch(rf" +batch 13 of {plan[0].steps}  loss 1\.234\d*  {rate}  \d+(:\d\d)+ left", first), first
    assert "batch 26 of" in second
