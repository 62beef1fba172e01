"""The folder of a run, with what hands, disks and time do to its files."""

import json
import os

import pytest

from nogan.common.errors import Occupied, UserError
from nogan.common.files import remove_temporary, temporary_beside
from nogan.data.fakes import FakeStore
from nogan.plan import build_plan
from nogan.runs import environment
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore, stores
from nogan.training.resume import changed_environment, newest_unfinished

DAMAGES = {
    "empty": b"",
    "zeroed": bytes(64),
    "another kind": b"[1, 2]",
    "a word": b"abc",
    "not UTF-8": b"\xff\xfe\x80",
    "cut": b'{"a": [',
}


@pytest.fixture
def run(smallest, tmp_path):
    folder, config = RunFolder(tmp_path / "run"), smallest()
    folder.describe(config, build_plan(config))
    folder.write_records([])
    return folder


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("name", ["config.yaml", "plan.json", "records.json", ".hydra/overrides.yaml"])
def test_a_damaged_file_is_named_in_one_line(run, name, content):
    read = {"config.yaml": run.config, "plan.json": run.plan, "records.json": run.records}.get(name, run.overrides)
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).write_bytes(content)
    try:
        read()
    except UserError as error:
        assert name.rpartition("/")[2] in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_a_run_can_do_without_does_not_stop_it(smallest, run, content, caplog):
    run.environment_file.write_bytes(content)
    assert run.environment() == {} and "environment.json is damaged" in caplog.text
    run.describe(smallest(), run.plan())
    assert json.loads(run.environment_file.read_text())["packages"]
    store = SnapshotStore(run.snapshots("gan@1"))
    store.folder.mkdir(parents=True)
    (store.folder / "step-000001.json").write_bytes(content)
    assert store.all_metrics() == {1: {}}
    fakes = run.fakes(1)
    fakes.mkdir(parents=True)
    (fakes / "progress.json").write_bytes(content)
    assert FakeStore(fakes, 4, 8).done("x") == 0


def test_folders_and_files_of_others_are_left_alone(run):
    ours = [run.snapshots("gan@1"), run.snapshots("gan@10"), run.snapshots("gan@2"), run.fakes(1)]
    others = [run.snapshots("gan@1 copy"), run.snapshots("gan@best"), run.fakes(1).with_name("cycle-mine")]
    for folder in (*ours, *others):
        folder.mkdir(parents=True)
    (ours[0] / "step-best.json").write_text("{}")
    assert list(stores(run)) == ["gan@1", "gan@2", "gan@10"] and SnapshotStore(ours[0]).all_metrics() == {}
    assert run.fakes_folders() == [run.fakes(1)]
    hidden = [run.path / name for name in (".notes.12345678", ".photo.deadbeef.jpg", ".last.ckpt.partial", ".nogan-x")]
    for file in hidden:
        file.touch()
    remove_temporary(run.path)
    assert all(file.exists() for file in hidden)


def test_what_a_start_left_that_was_killed_at_once_is_no_run(tmp_path):
    (tmp_path / ".hydra").mkdir()
    for name in ("train.log", ".lock", "slurm-1.out", temporary_beside(tmp_path / "config.yaml").name):
        (tmp_path / name).touch()
    RunFolder(tmp_path).check_is_free()
    (tmp_path / "config.yaml").write_text("mine: 1")
    with pytest.raises(Occupied, match=r"holds files already \(config.yaml\)"):
        RunFolder(tmp_path).check_is_free()
    with pytest.raises(Occupied, match=r"config\.yaml is not a run's, or damaged"):
        RunFolder(tmp_path).check_may_begin_again()


def test_a_neighbor_that_cannot_be_read_is_passed_over(smallest, run, caplog):
    run.forget_end()
    wanted = smallest().model_dump(mode="json")
    (run.path.parent / "z-damaged").mkdir()
    (run.path.parent / "z-damaged" / "config.yaml").write_bytes(b"a: [1")
    (run.path.parent / "z-locked").mkdir(mode=0)
    assert newest_unfinished(run.path.parent, wanted) == run.path
    assert "z-damaged is passed over: " in caplog.text
    if os.geteuid():
        assert "z-locked is passed over: Permission denied" in caplog.text
    (run.path.parent / "z-locked").chmod(0o700)


def test_what_may_change_the_last_bits_is_said(run, monkeypatch):
    assert changed_environment(run) is None
    now = environment.environment() | {"threads": 64, "git": "f00"}
    now["packages"] = now["packages"] | {"torch": "99.0"}
    monkeypatch.setattr("nogan.training.resume.environment", lambda: now)
    said = changed_environment(run)
    assert "PyTorch 99.0, before " in said and "threads (OMP_NUM_THREADS) 64, before 1:" in said
