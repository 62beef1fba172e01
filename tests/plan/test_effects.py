"""Settings that nothing heeds in a composition are said, and those that count are not."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from nogan.plan.config import RunConfig, parse_config
from nogan.plan.effects import RULES, without_effect

OWN = {"_target_": "own.Part"}
FEATURES = {"network": "vgg16_bn", "layers": [1], "weights": [1], "pixel_weight": 1, "pretrained": True}
START = {"nogan.start": "gan", "model.init": "RUN"}
RESNET = {"model.encoder": "resnet34"}
REPLACED: list[tuple[dict[str, Any], str, str]] = [
    ({"model.networks.generator": OWN}, "model.width", "with model.networks.generator"),
    ({"model.networks.critic": OWN}, "model.critic.dropout", "with model.networks.critic"),
    ({}, "model.pretrained", "with model.encoder=tiny, which has no pretrained weights"),
    ({**RESNET, "model.encoder_weights": "FILE"}, "model.pretrained", "with model.encoder_weights"),
    ({**RESNET, "model.init": "RUN"}, "model.encoder_weights", "with model.init, whose weights replace it"),
    ({}, "model.init_stage", "without model.init"),
    ({"resume": "RUN", "model.init": "RUN"}, "model.init", "on a run that goes on, from its own checkpoint"),
    ({"loss.function": OWN}, "loss.pixel_weight", "with loss.function"),
    ({"loss.layers": [1], "loss.weights": [1]}, "loss.weights", "with loss.network=null"),
    ({}, "loss.network_weights", "with loss.network=null"),
    ({"loss": {**FEATURES, "network_weights": "FILE"}}, "loss.pretrained", "with loss.network_weights"),
    ({"data.source": OWN}, "data.images", "with data.source, which is counted"),
    ({"data.kind": "imagenet", "data.path": "DIR"}, "data.images", "with data.path, whose photographs are counted"),
    ({"data.kind": "folder", "data.path": "DIR", "data.val_path": "D"}, "data.val_share", "with data.val_path"),
    ({"data.kind": "folder", "data.path": "DIR"}, "data.hue_cue", "without data=scenes"),
    ({}, "data.max_bad_share", "with data=scenes"),
    ({}, "data.changed", "on a run that begins"),
    ({}, "trust", "on a run that begins"),
    ({}, "nogan.augment.generator.warp", "with data.augment=false"),
    (START, "nogan.pretrain.g1.size", "with nogan.start=gan"),
    ({**START, "nogan.repeats": 0}, "nogan.critic.phases.c1", "with nogan.start=gan and nogan.repeats=0"),
    ({**START, "nogan.repeats": 0}, "nogan.critic.fakes.size", "without a phase of nogan.critic.phases"),
    ({"nogan.critic.phases": {}}, "nogan.critic.reals", "without a phase of nogan.critic.phases"),
    ({"nogan.repeats": 0}, "nogan.critic.restart", "with nogan.repeats=0"),
    ({"nogan.repeats": 0}, "nogan.inflection.cycle_worth", "with nogan.repeats=0"),
    ({"nogan.inflection.action": "mark"}, "nogan.inflection.cycle_worth", "with nogan.inflection.action=mark"),
    ({"nogan.inflection.name": "budget"}, "nogan.inflection.knee.rise", "with nogan.inflection.name=budget"),
    ({}, "trainer.sync_batchnorm", "with trainer.devices=1"),
]

Change = Callable[[dict[str, Any]], RunConfig]


@pytest.fixture(scope="module")
def change(configure) -> Change:
    """The quickstart with other values for some keys."""
    plain = configure("experiment=quickstart").model_dump()

    def changed(values: dict[str, Any]) -> RunConfig:
        config = deepcopy(plain)
        for key, value in values.items():
            *path, name = key.split(".")
            section = config
            for part in path:
                section = section[part]
            section[name] = value
        return parse_config(config)

    return changed


@pytest.mark.parametrize(("values", "key", "reason"), REPLACED)
def test_what_nothing_heeds_is_said(change: Change, values, key, reason):
    (line,) = without_effect(change(values), [key, "nogan.gan.lr"])
    assert line == f"{key} has no effect {reason}"


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        (RESNET | {"data.augment": True}, ["model.pretrained", "model.width", "nogan.augment.critic.zoom"]),
        (START, ["model.init_stage", "nogan.critic.fakes.size", "nogan.critic.phases.c2.lr"]),
        ({}, ["loss.layers", "loss.weights", "loss.network", "loss.pixel_weight"]),
        ({"data.kind": "folder", "data.path": "DIR"}, ["data.images", "data.val_share", "data.max_bad_share"]),
        ({"trainer.devices": 2}, ["trainer.sync_batchnorm", "trainer.max_silent_minutes"]),
        (
            {"nogan.inflection.name": "knee"},
            ["nogan.inflection.knee.rise", "nogan.inflection.action", "nogan.inflection.cycle_worth"],
        ),
        ({"resume": "RUN"}, ["data.changed", "trust", "nogan.repeats"]),
    ],
)
def test_what_counts_is_not(change: Change, values, chosen):
    assert not list(without_effect(change(values), chosen))


def test_the_rules_name_keys_that_exist(change: Change):
    config = change({}).model_dump()
    for key in (key for rule in RULES for key in rule.keys):
        section = config
        for part in key.split("."):
            assert part in section, key
            section = section[part]


def test_every_rule_is_tried(change: Change):
    tried = {
        rule
        for values, key, _ in REPLACED
        for rule in RULES
        if any(key == prefix or key.startswith(f"{prefix}.") for prefix in rule.keys) and rule.because(change(values))
    }
    assert tried == set(RULES)
