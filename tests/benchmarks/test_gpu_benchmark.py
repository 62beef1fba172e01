"""`benchmarks/gpu.py` in small, on the CPU: every part runs, and leaves what it found."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from nogan.data.scenes import draw_scene
from tests.conftest import ROOT


@pytest.mark.slow
def test_every_part_in_small(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(30):
        Image.fromarray(draw_scene(1, number, 96)).save(photos / f"{number}.jpg")
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "gpu.py"),
        "--smoke",
        "--minutes",
        "15",
        "--photos",
        str(photos),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "-o", str(out)], check=True, env=environment, capture_output=True, timeout=900)
    found = json.loads((out / "gpu.json").read_text())
    ended = {part: found[part]["ended"] for part in ("tests", "rates", "program", "inflection", "color")}
    assert ended == dict.fromkeys(ended, "complete")
    assert not found["tests"]["failures"] and found["tests"]["skipped"]  # they need a GPU
    assert {(row["phase"], row["factor"]) for row in found["rates"]["rows"]} == {
        (phase, factor) for phase in ("g1", "c1", "gan") for factor in (1, 2)
    }
    assert all(row["images_per_second"] > 0 and 0 <= row["waiting"] <= 1 for row in found["rates"]["rows"])
    assert all(found["flops"]["artistic"]["flops"][phase] > 0 for phase in ("g1", "c1", "gan", "fakes"))
    for run in ("program", "inflection"):
        assert found[run]["code"] == 0 and found[run]["phases"][-1]["kind"] == "gan"
    assert found["color"]["rows"][0]["network_per_second"] > 0
    assert found["color"]["film"]["frames_per_second"] > 0
    assert {path.name for path in out.iterdir()} == {
        "gpu.md",
        "gpu.json",
        "gpu-program.html",
        "gpu-program.jpg",
        "gpu-inflection-metrics.csv",
        "gpu-inflection-records.json",
    }
    page = (out / "gpu.md").read_text()
    assert "| artistic | gan x2 | 32 | 8 |" in page and "## Coloring" in page
