"""What a user brings by ``_target_`` is refused in one line, before anything is built, if it cannot be had."""

import json
import sys
from collections.abc import Callable

import pytest
import torch
from rich.console import Console
from torch import nn

from nogan.common.errors import Interrupted, UserError
from nogan.networks import layer_groups, trainable_parameters
from nogan.training.own_parts import OURS, check_own_parts, check_trusted, lightning_arguments
from nogan.training.run import build_module, train

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))

class NoNet:
    pass

def source(count):
    return list(range(count))
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """The name of a module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"broken_{name}.py").write_text("raise RuntimeError('no such\\nlibrary')")
    return name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+model.networks.generator={width:3}", "model.networks.generator: expected _target_: MODULE.CLASS in it"),
        ("+model.networks.generator={_target_:Net}", "model.networks.generator._target_=Net: expected MODULE.NAME"),
        (
            "+model.networks.generator={_target_:nowhere.Net}",
            "there is no module nowhere in the current folder or on P",
        ),
        ("+model.networks.generator={_target_:broken_OWN.Net}", "importing broken_OWN failed: no such library"),
        ("+model.networks.generator={_target_:OWN.Nett}", "OWN.py has no class Nett"),
        ("+model.networks.generator={_target_:OWN.NoNet}", "OWN.NoNet: expected a torch.nn.modules.module.Module"),
        (
            "+model.networks.critic={_target_:OWN.Net}",
            "model.networks.critic: missing a required argument: 'width' of ",
        ),
        (
            "+model.networks.critic={_target_:OWN.Net,width:3,depth:2}",
            "unexpected keyword argument 'depth' of OWN.Net, ",
        ),
        ("+loss.function={_target_:OWN.NoNet}", "loss.function._target_=OWN.NoNet: expected a torch.nn"),
        ("+callbacks.mine={_target_:OWN.Net}", "expected a pytorch_lightning.callbacks.callback.Callback"),
        ("+logger.mine={_target_:OWN.Net}", "logger.mine._target_=OWN.Net: expected a pytorch_lightning.loggers"),
        ("+logger.mine={colour:red}", "unknown key logger.mine: allowed in logger: tensorboard, wandb"),
        ("data.kind=mine", "data.kind=mine: expected 'scenes', 'folder' or 'imagenet'; or data.source"),
        (
            "+trainer.lightning.max_time=60",
            "trainer.lightning.max_time=60: the program sets it; set trainer.max_minutes",
        ),
        ("+trainer.lightning.gradient_clip_val=1", "set nogan.optimizer.gradient_clip instead"),
        ("+trainer.lightning.profile=x", "unknown key trainer.lightning.profile: allowed in trainer.lightning: "),
        ("+nogan.inflection.mine={window:3}", "unknown key nogan.inflection.mine: "),
        ("inflection=knee +nogan.inflection.knee.x=1", "unknown key nogan.inflection.knee.x: allowed in nogan.inflect"),
    ],
)
def test_what_cannot_be_had_is_one_line(smallest, module, override, message):
    with pytest.raises(UserError) as error:
        check_own_parts(smallest(*override.replace("OWN", module).split()))
    assert message.replace("OWN", module) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_own_detector_is_one_line(smallest, module):
    section = f"+nogan.inflection.mine={{_target_:{module}.Net}}"
    with pytest.raises(UserError, match=r"nogan\.inflection\.mine\._target_=\S+\.Net: expected a Detector"):
        check_own_parts(smallest(section, "nogan.inflection.name=mine"))
    check_own_parts(smallest(section)), "only the chosen one is looked at"


def test_a_source_that_is_none(smallest, module, tmp_path):
    config = smallest(f"+data.source={{_target_:{module}.source,count:3}}")
    with pytest.raises(UserError, match=r"data\.source: \S+\.source has no load; a source has both"):
        train(config, tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_only_what_is_trusted_is_imported_from_a_run_folder(smallest, module):
    part = f"+loss.function={{_target_:{module}.Net,width:3}}"
    with pytest.raises(UserError, match=rf"if you trust it, add trust=\[{module}\]"):
        check_trusted(smallest(part))
    assert module not in sys.modules
    check_trusted(smallest(part, f"trust=[{module}]"))
    check_trusted(smallest("callbacks=device_stats"))


def test_what_the_trainer_takes_goes_through(smallest):
    assert lightning_arguments(smallest().trainer) == {}
    config = smallest("trainer.lightning.profiler=simple", "+trainer.lightning.inference_mode=false")
    assert lightning_arguments(config.trainer) == {"profiler": "simple", "inference_mode": False}


def test_every_argument_that_is_ours_is_one_of_the_trainers():
    import inspect

    import pytorch_lightning as pl

    assert set(OURS) <= set(inspect.signature(pl.Trainer.__init__).parameters)


def test_an_own_network_starts_from_the_seed_alone(smallest, module):
    part = f"+model.networks.critic={{_target_:{module}.Net,width:3}}"
    one, same, other = (build_module(smallest(part, f"seed={seed}")).critic.network for seed in (0, 0, 1))
    assert torch.equal(one.weight, same.weight) and not torch.equal(one.weight, other.weight)


def test_a_network_without_parts_trains_as_a_whole():
    network = nn.Conv2d(3, 3, 1)
    assert layer_groups(network) == ([], [], [network])
    assert trainable_parameters(network, "decoder").keys() == {"weight", "bias"}


def test_a_gradient_is_clipped_where_it_is_larger(smallest, tmp_path, monkeypatch):
    norms: list[float] = []
    step: Callable[..., object] = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: object, **kwargs: object) -> object:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(nn.utils.get_total_norm(gradients)))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    overrides = ("nogan.repeats=0", "nogan.gan.max_critic_steps=1")
    train(smallest(*overrides), tmp_path / "as it is", console=Console(quiet=True))
    free = norms.copy()
    norms.clear()
    train(smallest(*overrides, "nogan.optimizer.gradient_clip=0.01"), tmp_path / "run", console=Console(quiet=True))
    assert max(free) > 0.1
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_a_run_saves_and_ends_when_its_time_is_over(smallest, tmp_path):
    config = smallest("trainer.max_minutes=1e-9", "trainer.limit_batches=4")
    with pytest.raises(Interrupted):
        train(config, tmp_path, console=Console(quiet=True))
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file() and not (tmp_path / "records.json").exists()
    resumed = smallest("trainer.limit_batches=4", f"resume={tmp_path}")
    train(resumed, tmp_path, console=Console(quiet=True))
    assert json.loads((tmp_path / "records.json").read_text())[0]["steps"] == 4
