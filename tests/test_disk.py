"""How much disk a run takes: the estimate holds, and too little is an error before anything is trained."""

from pathlib import Path

import pytest
from rich.console import Console

from nogan.disk import DiskUse, check_disk, expected_use
from nogan.errors import UserError
from nogan.plan import build_plan
from nogan.training import build_module, train


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_run_takes_no_more_than_was_said(smallest, tmp_path):
    config = smallest()
    use = expected_use(build_plan(config), **build_module(config).networks, snapshot_budget=1e9)
    train(config, tmp_path, console=Console(quiet=True))
    assert size(tmp_path / "snapshots") <= use.snapshots * 1.1
    # last.ckpt is a link to the newest; the buffers and tables of so small a network weigh as much as its moments
    assert size(tmp_path / "checkpoints") <= use.checkpoints * 1.5
    assert size(tmp_path / "checkpoints") >= use.checkpoints * 0.4


def test_fakes_of_imagenet(configure):
    plan = build_plan(configure("model=artistic"))
    fakes = next(phase.fakes for phase in plan if phase.kind == "critic")
    assert max(phase.fakes * 3 * 192**2 for phase in plan) == fakes * 110_592 == pytest.approx(10.84e9, rel=0.01)


def test_too_little_is_said_before_the_start(tmp_path, monkeypatch):
    class Nearly:
        free = 2_000_000_000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Nearly)
    check_disk(tmp_path, DiskUse(fakes=10**9, checkpoints=5 * 10**8, snapshots=4 * 10**8))
    message = r"has 2\.00 GB free and the run may need 2\.50 GB more.*nogan\.snapshot_budget_gb"
    with pytest.raises(UserError, match=message):
        check_disk(tmp_path, DiskUse(fakes=10**9, checkpoints=10**9, snapshots=5 * 10**8))
    (tmp_path / "there").write_bytes(bytes(1000))  # what a resumed run has written already counts
    Nearly.free = 0
    check_disk(tmp_path, DiskUse(fakes=1000, checkpoints=0, snapshots=0))
