"""A resumed run finds the photographs that it began with, or is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import nogan.training.run
from nogan.common.errors import UserError
from nogan.plan import as_rows
from nogan.plan.config import RunConfig
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore
from nogan.training.preview import show_plan
from nogan.training.run import train
from nogan.training.same_data import DataRecord
from tests.conftest import SMALLEST, train_py

QUIET = Console(quiet=True)
RUN = ("trainer.limit_batches=3", "data=folder", "data.images=null", "data.workers=0", "nogan.repeats=0")


@pytest.fixture(scope="module")
def begun(smallest, tmp_path_factory) -> tuple[Path, Path]:
    """60 photographs, and a finished run on them: copy both, do not change them."""
    photographs, run = tmp_path_factory.mktemp("data") / "photos", tmp_path_factory.mktemp("runs") / "run"
    photographs.mkdir()
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photographs / f"{number:03d}.png")
    train(smallest(*RUN, f"data.path={photographs}"), run, console=QUIET)
    return photographs, run


@pytest.fixture
def copies(begun, tmp_path) -> tuple[Path, Path]:
    return tuple(shutil.copytree(folder, tmp_path / folder.name) for folder in begun)


def go_on(smallest, photographs: Path, run: Path, *overrides: str) -> dict[str, Any]:
    return train(resumed(smallest, photographs, run, *overrides), run, console=QUIET)


def resumed(smallest, photographs: Path, run: Path, *overrides: str) -> RunConfig:
    return smallest(*RUN, f"data.path={photographs}", "nogan.repeats=1", f"resume={run}", *overrides)


def test_photographs_elsewhere_are_still_the_same(smallest, copies):
    go_on(smallest, *copies)  # at another data.path
    record = json.loads((copies[1] / "data.json").read_text())
    assert record["planned_for"] == record["train"]["photographs"] == 60


def remove(photographs: Path, run: Path) -> None:
    (photographs / "017.png").unlink()


def rename(photographs: Path, run: Path) -> None:
    (photographs / "017.png").rename(photographs / "another.png")


def edit(photographs: Path, run: Path) -> None:
    Image.new("RGB", (50, 50), "red").save(photographs / "017.png")


def of_an_older_version(photographs: Path, run: Path) -> None:
    (run / "data.json").unlink()


def damage(photographs: Path, run: Path) -> None:
    (run / "data.json").write_text("{")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (remove, r"holds 59 photographs, and held 60"),
        (rename, r"as many as when it began, but others \(names differ\)"),
        (edit, r"as many as when it began, but others \(sizes differ\)"),
        (of_an_older_version, r"older version"),
        (damage, r"data\.json cannot be read"),
    ],
)
def test_others_are_refused_with_what_changed(smallest, copies, change, said):
    change(*copies)
    with pytest.raises(UserError, match=rf"resume=.*{said}.*data\.changed=allow") as refused:
        go_on(smallest, *copies)
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(UserError) as refused_dry:
        show_plan(resumed(smallest, *copies), QUIET)
    assert str(refused_dry.value) == str(refused.value)


def test_a_dry_run_of_a_resumption_refuses_what_is_done_already(smallest, begun):
    show_plan(resumed(smallest, *begun), QUIET)
    with pytest.raises(UserError, match=r"phase g1 is finished with batch_size=4, and the config now says 5"):
        show_plan(resumed(smallest, *begun, "nogan.pretrain.g1.batch_size=5"), QUIET)


def test_a_dry_run_of_the_newest_run_names_it_and_refuses_what_it_would(begun, tmp_path):
    photographs, run = begun
    newest = tmp_path / "outputs" / RunFolder(run).config().name / "2026-01-01_12-00-00"
    shutil.copytree(run, newest, ignore=shutil.ignore_patterns("records.json"))  # it has not ended
    arguments = (*SMALLEST, *RUN, f"data.path={photographs}", "resume=auto", "dry_run=true")
    said = train_py(tmp_path, *arguments)
    assert said.returncode == 0 and f"Goes on with {newest.relative_to(tmp_path)}." in said.stdout
    (photographs / "017.png").rename(photographs / "another.png")
    try:
        refused = train_py(tmp_path, *arguments)
    finally:
        (photographs / "another.png").rename(photographs / "017.png")
    assert refused.returncode == 1 and "(names differ)" in refused.stderr and refused.stderr.count("\n") == 1


def test_a_run_that_began_before_its_source_had_digests_goes_on(smallest, copies):
    DataRecord(planned_for=60, train={"photographs": 60}, held_out=None).write(RunFolder(copies[1]))
    show_plan(resumed(smallest, *copies), QUIET)


def test_fewer_pictures_may_be_held_out_than_before(smallest, copies):
    for file in sorted(copies[0].iterdir())[:38]:
        file.unlink()
    go_on(smallest, *copies, "data.changed=allow")
    store = SnapshotStore(copies[1] / "snapshots" / "gan@2")
    first, *_, last = store.steps()
    assert len(store.pictures(first)) == len(store.pictures(last)) == 2 < 4
    assert "change" not in store.metrics(first) and "change" in store.metrics(last)


def test_allowed_ones_are_trained_on_by_the_plan_that_was(smallest, copies, monkeypatch):
    photographs, run = copies
    before = as_rows(RunFolder(run).plan())
    for number in range(10):
        (photographs / f"{number:03d}.png").unlink()
    go_on(smallest, *copies, "data.changed=allow")
    assert as_rows(RunFolder(run).plan())[: len(before)] == before
    record = json.loads((run / "data.json").read_text())
    assert (record["planned_for"], record["train"]["photographs"]) == (60, 50)
    monkeypatch.setattr(nogan.training.run, "_fit", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # it goes on: what was allowed is now the run's own
        go_on(smallest, *copies)
