"""`pays` goes on while the next stretch is worth it, stops soon after, and compares generators picture by picture."""

import math

import numpy as np
import pytest
import torch

from nogan.inflection import make_detector
from nogan.inflection.paired import difference, expected_excess

TOTAL, EVERY, PICTURES = 1000, 20, 128


def qualities(curve, scatter=0.05, seed=0):
    """Quality of each picture at each snapshot: its own level, and a little scatter about ``curve``."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(-3, 1.5, PICTURES)
    times = np.arange(0, TOTAL + 1, EVERY) / TOTAL
    means = np.array([curve(time) for time in times])
    return levels + means[:, None] + scatter * rng.standard_normal((len(times), PICTURES))


def feed(detector, rows, first=0):
    for number, row in enumerate(rows, start=first):
        detector.pictured(number * EVERY, row.tolist())
        if verdict := detector.measured(number * EVERY, {"merit": float(row.mean())}):
            return number * EVERY, verdict
        for step in range(number * EVERY, (number + 1) * EVERY, 2):
            assert detector.update(step, 0.4) is None
    return None


def saturating(time):
    return 1 - math.exp(-time / 0.1)


def test_it_stops_where_another_tenth_is_no_longer_worth_it():
    when, verdict = feed(make_detector("pays", total_steps=TOTAL), qualities(saturating, scatter=0.02))
    assert 300 < when < 600  # exp(-4) is 2 %
    assert saturating(verdict.inflection / TOTAL) > 0.95
    assert "promises" in verdict.reason and "of the" in verdict.reason
    sooner, _ = feed(make_detector("pays", total_steps=TOTAL, worth=0.2), qualities(saturating, scatter=0.02))
    assert sooner < when, "who asks more of a tenth of the phase stops sooner"


def test_it_stops_soon_after_the_best_and_goes_back_to_it():
    when, verdict = feed(make_detector("pays", total_steps=TOTAL), qualities(lambda t: 1 - abs(t - 0.4)))
    assert verdict.inflection == pytest.approx(400, abs=40)
    assert when < 600


def test_it_goes_to_the_end_while_quality_rises_and_says_what_is_best():
    detector = make_detector("pays", total_steps=TOTAL)
    assert feed(detector, qualities(lambda t: t)) is None
    assert detector.finish().inflection >= 960


def test_it_waits_through_a_first_trough():
    def trough(time):
        return -2 * time if time < 0.1 else -0.2 + 1.2 * saturating(time - 0.1)

    when, verdict = feed(make_detector("pays", total_steps=TOTAL), qualities(trough))
    assert when > 350 and verdict.inflection > 300


def test_a_phase_that_gains_nothing_ends_with_the_generator_before_it_but_not_in_its_first_trough():
    when, verdict = feed(make_detector("pays", total_steps=TOTAL), qualities(lambda t: -t))
    assert 400 <= when < 500 and verdict.inflection == 0
    assert "no snapshot was better" in verdict.reason
    late = feed(make_detector("pays", total_steps=TOTAL), qualities(lambda t: -2 * t if t < 0.3 else -1.2 + 2 * t))
    assert late is None or late[1].inflection > 0, "the line through the last snapshots promises a gain"


def test_a_chance_gain_before_the_trough_does_not_end_the_phase():
    """Of the first batches, and certain, for it is the same in every picture; but small beside what is lost after."""

    def fallen_after_a_gain(time):
        return time if time <= 0.02 else 0.02 - 5 * (time - 0.02) if time < 0.2 else -0.88 + 4 * saturating(time - 0.2)

    found = feed(make_detector("pays", total_steps=TOTAL), qualities(fallen_after_a_gain, scatter=0.01))
    assert found is not None and found[1].inflection > 400


def test_a_checkpoint_continues_to_the_bit():
    rows = qualities(saturating)
    whole = feed(make_detector("pays", total_steps=TOTAL), rows)
    assert whole is not None
    for cut in (1, 6, 15):
        detector, again = (make_detector("pays", total_steps=TOTAL) for _ in range(2))
        assert feed(detector, rows[:cut]) is None
        again.load_state_dict(detector.state_dict())
        assert feed(again, rows[cut:], first=cut) == whole


def test_without_pictures_one_by_one_it_takes_their_mean():
    detector = make_detector("pays", total_steps=TOTAL)
    found = [
        verdict
        for number, row in enumerate(qualities(saturating, scatter=0.0))
        if (verdict := detector.measured(number * EVERY, {"merit": float(row.mean())}))
    ]
    assert len(found) == 1


def test_a_picture_that_is_broken_leaves_its_snapshot_out():
    detector = make_detector("pays", total_steps=TOTAL)
    detector.pictured(0, [math.nan, 1.0])
    assert detector.measured(0, {"merit": 0.5}) is None and detector.finish() is None, "as if it was not measured"


@pytest.mark.parametrize("count", [0, 100])  # somebody forgot to call pictured(); or other data is measured
def test_where_the_pictures_are_others_than_before_means_are_compared(count):
    detector, rows = make_detector("pays", total_steps=TOTAL), qualities(saturating, scatter=0.02)
    assert feed(detector, rows[:8]) is None
    again = make_detector("pays", total_steps=TOTAL)
    again.load_state_dict(detector.state_dict())
    for number, row in enumerate(rows[8:], start=8):
        again.pictured(number * EVERY, row[:count].tolist())
        if verdict := again.measured(number * EVERY, {"merit": float(row.mean())}):
            break
    assert verdict and saturating(verdict.inflection / TOTAL) > 0.9 and len(again.before) == 1


def test_past_the_planned_end_nothing_lies_ahead():
    detector = make_detector("pays", total_steps=100)
    for step in range(0, 125, 5):
        detector.pictured(step, [step / 50, 0.2, 0.3])
        if verdict := detector.measured(step, {"merit": (step / 50 + 0.5) / 3}):
            break
    assert step > 100 and "another 0% of the phase promises" in verdict.reason


def test_pairs_tell_apart_what_means_do_not_and_seldom_where_there_is_nothing():
    rng = np.random.default_rng(0)
    levels = rng.normal(-3, 2, PICTURES)
    better = difference(levels + 0.1 + 0.05 * rng.standard_normal(PICTURES), levels, look=50)
    assert better.verdict == "better" and better.error < 0.01 < 2 / math.sqrt(PICTURES)
    assert difference(levels, levels + 0.1, look=1).verdict == "worse"
    told = [
        any(
            difference(a, b, look).verdict != "not told apart"
            for look, (a, b) in enumerate(rng.standard_normal((50, 2, 64)), start=1)
        )
        for _ in range(200)
    ]
    assert np.mean(told) < 0.1  # ever, in fifty looks; 0.05 is promised


def test_the_expected_excess_is_that_of_draws():
    draws = torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * 0.5 - 0.3
    assert expected_excess(-0.3, 0.5) == pytest.approx(draws.clamp(min=0).mean().item(), rel=0.02)
    assert (expected_excess(-1.0, 0.0), expected_excess(1.0, 0.0)) == (0.0, 1.0)
