"""The comparison of two records finds what differs, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.unchanged import compare

HEADER = "nogan/phase,val/{ratio},seconds\n"


def record(
    folder: Path, *, ratio: str = "color_ratio", loss: str = "0.5", weight: float = 1.0, seconds: int = 3
) -> Path:
    run = folder / "quickstart"
    run.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps({"model=tiny": "the  plan"}))
    (run / "metrics.csv").write_text(HEADER.format(ratio=ratio) + f"0,{loss},{seconds}\n")
    (run / "records.json").write_text(json.dumps([{"name": "g1", "seconds": seconds, "metrics": {ratio: 0.5}}]))
    for name in ("generator.safetensors", "critic.safetensors"):
        save_file({"weight": np.full(3, weight, np.float32)}, run / name, metadata={"made": str(seconds)})
    return folder


def test_seconds_spelling_and_headers_are_no_difference(tmp_path):
    before = record(tmp_path / "before", ratio="colour_ratio")
    assert compare(before, record(tmp_path / "after", seconds=4))


@pytest.mark.parametrize("change", [{"loss": "0.5000001"}, {"weight": 1.0000001}, {"ratio": "other"}])
def test_the_least_change_is_found(tmp_path, change, capsys):
    assert not compare(record(tmp_path / "before"), record(tmp_path / "after", **change))
    assert "There are differences." in capsys.readouterr().out


def test_another_plan_is_found(tmp_path):
    before, after = record(tmp_path / "before"), record(tmp_path / "after")
    (after / "plans.json").write_text(json.dumps({"model=tiny": "another plan"}))
    assert not compare(before, after)


def test_a_run_that_is_missing_is_found(tmp_path, capsys):
    before, after = record(tmp_path / "before"), record(tmp_path / "after")
    (after / "quickstart" / "records.json").unlink()
    assert not compare(before, after)
    assert "quickstart: not recorded" in capsys.readouterr().out
