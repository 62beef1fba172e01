"""The study of the vividness judges right on figures made by hand, goes on where it was cut, trains what it says."""

import math

import cv2
import numpy as np
import pytest

from nogan.cli import main
from nogan.colorize.film.flicker import warp
from nogan.common.errors import UserError
from nogan.data.scenes import draw_scene
from nogan.plan import build_plan
from nogan.runs.run_folder import RunFolder
from nogan.study import panned, unified, unified_runs
from nogan.study.record import read_rows
from nogan.study.unified_runs import NETWORKS, Setting, Subject

PLAIN = {"psnr": 20.0, "chroma_fd": 100.0, "ciede2000": 15.0, "shift_variation": 5.0, "cdc": 0.01}
PLAIN |= {"warp_error_stabilized": 0.001, "cdc_stabilized": 0.01}
COLORS = {"pretrained": 0.6, "video": 0.6, "stable": 0.8, "artistic": 1.0}


def row(seed=0, of_b=None, cost=100.0):
    """A seed on which the unified network is what the others are, but for ``of_b``: measures at a vividness."""

    def point(family, at, colors, more=None):
        # Psnr falls and flicker grows with the colors, in a straight line.
        known = {"colorfulness_ratio": colors, "psnr": 26 - 10 * colors, "warp_error": colors / 100}
        return {"family": family, "at": at, "measures": {**PLAIN, **known, **(more or {})}}

    points = [point("A", name, colors) for name, colors in COLORS.items()]
    points += [point("B", f"{v:g}", 0.6 + 0.4 * v, (of_b or {}).get(v)) for v in unified_runs.LEVELS]
    points += [point(family, f"{v:g}", 0.6 + 0.4 * v) for family in "CD" for v in (0.25, 0.5, 0.75)]
    seconds = {"artistic": 100.0, "stable": 100.0, "video": 100.0, "unified": cost}
    return {"set": "scenes", "seed": seed, "points": points, "seconds": seconds, "trained": "", "measured": ""}


def verdicts(rows):
    """Whether each target is met, by the first words of its name that tell it from the others."""
    return {target.name: target.met for target in unified.targets(rows)}


def test_what_equals_the_others_meets_every_target():
    rows = [row(seed) for seed in range(3)]
    assert set(verdicts(rows).values()) == {True}
    text = unified.targets_table(rows)
    assert text.count("| met |") == 9 and "not met" not in text


@pytest.mark.parametrize(
    ("of_b", "cost", "fails"),
    [
        ({0.0: {"warp_error": 0.007}}, 100, ["at 0 no worse", "blends: warp", "at 0 flicker"]),
        ({0.5: {"chroma_fd": 110.0}}, 100, ["at 0.5 no worse"]),
        ({1.0: {"colorfulness_ratio": 0.94}}, 100, ["at 1 no worse", "blends: PSNR", "blends: warp", "at 1 color"]),
        ({0.25: {"psnr": 18.0}}, 100, ["blends: PSNR"]),
        ({0.5: {"colorfulness_ratio": 0.65}}, 100, ["blends: PSNR", "blends: warp", "rises"]),
        ({}, 160, ["costs at most"]),
    ],
)
def test_each_shortfall_is_named(of_b, cost, fails):
    found = verdicts([row(seed, of_b, cost) for seed in range(3)])
    missed = [name for name, met in found.items() if not met]
    assert len(missed) == len(fails) and all(part in name for part, name in zip(fails, missed, strict=True)), missed


def test_of_one_seed_no_interval_says_anything():
    found = verdicts([row(of_b={0.0: {"warp_error": 1.0}})])
    assert found["at 0 no worse than video: warp error, x 1000"] is None
    assert not found["at 0 flicker at most that of video, on the mean"]


def test_curves_are_compared_at_the_same_colorfulness():
    # At 0.8 the other curve has 26 - 8 = 18 dB.
    better = row(of_b={0.0: {"colorfulness_ratio": 0.8, "psnr": 20.0}, 1.0: {"colorfulness_ratio": 1.2, "psnr": 0.0}})
    assert unified.advantage(better, "psnr") == pytest.approx(2 / 4), "mean over four points; 1.2 is beyond the other"
    beyond = {v: {"colorfulness_ratio": 2.0} for v in unified_runs.LEVELS}
    beyond = row(of_b=beyond)
    assert math.isnan(unified.advantage(beyond, "psnr"))
    # Of the same PSNR as in the other curve, all twice the truth's: by 1.4, 1.3, 1.2, 1.1 and 1.0 more.
    assert unified.advantage(beyond, "colorfulness_ratio", same="psnr") == pytest.approx(1.2)
    assert "at the same PSNR: +120.00 % (1 seed)" in unified.report([beyond])
    assert "PSNR | – | – | 0 | nothing in common |" in unified.report([beyond])
    assert "at the same PSNR: +120.00 %, +120.00 to +120.00 (2 seeds)" in unified.report([beyond, beyond])


def test_intervals_are_students():
    # By hand: mean 2, deviation 1, t(0.975, 2) = 4.3027, half a width 4.3027 / sqrt(3) = 2.4841.
    assert unified.paired([1.0, 2.0, 3.0, math.nan]) == pytest.approx((2.0, -0.4841, 4.4841, 3), abs=1e-3)
    assert unified.paired([]).seeds == 0


@pytest.fixture
def trained(monkeypatch):
    """Seeds that take no time; which were trained."""
    asked = []

    def train_all(subject, seed, folder, crops):
        asked.append((subject.images, seed))
        return row(seed)["seconds"]

    monkeypatch.setattr(unified_runs, "train_all", train_all)
    monkeypatch.setattr(unified_runs, "measure_all", lambda subject, folder, crops, sample: row()["points"])
    return asked


def test_it_goes_on_where_it_was_cut(tmp_path, trained, capsys):
    document = tmp_path / "record.md"
    document.write_text("before\n<!-- unified-scenes:begin -->\nold\n<!-- unified-scenes:end -->\nafter\n")
    command = ["study", "unified", "--out", str(tmp_path / "out"), "--images", "400"]
    assert main([*command, "--seeds", "2"]) == 0
    results = tmp_path / "out" / "unified-scenes.jsonl"
    results.write_text(results.read_text()[:-50])  # the last line is torn
    assert main([*command, "--seeds", "3", "--record", str(document)]) == 0
    assert trained == [(400, 0), (400, 1), (400, 1), (400, 2)]
    assert [each["seed"] for each in read_rows(results)] == [0, 1, 2]
    assert main([*command, "--seeds", "1", "--images", "500"]) == 0
    assert trained[4:] == [(500, 0)], "another budget is another study"
    assert "| met |" in document.read_text() and "old" not in document.read_text()
    assert (tmp_path / "record" / "unified-scenes.svg").read_text().startswith("<?xml")
    assert main([*command, "--seeds", "9", "--minutes", "0"]) == 0
    assert "not" not in capsys.readouterr().err and len(trained) == 5, "what is done is shown, and nothing begun"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0"], "--seeds 0"),
        (["--set", "photographs"], "--set photographs: expected --photos DIR"),
        (["--photos", "."], "--set scenes: expected --photos DIR with --set photographs"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, words, said):
    assert main(["study", "unified", "--out", str(tmp_path), *words]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_networks_differ_in_their_gan_phase_alone(configure):
    subject = Subject("scenes", 4000)
    plans = {name: build_plan(configure(*subject.settings, *more), 4000) for name, more in NETWORKS.items()}
    before = [phase.steps for phase in plans["artistic"][:-1]]
    assert all([phase.steps for phase in plan[:-1]] == before for plan in plans.values())
    apart = {plans[name][-1].steps for name in NETWORKS if name != "unified"}
    assert len(apart) == 1 and plans["unified"][-1].steps == pytest.approx(1.5 * apart.pop(), abs=1)
    photographs = configure(*Subject("photographs", 400, photos=unified_runs.Path("x")).settings, "data.path=x")
    assert photographs.data.kind == "folder" and photographs.model.vividness is not None


def test_the_motion_of_a_panned_film_is_known_and_flicker_is_what_moves_otherwise():
    film = panned.film_of(cv2.cvtColor(draw_scene(1, 0, panned.PICTURE), cv2.COLOR_RGB2GRAY), 0)
    for before, now, motion in zip(film.clean, film.clean[1:], film.motions, strict=False):
        carried = warp(before.astype(np.float32), motion.flow)
        there, still = (np.abs(each - now)[motion.visible].mean() for each in (carried, before.astype(np.float32)))
        assert there < 0.7 * still or there < 0.6
    gray = film.grainy[..., None].repeat(3, axis=-1) / np.float32(255)
    hues = np.random.default_rng(0).random((panned.FRAMES, 1, 1, 3), dtype=np.float32)
    calm, wild = (panned.flicker_of(lambda _, mix=mix: gray + mix * (hues - gray), [film]) for mix in (0, 0.5))
    assert calm["warp_error"] < 0.1 * wild["warp_error"] and calm["cdc"] < wild["cdc"]
    assert wild["warp_error_stabilized"] < 0.5 * wild["warp_error"], "smoothing helps"
    assert calm["warp_error_stabilized"] == pytest.approx(calm["warp_error"], rel=0.01), "gray stays gray"


def test_one_seed_in_the_smallest(tmp_path, monkeypatch):
    """All networks, from the first batch to the figures."""
    for name, few in (("PICTURES", 4), ("FEW", 2), ("FILMS", 1)):
        monkeypatch.setattr(unified_runs, name, few)
    monkeypatch.setattr(panned, "FRAMES", 3)
    monkeypatch.delitem(NETWORKS, "stable")
    small = ("trainer.limit_batches=2", "nogan.gan.max_critic_steps=1", "nogan.gan.batch_size=4", "probe.images=2")
    subject = Subject("scenes", 400, more=(*small, "model.width=0.25", "model.critic.width=8", "nogan.gan.lr=1e-2"))
    seconds = unified_runs.train_all(subject, 0, tmp_path / "runs", None)
    assert set(seconds) == set(NETWORKS) and all(seconds[name] > 0 for name in NETWORKS)
    assert seconds["video"] > unified_runs._seconds(tmp_path / "runs" / "video"), "pretraining counts for each"
    for name in NETWORKS:
        run = RunFolder(tmp_path / "runs" / name)
        assert run.has_ended and not (run.path / "snapshots").exists() and not (run.path / "checkpoints").exists()
    points = unified_runs.measure_all(subject, tmp_path / "runs", None, tmp_path / "row.png")
    found = {Setting(point["family"], point["at"]): point["measures"] for point in points}
    assert len(found) == 3 + 5 + 3 + 3
    assert all(math.isfinite(value) for measures in found.values() for value in measures.values())
    assert found["B", "0"] != found["B", "1"] and found["A", "video"] != found["A", "pretrained"]
    assert (tmp_path / "row.png").stat().st_size > 0
    again = unified_runs.train_all(subject, 0, tmp_path / "runs", None)
    assert again == seconds, "what is there is not trained again"


def test_a_run_that_fails_is_named(tmp_path):
    with pytest.raises(UserError, match=r"scenes, seed 3, artistic: .*nogan\.gan\.lr"):
        unified_runs.train_all(Subject("scenes", 400, more=("nogan.gan.lr=-1",)), 3, tmp_path, None)
