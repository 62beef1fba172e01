"""The simulated curves have the inflection point they claim; the study counts right and goes on where it was cut."""

import math

import numpy as np
import pytest

from nogan.cli import main
from nogan.common.errors import UserError
from nogan.study import curves, simulated
from nogan.study.curves import (
    ALL,
    AR,
    BEYOND_WITHOUT,
    FAMILIES,
    HARD_WITHOUT,
    KNEED,
    S_SHAPED,
    THRESHOLD,
    WITHOUT,
    draw,
)
from nogan.study.record import append_row, fill_in, read_rows


@pytest.mark.parametrize("family", ALL)
def test_a_curve_is_a_function_of_its_key_and_within_the_ranges(family):
    for index in range(8):
        curve, again = draw("tune", family, index), draw("tune", family, index)
        assert np.array_equal(curve.losses, again.losses)
        assert 200 <= curve.total <= 10_000
        assert np.isfinite(curve.losses).all()
        assert curve.losses.min() >= 0
        assert (np.diff(curve.steps) > 0).all()
        assert curve.steps[0] == 0
        assert curve.steps[-1] < curve.total
        assert (curve.truth is None) == (family in WITHOUT + HARD_WITHOUT + BEYOND_WITHOUT)
    assert not np.array_equal(draw("test", family, 0).losses[:50], draw("tune", family, 0).losses[:50])


def without_dips(family, count=12):
    drawn = (draw("tune", family, index) for index in range(count * 3))
    return [curve for curve in drawn if not curve.traits["dip"]][:count]


@pytest.mark.parametrize("family", S_SHAPED)
def test_an_s_shape_is_steepest_at_its_truth(family):
    for curve in without_dips(family):
        assert np.argmax(np.diff(curve.mean)) == pytest.approx(curve.truth, abs=2)
        assert 0.6 <= curve.mean[-1] <= 0.7
        assert 0.05 <= curve.mean[0] <= 0.54


def test_an_arctan_is_steepest_at_its_truth_and_climbs_for_long_on_either_side():
    for curve in without_dips("arctan"):
        assert np.argmax(np.diff(curve.mean)) == pytest.approx(curve.truth, abs=2)
        assert 0.84 < np.ptp(curve.mean) / curve.traits["rise"] < 0.97


def test_a_slow_rise_is_barely_over_at_the_end():
    for curve in without_dips("slow", 20):
        assert np.argmax(np.diff(curve.mean)) == pytest.approx(curve.truth, abs=2)
        climbed = (curve.mean - curve.mean[-1]) / curve.traits["rise"] + 1  # at the end, nearly all of it
        over = np.searchsorted(climbed, 0.94) / curve.total
        assert 0.75 < over <= 1
        assert over - np.searchsorted(climbed, 0.1) / curve.total > 0.35


def test_noise_with_a_long_memory_has_it():
    found = []
    for index in range(20):
        curve = draw("tune", "constant-ar", index)
        if not curve.traits["critic_only"] and curve.total > 1000 and not curve.traits["dip"]:
            noise = curve.losses - curve.mean
            found.append(np.corrcoef(noise[1:], noise[:-1])[0, 1])
    assert np.median(found) == pytest.approx(AR, abs=0.03)


def test_a_saturation_has_climbed_95_percent_at_its_truth():
    for curve in without_dips("saturation"):
        start, end = curve.mean[0], curve.mean[0] + curve.traits["rise"]
        assert np.interp(curve.truth, np.arange(curve.total), curve.mean) == pytest.approx(
            end - math.exp(-3) * (end - start), abs=1e-3
        )


def test_a_ramp_ends_at_its_truth():
    for curve in without_dips("ramp"):
        corner = round(curve.truth)
        assert np.ptp(curve.mean[corner + 1 :]) == 0
        assert np.diff(curve.mean[: corner - 1]).min() > 0


def test_the_switch_hands_over_below_the_threshold_only():
    pinned_shares = []
    for index in range(40):
        curve = draw("tune", "ramp", index)
        if not curve.traits["critic_only"]:
            assert len(curve.steps) == curve.total
            continue
        gaps = np.diff(curve.steps)
        assert set(gaps) <= {1, 2}
        assert (gaps[curve.losses[:-1] < THRESHOLD] == 2).all()
        if curve.traits["pinned"]:
            plateau = curve.steps > curve.truth
            rising = curve.steps < 0.5 * curve.truth
            assert abs(curve.losses[plateau].mean() - THRESHOLD) < 0.08
            pinned_shares.append(np.diff(curve.steps[rising]).mean() - np.diff(curve.steps[plateau]).mean())
    assert min(pinned_shares) > 0, "the critic needs more batches on the plateau"


def row(truth, inflection, step, total=1000):
    return {"truth": truth, "total": total, "found": {"knee": {"inflection": inflection, "step": step, "micros": 1.0}}}


def test_scores_count_errors_delays_misses_and_false_alarms():
    rows = [row(500, 480, 600), row(500, 540, 560), row(500, 500, 510), row(500, None, None)]
    rows += [row(None, None, None), row(None, 300, 400)]
    assert simulated.scores(rows, "knee") == pytest.approx(
        {"error": 0.02, "error90": 0.036, "bias": 0.0, "delay": 0.06, "missed": 0.25, "false": 0.5}
    )
    nothing = simulated.scores(rows[:1], "knee")
    assert math.isnan(nothing["false"])
    assert nothing["missed"] == 0


def test_the_wilson_interval():
    # By hand from Wilson 1927: 0 of 200 and 10 of 200 at 95 %.
    assert simulated.wilson(0, 200) == pytest.approx((0, 0.01885), abs=1e-4)
    assert simulated.wilson(0.05, 200) == pytest.approx((0.02739, 0.08957), abs=1e-4)


def listen(key, name=simulated.JUDGED):
    """The verdict of detector ``name`` on a curve, or None, and the curve."""
    curve = draw(*key)
    detector = simulated.make_detector(name, total_steps=curve.total)
    verdicts = map(detector.update, curve.steps.tolist(), curve.losses.tolist())
    return next((verdict for verdict in verdicts if verdict), None), curve


def test_the_default_meets_its_targets_on_a_few_curves():
    """A guard against regressions, on the tuning split; the record holds the held-out figures."""
    rows = []
    for family in FAMILIES:
        for index in range(5):
            verdict, curve = listen(("tune", family, index))
            found = {"inflection": verdict and verdict.inflection, "step": verdict and verdict.step, "micros": 0.0}
            rows.append({"family": family, "truth": curve.truth, "total": curve.total, "found": {"default": found}})
    s_shaped, kneed, without = (
        simulated.scores([row for row in rows if row["family"] in group], "default")
        for group in (S_SHAPED, KNEED, WITHOUT)
    )
    assert s_shaped["error"] < 0.02
    assert kneed["error"] < 0.06
    assert s_shaped["missed"] + kneed["missed"] <= 0.1
    assert without["false"] == 0


@pytest.mark.parametrize(
    ("family", "index", "within"),
    [
        ("arctan", 0, 0.03),
        ("slow", 6, 0.03),
        ("slow", 101, 0.03),  # told only as the phase ends
        ("saturation-ar", 3, 0.05),  # bends late
        ("saturation-ar", 25, 0.2),
        ("saturation-ar", 137, 0.2),  # its point can be placed only roughly
    ],
)
def test_shape_finds_what_is_hard_to_see(family, index, within):
    """Curves of the tuning split, all of which but the first two a threshold of 95 % would miss."""
    verdict, curve = listen(("tune", family, index), "shape")
    assert verdict is not None
    assert verdict.inflection == pytest.approx(curve.truth, abs=within * curve.total)


@pytest.mark.parametrize(("family", "index"), [("drift-ar", 41), ("drift-ar", 44), ("drift", 0)])
def test_shape_takes_no_drift_for_a_rise_that_ended(family, index):
    """Curves of the tuning split; without odds of its own for a straight line, the first two would be taken for one."""
    assert listen(("tune", family, index), "shape")[0] is None


def test_the_study_goes_on_where_it_was_cut(tmp_path, monkeypatch, capsys):
    played = []

    def quick(key):
        played.append(key)
        curve = draw(*key)
        at = len(played) if curve.truth else None
        found = {name: {"inflection": at, "step": at, "micros": 1.0} for name in simulated.NAMES}
        return {"key": key, "total": curve.total, "truth": curve.truth, "traits": curve.traits, "found": found}

    monkeypatch.setattr(simulated, "play", quick)
    document = tmp_path / "record.md"
    document.write_text("# Record\n\n<!-- simulated:begin -->\nold\n<!-- simulated:end -->\n\nprose stays\n")
    command = ["study", "simulated", "--out", str(tmp_path / "out"), "--curves", "2", "--record", str(document)]
    assert main(command) == 0
    total = 2 * len(ALL)
    assert len(played) == total
    first = capsys.readouterr().out
    results = tmp_path / "out" / "simulated.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    results.write_text("".join(lines[:-3]) + lines[-3][:40])  # three rows lost, one of them torn
    assert main(command) == 0
    assert len(played) == total + 3
    assert len([row for row in read_rows(results)]) == total
    assert main(command) == 0
    assert len(played) == total + 3
    assert first.splitlines()[:10] == capsys.readouterr().out.splitlines()[:10]
    text = document.read_text()
    assert "old" not in text
    assert "prose stays" in text
    assert f"| `{simulated.JUDGED}` | target | found |" in text
    assert 0 < (tmp_path / "record" / "simulated.png").stat().st_size < 200_000
    monkeypatch.setattr(simulated, "_version", lambda: "changed")
    assert main(command) == 0
    assert len(played) == 2 * total + 3, "other detectors, other results"


def test_a_played_curve_has_an_answer_or_none_from_every_detector():
    row = simulated.play(("tune", "logistic", 0))
    assert set(row["found"]) == set(simulated.NAMES)
    assert row["found"][simulated.JUDGED]["inflection"] == pytest.approx(row["truth"], abs=0.05 * row["total"])
    for found in row["found"].values():
        assert (found["inflection"] is None) == (found["step"] is None)
        assert found["micros"] > 0


@pytest.mark.parametrize("name", simulated.AS_SHAPE)
def test_detectors_that_hear_pictures_do_without_them_what_shape_does(name):
    """So the study plays such a curve once for all of them."""
    verdict, _ = listen(("tune", "logistic", 0), name)
    shape, _ = listen(("tune", "logistic", 0), "shape")
    assert (verdict.inflection, verdict.step) == (shape.inflection, shape.step)
    assert verdict.detector == name


def test_the_budget_of_the_study_lies_at_52_percent():
    curve = curves.draw("tune", "constant", 0)
    at = simulated.make_detector("budget", **simulated.context(curve)["budget"]).at
    assert at / curve.total == pytest.approx(0.014 / 0.027, abs=0.005)


def test_wrong_flags_are_one_line(tmp_path, capsys):
    assert main(["study", "simulated", "--out", str(tmp_path), "--curves", "0"]) == 1
    assert "--curves 0" in capsys.readouterr().err
    with pytest.raises(UserError, match="no such file"):
        fill_in(tmp_path / "none.md", "simulated", "")
    (tmp_path / "bare.md").write_text("# no block\n")
    with pytest.raises(UserError, match="simulated:begin"):
        fill_in(tmp_path / "bare.md", "simulated", "")


def test_rows_survive_a_cut_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_row(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2, "b')
    append_row(path, {"a": 3})
    assert list(read_rows(path)) == [{"a": 1}, {"a": 3}]
