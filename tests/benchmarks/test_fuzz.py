"""A sample of benchmarks/fuzz.py: nonsense in the config and damage to files end in no traceback, nor in silence."""

import random
import shutil

import pytest

from benchmarks.fuzz import (
    DAMAGES,
    FAULTS,
    LESS,
    REFUSED,
    SAID,
    SAME,
    SILENT,
    TRACEBACK,
    Bench,
    Case,
    Ran,
    config_cases,
    damaged,
    image_cases,
    judged,
    make_images,
)


@pytest.fixture(scope="module")
def bench(finished_run, tmp_path_factory) -> Bench:
    scratch = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(finished_run, scratch / "ended", ignore=shutil.ignore_patterns("wandb", "fakes"))
    make_images(scratch)
    return Bench(scratch, seed=0)


def faults(bench: Bench, cases: list[Case], count: int) -> list[str]:
    """What is wrong with ``count`` of ``cases``, drawn with a fixed seed."""
    drawn = random.Random(0).sample(cases, count)
    done = [(case, bench.do(case)) for case in drawn]
    return [f"{case}: {outcome.kind}: {outcome.words}" for case, outcome in done if outcome.kind in FAULTS]


def test_nonsense_in_the_config(bench):
    assert not faults(bench, config_cases("dry run"), 150)


def test_damaged_photographs(bench):
    assert not faults(bench, image_cases(), 40)


def test_damaged_files_of_a_run(bench):
    files = [path.relative_to(bench.scratch) for path in (bench.scratch / "ended").rglob("*") if path.is_file()]
    files = [str(file) for file in sorted(files) if file.suffix in (".json", ".csv", ".yaml", ".safetensors", ".png")]
    commands = ("report", "snapshots", "colorize", "pick", "export")
    assert not faults(bench, [Case("folder", f, d, c) for f in files for d in DAMAGES for c in commands], 24)


def test_outcomes_are_told_apart(tmp_path):
    plain = Ran(0, "done\n", 1)
    assert judged(plain, plain).kind == SAME
    assert judged(plain._replace(result=2), plain).kind == SILENT
    assert judged(Ran(0, "a.json is damaged\ndone\n", 2), plain).kind == SAID
    assert judged(Ran(1, "nogan report: no"), plain).kind == REFUSED
    assert judged(Ran(None, "Traceback (most recent call last):"), plain).kind == TRACEBACK
    assert LESS not in FAULTS
    for damage in DAMAGES:
        (path := tmp_path / "file").write_bytes(bytes(range(100)))
        damaged(path, damage, random.Random(0))
        assert not path.exists() if damage == "deleted" else path.read_bytes() != bytes(range(100))
