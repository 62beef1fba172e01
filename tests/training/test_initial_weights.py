"""A run starts from the networks of another, or from files: ``model.init``."""

import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from nogan.common.errors import UserError
from nogan.networks import deoldify
from nogan.training.initial_weights import start_from
from nogan.training.run import build_module, train


@pytest.fixture
def started(smallest):
    """The networks of a fresh run with some overrides, and what was said of them."""

    def build(*overrides: str):
        config = smallest(*overrides)
        module = build_module(config)
        return module, start_from(module, config.model)

    return build


def holds(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    state = network.state_dict()
    return state.keys() == tensors.keys() and all(torch.equal(state[name], tensors[name]) for name in state)


@pytest.mark.parametrize(("stage", "file"), [("final", "generator"), ("pretrained", "generator@pretrained")])
def test_a_run_gives_its_generator_and_its_critic(started, finished_run, stage, file):
    module, said = started(f"model.init={finished_run}", f"model.init_stage={stage}")
    assert holds(module.generator.network, load_file(finished_run / f"{file}.safetensors"))
    assert holds(module.critic.network, load_file(finished_run / "critic.safetensors"))
    assert [line.split()[0] for line in said] == ["generator", "critic"]


def test_so_does_one_of_its_checkpoints(started, finished_run):
    checkpoint = finished_run / "checkpoints" / "last.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    module, said = started(f"model.init={checkpoint}")
    for name, network in (("generator", module.generator.network), ("critic", module.critic.network)):
        prefix = f"{name}.network."
        assert holds(network, {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)})
    assert len(said) == 2


def test_a_file_gives_the_generator_and_another_one_the_critic(started, finished_run):
    module, said = started(f"model.init={finished_run / 'generator.safetensors'}")
    fresh, _ = started()
    assert len(said) == 1
    assert holds(module.critic.network, fresh.critic.network.state_dict())
    module, _ = started(
        f"model.init={finished_run / 'generator.safetensors'}",
        f"model.init_critic='{finished_run / 'critic@gan.safetensors'}'",
    )
    assert holds(module.critic.network, load_file(finished_run / "critic@gan.safetensors"))


def test_a_file_of_deoldifys_gives_the_critic(started, finished_run, tmp_path):
    first, _ = started(f"model.init={finished_run}")
    deoldify.save_critic(first.critic.network, tmp_path / "critic.pth")
    generator = f"model.init={finished_run / 'generator.safetensors'}"
    module, _ = started(generator, f"model.init_critic={tmp_path / 'critic.pth'}")
    assert holds(module.critic.network, load_file(finished_run / "critic.safetensors"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.init_required=true"], "goes on from another run's networks: set model.init=RUN_DIR"),
        (["model.init=GENERATOR", "model.init_required=true"], "needs a critic to go on from"),
        (["model.init=EMPTY"], "expected a run folder with generator.safetensors in it"),
        (["model.init=GENERATOR", "model.width=1.0"], "has shape"),
    ],
)
def test_what_is_missing_is_named(started, finished_run, tmp_path, overrides, message):
    names = {"GENERATOR": str(finished_run / "generator.safetensors"), "EMPTY": str(tmp_path)}
    for name, value in names.items():
        overrides = [override.replace(name, value) for override in overrides]
    with pytest.raises(UserError, match=message):
        started(*overrides)


def test_the_video_recipe_goes_on_from_a_run(smallest, finished_run, tmp_path):
    """A fine-tuning on noisy input, no first critic phase, one cycle: from the run's networks."""
    video = (
        f"model.init={finished_run}",
        "model.init_stage=pretrained",
        "model.init_required=true",
        "nogan.pretrain={g1:{trains:all,noise:true,lr:1e-30},g2:null}",
        "nogan.critic.phases.c1=null",
        "nogan.repeats=0",
    )
    train(smallest(*video), tmp_path, console=Console(quiet=True))
    records = json.loads((tmp_path / "records.json").read_text())
    assert [record["name"] for record in records] == ["g1", "c2@1", "gan@1"]
    before = load_file(finished_run / "generator@pretrained.safetensors")
    after = load_file(tmp_path / "generator@pretrained.safetensors")
    weights = [name for name in before if name.endswith("weight.original")]
    assert weights and all(torch.equal(before[name], after[name]) for name in weights), "at a rate of nothing"
