"""The study of real runs judges right, on records made by hand, and goes on where it was cut."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nogan.cli import main
from nogan.common.errors import UserError
from nogan.evaluation.merit import ENOUGH
from nogan.networks import generator_file as exports
from nogan.plan import GANPhase, as_rows
from nogan.runs.snapshots import SnapshotStore
from nogan.study import measuring, real, runs
from nogan.study.regret import (
    Stop,
    best_fixed_share,
    bootstrap_median,
    fixed,
    forgone,
    has_passed_its_best,
    prior,
    random_regret,
    regret,
    relative_fd,
    replay,
    saved,
    sign_test,
    signals,
    snapshot,
)
from nogan.study.rows import AVERAGED, SINGLE, TrainedRun
from tests.small_networks import tiny

ROOT = Path(__file__).parents[2]
KINDS = (SINGLE, AVERAGED)


def record(qualities, every=10, data="scenes", seed=0, losses=None, averaged=None):
    """A run of ``every * (len(qualities) - 1)`` batches; the probe sees each picture as good as the mean."""
    steps = every * (len(qualities) - 1)
    of = {kind: qualities if kind == SINGLE or averaged is None else averaged for kind in KINDS}
    means = {kind: {str(i * every): float(value) for i, value in enumerate(each)} for kind, each in of.items()}
    return {
        "data": data,
        "seed": seed,
        "steps": steps,
        "batch_size": 16,
        "lr": 1e-4,
        "images": 20_000,
        "generator_steps": steps // 2,
        "verdict": None,
        "seconds": 1.0,
        "commit": None,
        "losses": losses or [[step, 0.5] for step in range(0, steps, 2)],
        "probe": {kind: {step: [value - 1, value + 1] for step, value in each.items()} for kind, each in means.items()},
        "oracle": means,
        "others": {
            "chroma_fd": {kind: {step: 50.0 if int(step) else 100.0 for step in each} for kind, each in means.items()}
        },
    }


def test_regret_is_the_share_of_the_gain_that_is_forgone():
    row = record([-4.0, -5.0, -2.0, -3.0, -3.0])
    assert [regret(row, Stop(at, 40)) for at in (0, 10, 20, 30)] == pytest.approx([1, 1.5, 0, 0.5])
    assert forgone(row, Stop(0, 40)) == pytest.approx(2)
    assert (relative_fd(row, Stop(0, 40)), relative_fd(row, Stop(20, 40))) == (1, 0.5)
    assert regret(row, Stop()) == pytest.approx(0.5), "without a verdict the phase goes to its end"
    assert random_regret(row) == pytest.approx((1 + 1.5 + 0 + 0.5 + 0.5) / 5)
    assert math.isnan(regret(record([-4.0, -5.0]), Stop(10, 10))), "nothing was gained"
    row = record([-4.0, -5.0, -2.0, -3.0, -3.0], averaged=[-4.0, -5.0, -2.5, -2.0, -2.1])
    assert regret(row, Stop(30, 35, AVERAGED)) == 0
    assert regret(row, Stop(30, 35)) == pytest.approx(0.5), "a single one, to the best average"
    assert regret(row, Stop(20, 35, AVERAGED), against=SINGLE) == pytest.approx(0.25)
    assert has_passed_its_best(row, SINGLE) and not has_passed_its_best(row)


def test_a_run_that_gains_next_to_nothing_has_no_regret_and_is_counted():
    """A share of a gain of 0.02 would read as thousands of percent."""
    little, much = record([-2.02, -3.6, -2.0, -3.0, -2.04], seed=1), record([-4.0, -5.0, -2.0, -3.0, -3.0])
    assert math.isnan(regret(little, Stop(10, 40))) and forgone(little, Stop(10, 40)) == pytest.approx(1.6)
    text = real.report([much, little])
    assert "1 of the 2 runs have none: the phase gains less than 0.1 merit there, if anything: scenes 1." in text
    assert "regret: of 1 of 2 runs" in text and "median regret, of 1 of 2 runs" in text
    whole = next(line.split(" | ") for line in text.splitlines() if line.startswith(f"| {real.WHOLE} |"))
    assert whole[3] == "50% (50% to 50%)" and whole[6] == "0.52", "regret of the one run, merit forgone of both"
    assert "2 better, 0 worse" in text, "what is forgone is compared in all runs"
    assert "none: the phase gains less than 0.1 merit there, if anything. " in real.report([much])
    assert not has_passed_its_best(record([-2.0, -2.0, -2.0])), "nothing gained, nothing lost"


def test_the_snapshot_is_the_one_that_the_program_would_take():
    row = record([1.0] * 5)
    assert snapshot(row, Stop(14, 40)) == 10
    assert snapshot(row, Stop(15, 40)) == 10, "the earlier of two as near"
    assert snapshot(row, Stop(18, 18)) == 10, "snapshot 20 is not there yet"
    assert snapshot(row, Stop(18, 19)) == 20, "after batch 19, the twentieth, it is"
    assert snapshot(row, Stop()) == 40


def test_what_is_saved_is_what_is_not_run():
    row = record([1.0] * 5)
    assert saved(row, Stop(5, 9)) == pytest.approx(0.75)
    assert saved(row, Stop()) == 0
    assert saved(row, fixed(row, 1.0)) == 0


def test_the_prior_counts_the_generators_batches():
    every_other = record([1.0] * 81)  # 800 batches, the critic's are the even ones
    assert prior(every_other) == Stop(359, 359), "the 180th of the odd ones: 180 x 1e-4 = 0.018"
    assert prior(record([1.0] * 20)) == Stop()


def test_the_fixed_share_is_learned_from_other_runs():
    late, early = record([-4.0, -4.0, -4.0, -2.0, -4.0]), record([-4.0, -2.0, -4.0, -4.0, -4.0])
    assert snapshot(late, fixed(late, best_fixed_share([late]))) == 30
    found = real.stops([late, late | {"seed": 1}, early])
    assert forgone(early, found[real.LEAVE_ONE_OUT][2]) == pytest.approx(2), "the others peak late"


def test_signals_are_read_around_each_snapshot_and_high_is_good():
    row = record([4.0, 1.0, 2.0], every=100, losses=[[step, 0.2 + 0.002 * step] for step in range(0, 200, 4)])
    found = signals(row, width=0.1)  # 10 batches on either side
    assert found["the critic's loss"] == pytest.approx([0.2 + 0.002 * 4, 0.4, 0.2 + 0.002 * 194], abs=1e-9)
    assert found["the critic's share of the batches"][1] == pytest.approx(5 / 21)
    assert found["probe: merit"] == pytest.approx([4, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of NumPy, where there is nothing to take a mean of
        early = signals(record([4.0, 1.0, 2.0], every=100, losses=[[0, 0.25], [1, 0.75]]), width=0.1)
        assert early["the critic's loss"] == pytest.approx([0.5, math.nan, math.nan], nan_ok=True)
        assert early["the critic's share of the batches"] == pytest.approx([2 / 11, 0, 0])
        short = signals(record([4.0, 1.0, 2.0], every=5))  # no batch lies within a fortieth of 10 of the last snapshot
        assert [len(values) for values in short.values()] == [3] * 5
        assert math.isnan(short["the critic's share of the batches"][-1])


def test_detectors_are_replayed_as_in_the_run():
    rng = np.random.default_rng(0)
    losses = [
        [step, 0.2 + 0.4 / (1 + math.exp(-(step - 350) / 50)) + 0.02 * rng.normal()] for step in range(0, 1000, 2)
    ]
    row = record([1.0] * 101, losses=losses)
    stop = replay(row, "shape")
    assert stop.at == pytest.approx(350, abs=40)
    assert stop.at < stop.sure < 800
    assert replay(row, "budget", share=0.4).at == 499, "40 % of 20,000 images in batches of 16"
    peak = [1.0] * 101
    peak[30] = 1.5
    best = replay(record(peak, averaged=[1.0] * 101), "probe")
    assert best == Stop(300, 699), (
        "400 batches after the best of the 1000, once the snapshot after batch 699 is measured"
    )
    flat = row | {"losses": [[step, 0.5 + 0.02 * rng.normal()] for step in range(0, 1000, 2)]}
    assert replay(flat, "shape") == Stop()
    saturating = record([1 - math.exp(-step / 8) for step in range(101)])
    stopped = replay(saturating, "pays", AVERAGED)
    assert stopped.kind == AVERAGED and stopped.sure < 600 and stopped.at > 200


def test_the_sign_test_and_the_interval():
    # By hand: 2 * (1 + 10) / 2^10, the tie dropped.
    assert sign_test([0] * 9 + [2, 1], [1] * 9 + [1, 1]) == (9, 1, pytest.approx(22 / 1024))
    assert sign_test([1.0], [1.0]) == (0, 0, 1.0)
    low, high = bootstrap_median([0.0, 0.1, 0.2, 0.3, 0.4])
    assert 0 <= low < 0.2 < high <= 0.4


@pytest.fixture
def finished(tmp_path):
    """The folder of a run with three snapshots."""
    (tmp_path / "metrics.csv").write_text("step,gan/step,gan/critic_loss\n7,,\n8,1,0.25\n9,2,\n10,3.0,0.5\n")
    whole = dict(cycle=1, size=32, batch_size=16, share=0.5, epochs=1, images=48, steps=3, lr=(1e-4, 5e-4))
    plan = (GANPhase(name="gan@1", betas=(0.0, 0.9), snapshot_every=2, **whole),)
    (tmp_path / "plan.json").write_text(json.dumps(as_rows(plan)))
    note = {"name": "gan@1", "kind": "gan", "cycle": 1, "generator_steps": 1, "seconds": 2.0}
    (tmp_path / "records.json").write_text(json.dumps([note]))
    (tmp_path / "config.yaml").write_text("data: {images: 100}\n")
    (tmp_path / "environment.json").write_text('{"git": "abc"}')
    store, network = SnapshotStore(tmp_path / "snapshots" / "gan@1"), tiny()
    for step in (0, 2, 3):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.02)
        store.save(step, network)
    exports.save_generator(network, tmp_path / "generator.safetensors")
    return tmp_path


def test_a_finished_run_is_collected_and_measured_and_comes_back_as_it_was(finished, tmp_path):
    row = runs.collect(finished)
    assert row["losses"] == [[0, 0.25], [2, 0.5]]
    assert (row["lr"], row["images"], row["steps"], row["commit"]) == (1e-4, 100, 3, "abc")
    generator = torch.Generator().manual_seed(0)
    pictures = measuring.UnseenPictures(*(torch.rand(count, 3, 32, 32, generator=generator) for count in (5, 7)))
    found = measuring.measure(finished, pictures, threads=1)
    assert list(found["qualities"]) == list(found["colors"]) == ["0", "2", "3"]
    quality, distance = found["oracle"]["quality"], found["oracle"]["chroma_fd"]
    assert list(quality[AVERAGED]) == list(quality[SINGLE]) == ["0", "3"], "not each, but the last"
    assert quality[AVERAGED]["0"] == quality[SINGLE]["0"] and quality[AVERAGED]["3"] != quality[SINGLE]["3"]
    measuring.save(row, found, tmp_path / "run.npz", "made so")
    assert measuring.load(tmp_path / "run.npz", "made so") == (row, found)
    assert measuring.load(tmp_path / "run.npz", "made otherwise") is None
    assert measuring.load(tmp_path / "none.npz", "made so") is None
    for weight in (0.0, 2.0):
        judged = measuring.judged(row, "scenes", 3, found, weight)
        assert (judged["data"], judged["seed"], judged["losses"]) == ("scenes", 3, row["losses"])
        for kind in (AVERAGED, SINGLE):
            gained = math.log(distance[kind]["0"] / distance[kind]["3"])
            expected = quality[kind]["3"] + weight * min(max(gained, 0), ENOUGH)
            assert judged["oracle"][kind]["3"] == pytest.approx(expected)
        probe = judged["probe"][AVERAGED]
        assert probe["0"] == found["qualities"]["0"] and [len(each) for each in probe.values()] == [5, 5, 5]
        gained = found["colors"]["0"][0] - found["colors"]["3"][0]
        of_all = np.mean(found["qualities"]["3"]) + weight * min(max(gained, 0), ENOUGH)
        assert np.mean(probe["3"]) == pytest.approx(of_all, abs=1e-3)


def test_photographs_are_cut_so_that_none_is_on_both_sides(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ORACLE_IMAGES", 4)
    for part, count in (("train", 20), ("val", 2)):
        (tmp_path / part).mkdir()
        for index in range(count):
            level = 10 * index + (5 if part == "val" else 0)
            Image.new("RGB", (80, 64), (level, level, level)).save(tmp_path / part / f"{index}.png")
    crops = runs.cut(tmp_path, tmp_path / "crops", count=90, size=32)

    def levels(part):
        files = sorted((crops / part).glob("*.png"))
        pictures = [np.asarray(Image.open(file)) for file in files]
        assert {picture.shape for picture in pictures} == {(32, 32, 3)}
        return [int(picture[0, 0, 0]) for picture in pictures]

    train, probe, oracle = levels("train"), levels("probe"), levels("oracle")
    assert (len(train), len(probe), len(oracle)) == (90, 4, 4)
    assert len(set(train[:18])) == 18, "every photograph once before any comes twice"
    assert len(set(probe)) == 2
    assert set(oracle) == {5, 15}
    assert not set(train) & set(probe)
    with pytest.raises(UserError, match="train/"):
        runs.cut(tmp_path / "val", tmp_path / "elsewhere", count=90, size=32)


@pytest.fixture
def trained(monkeypatch):
    """Runs that take no time; which were asked for."""
    asked = []

    def train(place, folder, data, seed, crops):
        asked.append((data, seed))
        folder.mkdir(parents=True)
        (folder / "records.json").write_text("[]")

    def made(folder):
        data, seed, _ = folder.name.rsplit("-", 2)
        rng = np.random.default_rng(int(seed))
        return record([-4.0, *-rng.uniform(2, 4, 11)], data=data, seed=int(seed))

    def collect(folder):
        return {key: made(folder)[key] for key in TrainedRun.__annotations__}

    def measure(folder, *_):
        row = made(folder)
        qualities = {step: [round(value, 3) for value in each] for step, each in row["probe"][AVERAGED].items()}
        colors = {step: [0.0, 0.0, 0.0] for step in qualities}
        return {"qualities": qualities, "colors": colors, "oracle": {"quality": row["oracle"], **row["others"]}}

    monkeypatch.setattr(runs, "_train", train)
    monkeypatch.setattr(runs, "collect", collect)
    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(runs, "unseen_pictures", lambda *_: None)
    monkeypatch.setattr(runs, "cut", lambda photographs, folder, count, size: folder)
    return asked


def test_the_study_trains_once_and_goes_on_where_it_was_cut(tmp_path, trained, capsys, monkeypatch):
    document = tmp_path / "record.md"
    document.write_text("before\n<!-- real:begin -->\nold\n<!-- real:end -->\nafter\n")
    out = tmp_path / "out"
    command = ["study", "real", "--out", str(out), "--root", str(ROOT), "--record", str(document)]
    command += ["--seeds", "3", "--photos", str(tmp_path), "--photo-seeds", "1", "--long-seeds", "1"]
    command += ["--large-seeds", "1", "--first-seed", "0"]
    assert main(command) == 0
    assert trained == [*((data, 0) for data in runs.SETS), ("scenes", 1), ("scenes", 2)]
    tables = (out / "real.md").read_text()
    (out / "real" / "photographs-0.npz").unlink()  # was not measured, though trained
    assert main(command) == 0
    assert len(trained) == 7, "what was trained is measured without training again"
    assert (out / "real.md").read_text() == tables
    monkeypatch.setattr(measuring, "instruments", lambda: "another measure")
    assert main(command) == 0
    assert len(trained) == 7
    text = document.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "| `pays` |" in text
    assert 0 < (tmp_path / "record" / "real.png").stat().st_size < 300_000
    elsewhere = ["study", "real", "--out", str(tmp_path / "again"), "--recorded"]
    assert main([*elsewhere, str(out / "real")]) == 0
    assert (tmp_path / "again" / "real.md").read_text() == (out / "real.md").read_text()
    capsys.readouterr()
    assert main([*elsewhere, str(tmp_path)]) == 1
    assert "--recorded" in capsys.readouterr().err
    (tmp_path / "earlier").mkdir()
    kept = out / "real" / "scenes-0.npz"
    np.savez(tmp_path / "of an earlier version.npz", facts="{}")
    for content in (
        (tmp_path / "of an earlier version.npz").read_bytes(),
        kept.read_bytes()[:-100],
        b"",
        b"no file of NumPy",
    ):
        (tmp_path / "earlier" / "scenes-0.npz").write_bytes(content)
        assert main([*elsewhere, str(tmp_path / "earlier")]) == 1
        assert "as a study keeps it" in capsys.readouterr().err
    for weight in ("-1", "nan", "inf"):
        assert main([*elsewhere, str(out / "real"), f"--color-weight={weight}"]) == 1
        assert "expected a number from 0 on" in capsys.readouterr().err
    kept.write_bytes(b"damaged")
    assert main(command) == 0 and len(trained) == 7, "it is measured again"
    capsys.readouterr()
    assert main([*command[:-1], "7", "--minutes", "0"]) == 1
    assert "no run was made in that time" in capsys.readouterr().err


def test_other_settings_are_other_runs(tmp_path, trained):
    for folder in ("experiments", "conf"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train.py").touch()
    overlay = tmp_path / "experiments" / "inflection.yaml"
    overlay.write_text("nogan: {repeats: 0}  # a comment\n")
    command = ["study", "real", "--out", str(tmp_path / "out"), "--root", str(tmp_path)]
    command += ["--seeds", "2", "--long-seeds", "0"]
    assert main(command) == 0
    overlay.write_text("nogan: {repeats: 0}  # another comment\n")
    assert main(command) == 0
    assert len(trained) == 2
    overlay.write_text("nogan: {repeats: 1}\n")
    assert main(command) == 0
    assert len(trained) == 4


def test_a_run_that_failed_says_where_to_look(tmp_path, capsys):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "inflection.yaml").write_text("name: inflection\n")
    (tmp_path / "train.py").write_text("import sys; print(sys.argv); sys.exit('no disk left')\n")
    assert main(["study", "real", "--out", str(tmp_path / "out"), "--root", str(tmp_path), "--first-seed", "0"]) == 1
    error = capsys.readouterr().err
    assert "scenes, seed 0: train.py ended with code 1: no disk left" in error
    assert "output.log" in error
    (said,) = (tmp_path / "out").glob("runs/*/output.log")
    assert "nogan.inflection.average=null" in said.read_text(), (
        "the study averages the snapshots, which are single ones"
    )
    assert main(["study", "real", "--out", str(tmp_path / "out"), "--root", str(tmp_path / "experiments")]) == 1
    assert "pass --root" in capsys.readouterr().err


def test_the_experiment_marks_and_goes_far_past_the_prior(configure):
    from nogan.plan import build_plan

    config = configure("experiment=inflection")
    plan = build_plan(config)
    phase = plan[-1]
    assert config.nogan.inflection.action == "mark"
    assert config.nogan.repeats == 0
    assert phase.lr[0] * phase.steps / 2 > 2 * 0.018
    assert phase.steps / phase.snapshot_every > 40
    longer = build_plan(configure("experiment=inflection", *runs.SETS["scenes-long"].settings))
    assert [p.steps for p in longer[:-1]] == [p.steps for p in plan[:-1]], "but for the GAN phase nothing changes"
    assert longer[-1].steps > 2.4 * phase.steps


def test_the_record_says_where_the_rule_stops_in_the_recorded_runs():
    """Whoever changes the rule or merit makes the record again: ``nogan study real --recorded … --record …``."""
    folder = ROOT / "experiments" / "inflection" / "real"
    rows = [runs.as_recorded(file) for file in sorted(folder.glob("*.npz"))]
    assert len(rows) == 28
    record = (ROOT / "experiments" / "inflection.md").read_text(encoding="utf-8")
    assert all(line in record for line in real.runs_table(rows).splitlines())
