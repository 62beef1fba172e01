"""Ranks that stop, die or find a mistake: the others end soon, with one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GO_ON = ["to go on: nogan train resume=RUN"]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, list[list[str]]]:
    """Of each run of two ranks: the lines that each of them left."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "FATAL",
    }
    command = [sys.executable, str(Path(__file__).with_name("rank.py")), str(folder)]
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert not [path for path in folder.iterdir() if path.is_dir()], "signs of life that are left behind"
    files = {path.stem: path.read_text().splitlines() for path in folder.iterdir()}
    return {name[:-2]: [lines, files[f"{name[:-2]}-1"]] for name, lines in files.items() if name.endswith("-0")}


def test_ranks_that_end_well_say_nothing(told):
    assert told["nothing"] == [["exit 0"], ["exit 0"]]


def test_a_stopped_rank_is_named_and_after_the_limit_the_run_ends(told):
    (first, second) = told["SIGSTOP"]
    assert "rank 1 has given no sign of life for 0.5 s, and training waits for it; the run ends after" in first[0]
    assert "rank 1 has given no sign of life for trainer.max_silent_minutes=0.04, and training cannot" in first[1]
    assert first[2:] == [*GO_ON, "exit 1"]
    assert second == ["exit -9"]  # by the test


def test_a_rank_that_died_is_named(told):
    (first, second) = told["SIGKILL"]
    assert first == ["rank 1 has died, and training cannot go on without", *GO_ON, "exit 1"]
    assert second == ["exit -9"]


@pytest.mark.parametrize("found", ["mistake", "mistakes"])
def test_a_mistake_is_one_line_whether_one_rank_or_all_find_it(told, found):
    assert sorted(map(tuple, told[found])) == [("a mistake", "exit 1"), ("exit 1",)]


def test_a_defect_is_told_by_the_rank_that_has_it(told):
    (first, second) = told["defect"]
    assert first == ["exit 1"]
    assert "Traceback" in second[0] and second[-2:] == ["AssertionError: a defect", "exit 1"]
