"""The plan that a config gives, and its form."""

import json
import math
from dataclasses import FrozenInstanceError

import pytest

from nogan.common.errors import UserError
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, as_rows, build_plan, from_rows, split_sizes

IMAGENET = 1281167


def test_artistic_is_the_published_recipe(configure):
    plan = build_plan(configure("model=artistic", "nogan.repeats=5"))
    assert [phase.name for phase in plan] == ["g1", "g2", "g3", "g4", "c1@1", "c2@1", "gan@1"] + [
        name for cycle in range(2, 7) for name in (f"c2@{cycle}", f"gan@{cycle}")
    ]
    assert [(p.size, p.batch_size, p.share, p.epochs) for p in plan[:7]] == [
        (64, 88, 1.0, 1),
        (64, 88, 1.0, 1),
        (128, 22, 1.0, 1),
        (192, 11, 0.5, 1),
        (128, 64, 0.085, 6),
        (192, 16, 0.085, 4),
        (192, 9, 0.03, 1),
    ]
    assert plan[0].lr == pytest.approx((1e-4, 1e-4, 1e-3)) and plan[0].trained_part == "decoder"
    assert plan[1].lr == pytest.approx((3e-7, math.sqrt(3e-7 * 3e-4), 3e-4)) and plan[1].trained_part == "all"
    assert plan[4].lr == (1e-3,) and plan[4].trained_part == "critic"
    assert plan[6].lr == pytest.approx((1e-5, 5e-5)) and plan[6].trained_part == "decoder"


def test_steps_are_whole_batches_of_the_training_share(configure):
    plan = {phase.name: phase for phase in build_plan(configure("model=artistic"))}
    train = split_sizes(IMAGENET, 0.02, 0.08).train
    assert train == IMAGENET - round(0.02 * IMAGENET) - round(0.08 * IMAGENET)
    assert plan["g1"].steps == train // 88
    assert plan["g4"].steps == train // 2 // 11
    fakes = int(train * 0.085) // 8 * 8
    assert plan["c1@1"].fakes == fakes
    assert plan["c1@1"].held_out == round(fakes / 10)
    assert plan["c1@1"].steps == 2 * (fakes - round(fakes / 10)) // 64 * 6
    assert plan["gan@1"].steps == int(train * 0.03) // 9
    assert plan["gan@1"].snapshot_every == round(0.001 * train / 9)


def test_a_gan_phase_may_go_through_its_share_more_than_once(configure):
    once, thrice = (build_plan(configure("model=artistic", f"nogan.gan.epochs={n}"))[-1] for n in (1, 3))
    assert (thrice.steps, thrice.images) == (3 * once.steps, once.images)
    assert thrice.is_snapshot(thrice.steps) and thrice.snapshot_every == once.snapshot_every


def test_video_starts_from_stable_and_has_one_cycle_without_c1(configure):
    plan = build_plan(configure("model=video"))
    assert [phase.name for phase in plan] == ["v0", "c2@1", "gan@1"]
    assert plan[0].noise and (plan[0].size, plan[0].batch_size, plan[0].share) == (192, 8, 0.25)
    assert plan[2].lr[0] == 5e-6


def test_debug_cuts_every_phase_to_a_few_batches_and_keeps_all_of_them(configure):
    whole = build_plan(configure("model=artistic", "nogan.repeats=1"))
    cut = build_plan(configure("model=artistic", "nogan.repeats=1", "trainer=debug"))
    assert [phase.name for phase in cut] == [phase.name for phase in whole]
    assert all(phase.steps == 2 * phase.epochs for phase in cut)
    assert cut[4].fakes == 2 * 64  # enough for the larger critic batch, no more


def test_a_phase_set_to_null_is_left_out(configure):
    plan = build_plan(configure("model=artistic", "nogan.pretrain.g1=null", "nogan.repeats=0"))
    assert [phase.name for phase in plan] == ["g2", "g3", "g4", "c1@1", "c2@1", "gan@1"]


def test_too_few_images_for_a_batch_names_the_key(configure):
    with pytest.raises(UserError, match=r"nogan\.pretrain\.g1: a share of 36 images gives no batch of 88"):
        build_plan(configure("model=artistic"), images=40)


def test_a_plan_goes_through_json_unchanged(configure):
    plan = build_plan(configure("model=stable"))
    assert from_rows(json.loads(json.dumps(as_rows(plan)))) == plan


def test_each_kind_of_phase_has_a_class_with_its_own_fields(configure):
    plan = build_plan(configure("model=video", "model.init_required=false"))
    classes = {"generator": GeneratorPhase, "critic": CriticPhase, "gan": GANPhase}
    assert {phase.kind for phase in plan} == set(classes)
    for phase in plan:
        assert type(phase) is classes[phase.kind]
        with pytest.raises(FrozenInstanceError):
            phase.size = 1
    assert not hasattr(plan[0], "fakes") and not hasattr(plan[-1], "pct_start")


def test_a_plan_of_an_older_version_is_read(configure):
    """Every phase had all fields then, some of them void; the shape of the one-cycle schedule was not written."""
    plan = build_plan(configure("model=artistic"))
    void = {"betas": None, "pct_start": None, "noise": False, "fakes": 0, "fakes_size": 0, "held_out": 0}
    rows = [{**void, "snapshot_every": 0, "trains": "critic", **row} for row in as_rows(plan)]
    for row in rows:
        del row["number"]
        row.pop("one_cycle", None)
    assert from_rows(json.loads(json.dumps(rows))) == plan


def test_snapshots_fall_on_multiples_and_on_the_end(configure):
    phase = build_plan(configure("experiment=quickstart"))[-1]
    taken = [step for step in range(1, phase.steps + 1) if phase.is_snapshot(step)]
    assert taken[0] == phase.snapshot_every and taken[-1] == phase.steps
    assert all(step % phase.snapshot_every == 0 for step in taken[:-1])
