"""Snapshots on disk: finding, thinning and exporting them."""

import io
import json
import os
import stat

import pytest
import torch
from rich.console import Console
from torch import nn

from nogan import networks
from nogan.cli import main
from nogan.common.errors import UserError
from nogan.networks import generator_file as exports
from nogan.plan import build_plan
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore, load_state_or_copy, prune, save_state, stores, tables


def filled(value: float) -> nn.Module:
    network = nn.Linear(64, 64)
    nn.init.constant_(network.weight, value)
    return network


@pytest.fixture
def run(tmp_path):
    """A run folder with two cycles of six snapshots each."""
    for cycle in (1, 2):
        for step in range(0, 60, 10):
            SnapshotStore(tmp_path / "snapshots" / f"gan@{cycle}").save(step, filled(step))
    return RunFolder(tmp_path)


def test_nearest_is_the_earlier_of_two_as_near(run):
    store = stores(run)["gan@1"]
    assert [store.nearest_whole(step) for step in (0, 4, 5, 6, 49, 1000)] == [0, 0, 0, 10, 50, 50]
    with pytest.raises(UserError, match="no snapshot is whole"):
        SnapshotStore(run.path / "nowhere").nearest_whole(3)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 0x40
    path.write_bytes(content)


def test_a_flipped_bit_is_not_used(run, caplog):
    store = stores(run)["gan@1"]
    flip_a_bit(store.path(20))
    with pytest.raises(UserError, match=r"step-000020.* is damaged \(its weights do not match their checksum\)"):
        store.restore(20, filled(0))
    assert store.nearest_whole(20) == 10 and "step-000020.safetensors is damaged" in caplog.text


def test_what_is_not_finite_is_not_kept(tmp_path):
    with pytest.raises(UserError, match="its tensor weight is not finite"):
        SnapshotStore(tmp_path).save(0, filled(float("nan")))
    assert not list(tmp_path.iterdir())


def test_restore_brings_the_weights_back(run):
    network = filled(-1)
    stores(run)["gan@2"].restore(30, network)
    assert torch.equal(network.weight, torch.full((64, 64), 30.0))


def test_pruning_thins_the_oldest_cycle_evenly_and_keeps_its_ends(run):
    one = stores(run)["gan@1"].size() / 6
    assert prune(run, 12 * one) == []
    prune(run, 9 * one)
    assert len(stores(run)["gan@1"].steps()) == 3
    assert stores(run)["gan@2"].steps() == list(range(0, 60, 10))
    prune(run, 1)
    assert [store.steps() for store in stores(run).values()] == [[0, 50], [0, 50]]


def test_moving_averages_count_and_go_with_their_snapshots(run):
    for store in stores(run).values():
        for step in store.steps():
            store.averages.save(step, filled(step))
    one = stores(run)["gan@1"].size() / 12
    assert prune(run, 24 * one) == []
    assert len(prune(run, 18 * one)) == 6
    first = stores(run)["gan@1"]
    assert len(first.steps()) == 3 and first.averages.steps() == first.steps()


def test_pruning_spares_the_snapshot_that_the_phase_may_go_back_to(run):
    flat = {"merit": -3.0}
    for store in stores(run).values():
        for step in store.steps():
            note = flat | ({"merit": -2.0} if step == 20 else {})
            store.path(step).with_suffix(".json").write_text(json.dumps(note))
    prune(run, 1)
    assert [store.steps() for store in stores(run).values()] == [[0, 20, 50], [0, 20, 50]]


def test_pruning_leaves_the_widest_view(run):
    prune(run, stores(run)["gan@1"].size() / 6 * 10)
    gaps = torch.tensor(stores(run)["gan@1"].steps()).diff()
    assert gaps.max() <= 20


def test_discarding_what_a_resumed_phase_will_make_again(run):
    store = stores(run)["gan@1"]
    for step in (30, 40, 50):
        store.note_metrics(step, {"merit": 1.0})
        store.note_pictures(step, [1.0])
    store.path(40).unlink()  # thinned out, but for its notes
    store.discard_after(30)
    assert store.steps() == [0, 10, 20, 30] and list(store.all_metrics()) == [30] and not store.pictures(40)
    assert len(list(store.folder.glob("step-*.json"))) == 2
    SnapshotStore(run.path / "nowhere").discard_after(0)


def test_list_and_pick_on_the_command_line(tmp_path, capsys, smallest):
    config = smallest("nogan.gan.size=48")
    RunFolder(tmp_path).describe(config, build_plan(config))
    network = networks.build_generator("tiny", "deep", 0.5, pretrained=False)
    exports.save_generator(network, tmp_path)
    store = SnapshotStore(tmp_path / "snapshots" / "gan@1")
    with torch.no_grad():
        network.head.bias.fill_(0.25)
    store.save(8, network)
    store.path(8).with_suffix(".json").write_text(json.dumps({"psnr": 21.5}))

    assert main(["snapshots", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "gan@1" in listed and "21.50" in listed
    assert main(["snapshots", str(tmp_path), "--pick", "8"]) == 0
    written = capsys.readouterr().out.strip()
    assert written.endswith("generator@cycle-1-step-8.safetensors")
    assert torch.equal(exports.load_generator(written).head.bias, torch.full((3,), 0.25))
    assert exports.describe(written)["training"]["metrics"] == {"psnr": 21.5}
    assert exports.trained_size(written) == 48


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--pick", "7"], "has no such snapshot; it has 0, 10"), (["--cycle", "9"], "has snapshots of gan@1, gan@2")],
)
def test_what_is_not_there_is_said_in_one_line(run, arguments, message, capsys):
    assert main(["snapshots", str(run), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nogan snapshots: ") and message in error and error.count("\n") == 1


def test_a_folder_without_snapshots(tmp_path, capsys):
    assert main(["snapshots", str(tmp_path)]) == 1
    assert "has no snapshots" in capsys.readouterr().err


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_who_may_read_the_weights_is_the_umasks_word(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = SnapshotStore(tmp_path / "snapshots").save(0, filled(0))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_table_fits_into_80_columns_with_nothing_cut_off(run):
    widest = {
        "merit": -12.345,
        "colorfulness_ratio": 1.26,
        "psnr": 21.508,
        "chroma_fd": 1234.56,
        "orange_red": 0.1234,
        "change": 12.345,
        "shift_variation": 12.345,
        "scale_variation": 12.345,
    }
    stores(run)["gan@2"].path(50).with_suffix(".json").write_text(json.dumps(widest))
    said = io.StringIO()
    for table in tables(run, 2):
        Console(file=said, width=80).print(table)
    assert "…" not in said.getvalue()
    assert said.getvalue().splitlines()[-1].split() == [
        "50",
        "-12.35",
        "126%",
        "21.51",
        "1234.6",
        "12.3%",
        "12.35",
        "12.35",
        "12.35",
    ]


def test_a_damaged_file_is_read_from_its_copy_if_that_is_known_to_be_the_same(tmp_path, caplog):
    path, copy, other = (tmp_path / f"{name}.safetensors" for name in ("before", "copy", "other"))
    saved = filled(1.0)
    save_state(saved, path)
    save_state(saved, copy)
    save_state(filled(2.0), other)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    network = filled(0.0)
    with pytest.raises(UserError, match=r"before\.safetensors is damaged"):
        load_state_or_copy(network, path, other)
    load_state_or_copy(network, path, copy)
    assert torch.equal(network.bias, saved.bias) and f"{copy} holds the same, and is used" in caplog.text
    path.write_bytes(b"")  # now nobody knows what it held
    with pytest.raises(UserError, match=r"before\.safetensors is damaged"):
        load_state_or_copy(network, path, copy)
