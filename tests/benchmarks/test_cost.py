"""The cost of a plan, against operations counted by hand or by others."""

import importlib.util
import json
import sys

import pytest
from deoldify_golden import DATA

from nogan.plan import build_plan
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # it counts the operations of full-size networks
spec = importlib.util.spec_from_file_location("cost", ROOT / "benchmarks" / "cost.py")
cost = importlib.util.module_from_spec(spec)
sys.modules["cost"] = cost
spec.loader.exec_module(cost)


@pytest.fixture(scope="module")
def artistic(configure):
    """The plan of the artistic model, and its operations by phase."""
    config = configure("model=artistic", "nogan.repeats=0", "model.pretrained=false", "loss.pretrained=false")
    plan = build_plan(config)
    flops = cost.plan_flops(config, plan)
    return {phase.name: (phase, flops[phase.name]) for phase in plan}


def test_the_operations_are_those_of_the_original(artistic):
    """DeOldify's own networks, counted with the same counter."""
    original = json.loads((DATA / "flops.json").read_text())
    generator, critic = original["deep"], original["critic"]
    feature = original["vgg16_bn_features_192_fwd"] + original["vgg16_bn_features_192_fwd_bwd_input_only"]
    phase, flops = artistic["g4"]
    expected = generator["fwd_bwd_192_all_trainable"] + feature
    assert flops / (phase.steps * phase.batch_size) == pytest.approx(expected, rel=0.01)
    phase, flops = artistic["c2@1"]
    expected = critic["fwd_bwd_192_all_trainable"] * phase.steps * phase.batch_size
    assert flops == pytest.approx(expected + generator["fwd_192"] * phase.fakes, rel=0.01)
    phase, flops = artistic["gan@1"]
    critics_turn = generator["fwd_192"] + 2 * critic["fwd_bwd_192_all_trainable"]
    # The critic passes gradients on to the picture, but computes none of its own weights: two thirds of the work.
    generators_turn = generator["fwd_bwd_192_encoder_frozen"] + feature + 2 * critic["fwd_192"]
    assert flops / (phase.steps * phase.batch_size) == pytest.approx((critics_turn + generators_turn) / 2, rel=0.05)


def test_smaller_pictures_cost_less(artistic):
    per_image = {name: flops / (phase.steps * phase.batch_size) for name, (phase, flops) in artistic.items()}
    assert per_image["g2"] < per_image["g3"] / 3 < per_image["g4"] / 6
    assert per_image["g1"] < per_image["g2"], "no gradients of the frozen encoder's weights"
