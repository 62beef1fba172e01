"""Simulated phases are what their families say, pictures tell of them what they should, and the study judges rules."""

import numpy as np
import pytest

from nogan.cli import main
from nogan.study import joint
from nogan.study.regret import has_passed_its_best
from nogan.study.rows import AVERAGED

FEW = range(6)


def truth(family, index, split="tune"):
    row = joint.draw(split, family, index)
    return row, np.array(list(row["oracle"][AVERAGED].values()))


@pytest.mark.parametrize("family", joint.FAMILIES)
def test_a_phase_is_a_function_of_its_key_and_pictures_tell_its_merit(family):
    for index in FEW:
        row, true = truth(family, index)
        assert row == joint.draw("tune", family, index) != joint.draw("test", family, index)
        seen = np.array(list(row["probe"][AVERAGED].values()))
        assert seen.shape == (joint.SNAPSHOTS + 1, joint.PICTURES) and true[0] == 0
        assert np.corrcoef(seen.mean(axis=1), true)[0, 1] > 0.8
        assert [step for step, _ in row["losses"]] == list(range(0, row["steps"], 2))


def test_families_gain_and_lose_what_they_say():
    best = {family: [int(truth(family, index)[1].argmax()) for index in FEW] for family in joint.FAMILIES}
    share = {family: np.array(found) / joint.SNAPSHOTS for family, found in best.items()}
    assert (share["rising"] > 0.85).all()
    nothing = [truth("worse", index)[1] for index in FEW]
    assert all(true[-1] < 0 and true.max() < -true.min() / 2 for true in nothing), "but for waves, nothing"
    assert (share["peak"] > 0.1).all() and (share["peak"] < 0.75).all()
    assert all(has_passed_its_best(truth("peak", index)[0]) for index in FEW)
    troughs = [truth("trough", index)[1] for index in FEW]
    assert all(true[: joint.SNAPSHOTS // 5].min() < 0 < true.max() for true in troughs)


def test_the_study_writes_its_tables_and_fills_in_a_record(tmp_path, capsys):
    record = tmp_path / "record.md"
    record.write_text("before\n<!-- joint:begin -->\nold\n<!-- joint:end -->\nafter\n")
    command = ["study", "joint", "--curves", "1", "--out", str(tmp_path / "out"), "--record", str(record)]
    assert main(command) == 0
    text = (tmp_path / "out" / "joint.md").read_text()
    assert text.strip() in record.read_text() and "old" not in record.read_text()
    lines = [line for line in text.splitlines() if line.startswith("| the whole budget")]
    cost, time = ([cell.strip() for cell in line.split("|")[2:-1]] for line in lines)
    assert time == ["0%"] * len(joint.FAMILIES), "the whole budget saves nothing"
    worse = dict(zip(joint.FAMILIES, cost, strict=True))["worse"]
    assert int(worse.split("%")[0]) > 80, "what is lost to the end, of what can be lost"
    capsys.readouterr()
    assert main([*command[:3], "0"]) == 1 and "--curves 0: expected at least 1" in capsys.readouterr().err
