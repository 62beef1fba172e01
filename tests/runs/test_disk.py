"""How much disk a run takes: the estimate holds, and too little is an error before anything is trained."""

import os
from pathlib import Path

import pytest
from rich.console import Console

from nogan.common.errors import UserError
from nogan.plan import CriticPhase, build_plan, fakes_bytes
from nogan.runs.disk import DiskUse, bytes_in, check_disk, expected_use
from nogan.training.run import build_module, train

# Networks large enough for their files to be weights and little else, and every file that a run can leave.
ALL_OF_IT = (
    "model.width=1",
    "model.critic.width=32",
    "trainer.limit_batches=3",
    "trainer.checkpoint_every_n_batches=1",
    "nogan.ema=0.9",
    "nogan.snapshot_every=0.02",  # each batch …
    "nogan.snapshot_budget_gb=1e-9",  # … of which no more than must be are kept
    "nogan.inflection.name=budget",
    "nogan.inflection.budget.share=0.05",  # of 200 images, in batches of 4: at the third
    "nogan.gan.max_critic_steps=1",  # so that both networks have their moments by then
)


@pytest.fixture
def peaks(tmp_path, monkeypatch) -> dict[str, int]:
    """The most bytes that the run in ``tmp_path`` has taken so far, by what takes them.

    Measured whenever a file is whole under its temporary name and what it replaces is there, too.
    """
    most: dict[str, int] = {}
    replace = Path.replace

    def measured(self: Path, target: Path) -> Path:
        for name in ("fakes", "checkpoints", "."):
            most[name] = max(bytes_in(tmp_path / name), most.get(name, 0))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", measured)
    return most


def test_a_run_takes_no_more_than_was_said_and_not_much_less(smallest, tmp_path, peaks):
    """Two cycles: the second makes its fakes, and trains, with all that the first has left."""
    config = smallest(*ALL_OF_IT)
    plan = build_plan(config)
    use = expected_use(plan, **build_module(config).networks, snapshot_budget=1, averaged=True)
    train(config, tmp_path, console=Console(quiet=True))
    header = 2000  # of a file of fakes, and the note beside it
    assert use.fakes < peaks["fakes"] < use.fakes + header
    assert 0.9 * use.checkpoints < peaks["checkpoints"] < use.checkpoints
    exported = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert 0.98 * use.exports < exported < 1.05 * use.exports
    assert bytes_in(tmp_path / "snapshots") < 1.02 * use.snapshots
    assert 0.85 * use.total < peaks["."] < use.total


def test_no_more_snapshots_than_the_budget_lets_in(configure):
    config = configure("model=tiny", "data=scenes", "nogan.repeats=1")
    plan, networks = build_plan(config), build_module(config).networks
    generator, critic = (sum(t.numel() * 4 for t in networks[name].state_dict().values()) for name in networks)
    for budget, kept in ((1e12, sum(phase.steps // phase.snapshot_every + 2 for phase in plan[4::2])), (0, 2 * 3)):
        for averaged in (False, True):
            use = expected_use(plan, **networks, snapshot_budget=budget, averaged=averaged)
            assert use.snapshots == pytest.approx(kept * generator * (1 + averaged) + 2 * critic, rel=1e-3)
    ten = expected_use(plan, **networks, snapshot_budget=10 * generator)
    assert ten.snapshots == pytest.approx(10 * generator + 2 * critic, rel=1e-3)


def test_fakes_of_imagenet(configure):
    plan = build_plan(configure("model=artistic"))
    fakes = next(phase.fakes for phase in plan if isinstance(phase, CriticPhase))
    assert fakes_bytes(plan) == fakes * 110_592 == pytest.approx(10.84e9, rel=0.01)


def test_too_little_is_said_before_the_start(tmp_path, monkeypatch):
    class Nearly:
        free = 2_000_000_000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Nearly)
    check_disk(tmp_path, DiskUse(fakes=10**9, checkpoints=5 * 10**8, snapshots=3 * 10**8, exports=10**8))
    message = r"has 2\.00 GB free and the run may need 2\.50 GB more.*nogan\.snapshot_budget_gb"
    with pytest.raises(UserError, match=message):
        check_disk(tmp_path, DiskUse(fakes=10**9, checkpoints=10**9, snapshots=4 * 10**8, exports=10**8))
    (tmp_path / "there").write_bytes(bytes(1000))  # what a resumed run has written already counts …
    os.link(tmp_path / "there", tmp_path / "again")  # … and once, whatever its names
    Nearly.free = 0
    check_disk(tmp_path, DiskUse(fakes=1000, checkpoints=0, snapshots=0, exports=0))
    with pytest.raises(UserError):
        check_disk(tmp_path, DiskUse(fakes=1001, checkpoints=0, snapshots=0, exports=0))
