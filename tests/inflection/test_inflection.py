"""The detectors find what they promise, keep silent where they should, and continue from a checkpoint to the bit."""

import io
import math

import numpy as np
import pytest
import torch

from nogan.common.errors import UserError
from nogan.inflection import DEFAULT, DETECTORS, make_detector
from nogan.inflection.base import Blocks, SpikeGuard, correlation_inflation
from nogan.inflection.budget import published_share
from nogan.inflection.curvature import local_quadratic
from nogan.inflection.knee import two_segments

LISTENERS = [name for name in DETECTORS if name != "probe"]  # to the critic's loss
TOTAL = 2000
CONTEXT = {"total_steps": TOTAL, "batch_size": 9, "images": round(TOTAL * 9 / 0.027), "lr": 3.6e-5}


def build(name, **conf):
    if name == "budget":
        conf.setdefault("share", 0.014)
    return make_detector(name, **(CONTEXT | conf))


def s_shape(total=TOTAL, center=0.5, low=0.2, high=0.65, noise=0.02, seed=0):
    x = np.arange(total) / total
    rng = np.random.default_rng(seed)
    return low + (high - low) / (1 + np.exp(-(x - center) / 0.05)) + noise * rng.standard_normal(total)


def ramp(total=TOTAL, corner=0.5, low=0.2, high=0.65, noise=0.02, seed=0):
    x = np.arange(total) / total
    return low + (high - low) * np.minimum(x / corner, 1) + noise * np.random.default_rng(seed).standard_normal(total)


def switch(losses, plateau=0.5):
    """Steps of the critic's batches: every other one at first, four of five after the plateau began."""
    steps = np.arange(len(losses))
    return steps[(steps % 2 == 0) | ((steps > plateau * len(losses)) & (steps % 5 != 0))]


def feed(detector, losses, steps=None):
    steps = range(len(losses)) if steps is None else steps
    verdicts = [(step, verdict) for step in steps if (verdict := detector.update(int(step), float(losses[step])))]
    assert len(verdicts) <= 1, "a detector fires once at most"
    for step, verdict in verdicts:
        assert verdict.step == step
        assert 0 <= verdict.inflection <= step
        assert verdict.detector == detector.name
        assert 0 <= verdict.confidence <= 1
        assert "\n" not in verdict.reason
        assert any(character.isdigit() for character in verdict.reason)
    return verdicts[0][1] if verdicts else None


@pytest.mark.parametrize("name", ["combined", "shape", "curvature", "window"])
@pytest.mark.parametrize("total", [250, 2000, 10_000])
@pytest.mark.parametrize("center", [0.3, 0.6])
def test_an_s_shaped_rise_is_found_where_its_curvature_changes_sign(name, total, center):
    detector = make_detector(name, total_steps=total, lr=0.018 / (total / 4))
    verdict = feed(detector, s_shape(total, center))
    assert verdict.inflection == pytest.approx(center * total, abs=0.04 * total)
    assert verdict.step < 0.95 * total


def test_the_end_of_an_upward_drift_names_the_middle_of_the_rise():
    verdict = feed(build("drift"), s_shape(center=0.4))
    assert verdict.inflection == pytest.approx(0.4 * TOTAL, abs=0.02 * TOTAL)


@pytest.mark.parametrize("name", ["combined", "shape", "knee"])
@pytest.mark.parametrize("total", [250, 2000, 10_000])
@pytest.mark.parametrize("corner", [0.3, 0.7])
def test_a_ramp_is_found_where_it_ends(name, total, corner):
    verdict = feed(make_detector(name, total_steps=total), ramp(total, corner))
    assert verdict.inflection == pytest.approx(corner * total, abs=0.06 * total)


def test_a_saturating_rise_is_found_at_three_time_constants():
    x = np.arange(TOTAL) / TOTAL
    losses = 0.1 + 0.55 * (1 - np.exp(-3 * x / 0.5)) + 0.02 * np.random.default_rng(0).standard_normal(TOTAL)
    verdict = feed(build(DEFAULT), losses)
    assert verdict.inflection == pytest.approx(0.5 * TOTAL, abs=0.1 * TOTAL)
    assert "saturation" in verdict.reason


def test_the_burden_is_found_where_the_critic_begins_to_need_more_batches():
    losses = np.full(TOTAL, 0.65)
    verdict = feed(build("burden"), losses, switch(losses, plateau=0.6))
    assert verdict.inflection == pytest.approx(0.6 * TOTAL, abs=0.02 * TOTAL)


def test_the_burden_says_nothing_of_losses_given_at_every_batch():
    assert feed(build("burden"), s_shape()) is None


def test_seeing_the_critics_batches_only_leaves_the_answer_where_it_was():
    losses = s_shape()
    for name in (DEFAULT, "combined", "shape", "curvature"):
        verdict = feed(build(name), losses, switch(losses))
        assert verdict.inflection == pytest.approx(0.5 * TOTAL, abs=0.04 * TOTAL)


SILENT = (DEFAULT, "shape", "curvature", "knee", "burden", "window")


def without_inflection():
    x, noise = np.arange(TOTAL) / TOTAL, np.random.default_rng(1).standard_normal(TOTAL)
    return {
        "constant, exactly": np.full(TOTAL, 0.5),
        "constant, in noise": 0.5 + 0.03 * noise,
        "zero": np.zeros(TOTAL),
        "slow drift": 0.2 + 0.45 * x + 0.03 * noise,
        "fall": 0.65 - 0.4 / (1 + np.exp(-(x - 0.5) / 0.05)) + 0.02 * noise,
        "dip, then constant": 0.5 - 0.1 * (x / 0.02) * np.exp(1 - x / 0.02) + 0.02 * noise,
        "a rise yet to bend": 0.1 + 0.02 * np.exp(3 * x) + 0.02 * noise,
        "a late rise yet to bend": 0.3 + 0.5 * np.maximum(x - 0.45, 0) ** 1.7 + 0.02 * noise,
    }


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("what", without_inflection())
def test_a_detector_that_has_nothing_to_say_is_silent(name, what):
    assert feed(build(name), without_inflection()[what]) is None


def test_an_oscillation_does_not_fire_the_default():
    x = np.arange(TOTAL) / TOTAL
    for cycles in (3, 5.5, 12):
        losses = 0.5 + 0.1 * np.sin(2 * math.pi * cycles * x) + 0.02 * np.random.default_rng(2).standard_normal(TOTAL)
        assert feed(build(DEFAULT), losses) is None


@pytest.mark.parametrize("name", LISTENERS)
def test_broken_losses_and_steps_change_little(name):
    """NaN, inf, spikes, repeated and skipped steps: no exception, and the answer within 2 % of the phase."""
    losses = ramp() if name == "knee" else s_shape()
    steps = switch(losses, plateau=0.6)
    clean, rough = feed(build(name), losses, steps), build(name)
    spoilt = losses.copy()
    spoilt[100::97], spoilt[150::101], spoilt[50::89] = math.nan, math.inf, 4.0
    found = []
    for step in steps:
        if 700 <= step < 720:
            continue
        for repeated in (step, step, step - 5):
            found += [verdict] if (verdict := rough.update(int(repeated), float(spoilt[step]))) else []
    assert clean is not None
    assert len(found) == 1
    assert found[0].inflection == pytest.approx(clean.inflection, abs=0.02 * TOTAL)


@pytest.mark.parametrize("name", DETECTORS)
def test_only_broken_losses_fire_nothing(name):
    detector = build(name)
    for step in range(300):
        assert detector.update(step, (math.nan, math.inf, -math.inf)[step % 3]) is None


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("total", [1, 3, 40])
def test_a_phase_of_a_few_batches_is_no_trouble(name, total):
    detector = build(name, total_steps=total)
    for step in range(2 * total):  # beyond the planned end, too
        detector.update(step, 0.3 + 0.01 * step)


@pytest.mark.parametrize("name", LISTENERS)
def test_a_checkpoint_continues_to_the_bit(name):
    losses = ramp(noise=0.04) if name == "knee" else s_shape(noise=0.04)
    steps = switch(losses, plateau=0.6)
    whole, verdict = build(name), None
    states = {}
    for count, step in enumerate(steps):
        if count in (0, 3, 333, 500):
            buffer = io.BytesIO()
            torch.save(whole.state_dict(), buffer)
            buffer.seek(0)
            states[count] = torch.load(buffer, weights_only=True)
        verdict = verdict or whole.update(int(step), float(losses[step]))
    assert verdict is not None
    for count, state in states.items():
        again = build(name)
        again.load_state_dict(state)
        resumed = None
        for step in steps[count:]:
            resumed = resumed or again.update(int(step), float(losses[step]))
        assert resumed == verdict
        assert again.state_dict() == whole.state_dict()


def test_after_its_verdict_a_resumed_detector_stays_silent():
    detector, losses = build(DEFAULT), s_shape()
    feed(detector, losses)
    again = build(DEFAULT)
    again.load_state_dict(detector.state_dict())
    assert feed(again, np.append(losses, losses), range(TOTAL, 2 * TOTAL)) is None


def test_a_state_is_not_shared_with_the_detector_that_gave_it():
    detector = build(DEFAULT)
    state = detector.state_dict()
    feed(detector, s_shape())
    assert state == build(DEFAULT).state_dict()


@pytest.mark.parametrize("name", DETECTORS)
def test_memory_is_bounded(name):
    def numbers(value):
        if isinstance(value, dict):
            return sum(map(numbers, value.values()))
        return sum(map(numbers, value)) if isinstance(value, list) else 1

    detector = make_detector(name, **(CONTEXT | {"total_steps": 50_000}))
    for step in range(0, 100_000, 2):
        detector.update(step, 0.5)
    assert numbers(detector.state_dict()) < 2000


def test_the_budget_is_a_share_of_the_data():
    detector = make_detector("budget", total_steps=5000, images=1_281_167, batch_size=9, lr=1e-5)
    verdict = feed(detector, np.full(5000, 0.5))
    assert (verdict.inflection + 1) * 9 / 1_281_167 == pytest.approx(0.014, rel=1e-3)
    assert published_share(1e-5) == pytest.approx(0.014)
    assert published_share(5e-6) == pytest.approx(0.022)
    beyond = make_detector("budget", total_steps=100, images=1_281_167, batch_size=9, lr=1e-5)
    assert feed(beyond, np.full(100, 0.5)) is None


def test_the_window_believes_only_what_lies_near_the_prior():
    losses = s_shape()  # at batch 1000, that is 500 of the generator's
    near = make_detector("window", total_steps=TOTAL, lr=0.018 / 500)
    assert feed(near, losses).inflection == pytest.approx(1000, abs=80)
    for lr in (0.001 / 500, 0.2 / 500):
        assert feed(make_detector("window", total_steps=TOTAL, lr=lr), losses) is None
    # Where there are gaps they are what counts: 200 of the generator's batches by batch 1000, here.
    steps = np.flatnonzero(np.arange(TOTAL) % 5)
    assert feed(make_detector("window", total_steps=TOTAL, lr=0.018 / 200), losses, steps).inflection
    assert feed(make_detector("window", total_steps=TOTAL, lr=0.018 / 200, factor=1.5), losses) is None


def test_the_window_starts_anew_after_a_verdict_that_came_too_early():
    early = s_shape(center=0.2, low=0.1, high=0.3)
    late = s_shape(center=0.7, low=0.0, high=0.35, noise=0)
    detector = make_detector("window", of="curvature", total_steps=TOTAL, lr=0.018 / 700, factor=1.5)
    alone = feed(make_detector("curvature", total_steps=TOTAL), early + late)
    assert alone.inflection == pytest.approx(0.2 * TOTAL, abs=0.04 * TOTAL)
    verdict = feed(detector, early + late)
    assert verdict.inflection == pytest.approx(0.7 * TOTAL, abs=0.04 * TOTAL)


@pytest.mark.parametrize(
    ("conf", "key", "says"),
    [
        ({"name": "eye"}, "nogan.inflection.name", "curvature"),
        ({"name": "shape", "windw": 0.3}, "nogan.inflection.shape.windw", "sure"),
        ({"name": "curvature", "window": 7}, "nogan.inflection.curvature.window", "less than or equal to 1"),
        ({"name": "curvature", "window": "wide"}, "nogan.inflection.curvature.window", "number"),
        ({"name": "curvature", "z": math.nan}, "nogan.inflection.curvature.z", "finite"),
        ({"name": "curvature", "z": True}, "nogan.inflection.curvature.z", "number"),
        ({"total_steps": 0}, f"nogan.inflection.{DEFAULT}.total_steps", "greater"),
        ({"total_steps": None}, f"nogan.inflection.{DEFAULT}.total_steps", "integer"),
        ({"name": "budget", "images": None}, "nogan.inflection.name", "images"),
        ({"name": "window", "lr": None}, "nogan.inflection.name", "lr"),
        ({"name": "window", "of": "eye"}, "nogan.inflection.window.of.name", "curvature"),
        ({"name": "window", "of": "window"}, "nogan.inflection.window.of", "another"),
        ({"name": "window", "of": {"name": "probe"}}, "nogan.inflection.window.of", "hears the loss"),
        ({"name": "window", "of": {"name": "knee", "flat": 2}}, "nogan.inflection.window.of.flat", "less than 1"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(conf, key, says):
    with pytest.raises(UserError) as error:
        make_detector(**(CONTEXT | conf))
    assert key in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_total_is_named():
    with pytest.raises(UserError, match=rf"nogan\.inflection\.{DEFAULT}\.total_steps"):
        make_detector()


def test_a_checkpoint_of_another_detector_or_setting_is_refused():
    state = build("curvature").state_dict()
    with pytest.raises(UserError, match=r"nogan\.inflection\.name"):
        build("knee").load_state_dict(state)
    with pytest.raises(UserError, match=r"nogan\.inflection\.curvature\.window"):
        build("curvature", window=0.5).load_state_dict(state)


def test_the_evidence_of_the_last_look_can_be_logged():
    detector, losses = build(DEFAULT), s_shape()
    passed = []
    for step, loss in enumerate(losses):
        detector.update(step, loss)
        passed += [detector.evidence["passed"]] if "passed" in detector.evidence else []
    assert passed[0] < 0.05
    assert passed[-1] > 0.95


def test_a_local_quadratic_is_recovered_with_its_error():
    u, rng = np.linspace(-1, 1, 32), np.random.default_rng(0)
    counts = np.where(np.arange(32) % 3, 5.0, 0.0)
    fits = [local_quadratic(0.3 + 0.1 * u - 0.2 * u * u + 0.05 * rng.standard_normal(32), counts) for _ in range(400)]
    rises, bends, errors = np.array(fits).T
    assert rises.mean() == pytest.approx(0.2, abs=0.01)
    assert bends.mean() == pytest.approx(-0.2, abs=0.01)
    assert np.median(errors) == pytest.approx(bends.std(), rel=0.3)


def test_two_segments_are_recovered():
    t = np.linspace(0, 1, 101)
    corner, before, after, gain = two_segments(t, np.minimum(t, 0.6) * 2, np.ones(101), t[4:-5])
    assert (corner, before) == (pytest.approx(0.6), pytest.approx(2))
    assert after == pytest.approx(0, abs=1e-6)
    assert gain > 50
    line = two_segments(t, 2 * t + 0.1 * np.random.default_rng(0).standard_normal(101), np.ones(101), t[4:-5])
    assert line[3] < 5


def test_autocorrelation_widens_and_white_noise_does_not():
    rng = np.random.default_rng(0)
    white = rng.standard_normal(2000)
    walk = white.copy()
    for i in range(1, 2000):
        walk[i] += 0.8 * walk[i - 1]
    assert correlation_inflation(white, np.ones(2000), 3) < 1.2
    assert correlation_inflation(walk, np.ones(2000), 3) == pytest.approx(9, rel=0.2)


@pytest.mark.parametrize("doubling", [False, True])
def test_blocks_hold_the_means_of_their_steps(doubling):
    steps = [step for step in range(1000) if step % 7 and not 400 <= step < 450]
    blocks = Blocks(4, 50, doubling)
    for step in steps:
        blocks.add(step, step**2)
    centers, means, counts = blocks.closed()
    assert len(centers) <= 50
    assert centers[0] == (blocks.width - 1) / 2 if doubling else centers[0] > 700
    for center, mean, count in zip(centers, means, counts, strict=True):
        mine = [step**2 for step in steps if abs(step - center) < blocks.width / 2]
        assert count == len(mine)
        assert mean == pytest.approx(np.mean(mine) if mine else 0)


def test_the_spike_guard_lets_a_rise_pass_and_clips_a_spike():
    guard, rng = SpikeGuard(), np.random.default_rng(0)
    for _ in range(100):
        guard(0.3 + 0.01 * rng.standard_normal())
    assert guard(5.0) < 0.4
    after = [guard(0.6 + 0.01 * rng.standard_normal()) for _ in range(10)]
    assert after[4:] == pytest.approx([0.6] * 6, abs=0.05)
