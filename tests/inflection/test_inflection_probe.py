"""The detector that listens to the probe goes back to the best snapshot, and waits long enough for it."""

import io
import json
import math

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from nogan.inflection import make_detector
from nogan.inflection.merit import merit
from nogan.report import write_report
from nogan.training.run import train


def test_merit_is_what_the_probe_measured_and_nothing_else():
    assert merit({"merit": -2.5, "quality": -3.0, "chroma_fd": 100.0}) == -2.5
    assert math.isnan(merit({"quality": -3.0, "chroma_fd": 100.0})), "as of a run of an earlier version"


def feed(detector, faults, every=10, first=0):
    """Snapshots a hundredth of ``faults`` below the truth, and critic losses between; what it says, and when."""
    for i, fault in enumerate(faults, start=first):
        if verdict := detector.measured(i * every, {"merit": -fault / 100}):
            return i * every, verdict
        for step in range(i * every, (i + 1) * every):
            assert detector.update(step, 0.5) is None
    return None


def test_it_fires_when_nothing_better_has_come_for_long():
    when, verdict = feed(
        make_detector("probe", total_steps=200, patience=0.25), [100, 80, 60, 70, 70, 70, 70, 70, 70, 5]
    )
    assert (when, verdict.inflection, verdict.step) == (70, 20, 69)
    assert "+0.40 to before the phase" in verdict.reason
    assert "50 batches" in verdict.reason


def test_it_waits_while_the_generator_before_the_phase_is_the_best():
    detector = make_detector("probe", total_steps=100, patience=0.2)
    assert feed(detector, [100, 300, 300, 300, 300, 300, 300, 90, 95]) is None
    assert detector.finish().inflection == 70


def test_it_has_a_last_word():
    detector = make_detector("probe", total_steps=100)
    assert detector.finish() is None, "nothing was measured"
    assert feed(detector, [100, 110, 120]) is None
    verdict = detector.finish()
    assert verdict.inflection == 0, "no snapshot was better than none"
    assert verdict.reason == "no snapshot was better on held-out pictures than the generator before the phase"
    assert detector.finish() is None, "once"
    assert make_detector("shape", total_steps=100).finish() is None


@pytest.mark.parametrize("action", ["stop", "mark"])
def test_a_phase_without_gain_is_said_to_be_one(smallest, tmp_path, caplog, monkeypatch, action):
    monkeypatch.setattr("nogan.training.callbacks.probe.merit_of_each", lambda qualities, *_: [0.0 for _ in qualities])
    out = io.StringIO()
    overrides = ("nogan.repeats=0", "trainer.limit_batches=3", f"nogan.inflection.action={action}")
    with caplog.at_level("INFO", "nogan"):
        config, console = smallest("nogan.inflection.name=probe", *overrides), Console(file=out, width=160)
        train(config, tmp_path, console=console, write_report=write_report)
    log = "No gain from gan@1: no snapshot was better on held-out pictures than the generator before the phase"
    assert log in caplog.text and ("that generator is kept" in caplog.text) == (action == "stop")
    table, end = {
        "stop": ("no gain → 0", "no gain, back to 0"),
        "mark": ("no gain (marked)", "all batches; no gain marked"),
    }[action]
    page = (tmp_path / "report.html").read_text()
    assert table in out.getvalue() and end in page and "batch 0" not in page.split("<script")[0]


def loss_of(step):
    """Of a critic that loses its hold until batch 120 of 200, and then regains a little of it."""
    return 0.1 + 0.5 * min(step, 120) / 120 - 0.1 * max(step - 120, 0) / 80


def feed_both(detector, faults, every=10):
    """As :func:`feed`, with critic losses that rise."""
    for i, fault in enumerate(faults):
        if verdict := detector.measured(i * every, {"merit": -fault / 100}):
            return i * every, verdict
        for step in range(i * every, (i + 1) * every):
            assert detector.update(step, loss_of(step)) is None
    return None


def test_combined_waits_in_the_trough_of_a_wave_while_the_critics_loss_still_rises():
    wave = [100, 80, 60, 90, 95, 95, 90, 80, 70, 50, 40, *[60] * 9]
    probe = feed_both(make_detector("probe", total_steps=200, patience=0.2), wave)
    assert probe is not None and probe[1].inflection == 20, "the first crest of quality"
    combined = feed_both(make_detector("combined", total_steps=200), wave)
    assert combined is not None and combined[1].inflection == 100, "the best one"
    assert combined[0] > 160, "no sooner than the crests of quality and of the loss have both stood for the patience"
    assert "the critic loss has not risen above 0.5" in combined[1].reason


def test_combined_has_the_last_word_of_the_probe():
    detector = make_detector("combined", total_steps=200)
    assert feed_both(detector, [100, 80, 70, 60]) is None
    assert detector.finish().inflection == 30
    assert make_detector("combined", total_steps=200).finish() is None, "nothing was measured"


def test_broken_metrics_are_left_out():
    detector = make_detector("probe", total_steps=100, patience=0.3)
    assert feed(detector, [100, 50, math.nan, math.nan]) is None
    when, verdict = feed(detector, [60], first=4)
    assert (when, verdict.inflection) == (40, 10)


@pytest.mark.parametrize("name", ["probe", "combined"])
def test_a_checkpoint_continues_to_the_bit(name):
    faults = [100, 80, 90, 60, 70, 75, 80, 90]
    whole = feed(make_detector(name, total_steps=100, patience=0.3), faults)
    assert whole is not None
    for cut in (0, 1, 4, 6):
        detector = make_detector(name, total_steps=100, patience=0.3)
        assert feed(detector, faults[:cut]) is None
        buffer = io.BytesIO()
        torch.save(detector.state_dict(), buffer)
        buffer.seek(0)
        again = make_detector(name, total_steps=100, patience=0.3)
        again.load_state_dict(torch.load(buffer, weights_only=True))
        assert feed(again, faults[cut:], first=cut) == whole


def test_a_run_ends_with_the_snapshot_that_the_probe_likes_best(smallest, tmp_path):
    overrides = (
        "nogan.inflection.name=probe",
        "nogan.inflection.probe.patience=1",
        "nogan.repeats=0",
        "trainer.limit_batches=12",
        "nogan.gan.lr=1e-3",
    )
    train(smallest(*overrides, "nogan.gan.max_critic_steps=1"), tmp_path, console=Console(quiet=True))
    record = json.loads((tmp_path / "records.json").read_text())[-1]
    snapshots = tmp_path / "snapshots" / "gan@1"
    measured = {int(note.stem[5:]): json.loads(note.read_text()) for note in snapshots.glob("step-??????.json")}
    found = max(sorted(measured), key=lambda step: merit(measured[step]))
    assert len(measured) > 4
    assert record["end"] == "inflection"
    assert record["verdict"]["detector"] == "probe"
    assert record["rolled_back_to"] == record["verdict"]["inflection"]
    assert record["rolled_back_to"] == found
    final, snapshot = (
        load_file(path) for path in (tmp_path / "generator.safetensors", snapshots / f"step-{found:06d}.safetensors")
    )
    assert all(torch.equal(snapshot[name], final[name]) for name in final)
