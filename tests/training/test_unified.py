"""Training one network for all: what is drawn, what counts by it, and that a cut changes nothing."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from nogan.common.errors import UserError
from nogan.data.batches import Pair
from nogan.data.datamodule import NoGANData
from nogan.networks import build_critic
from nogan.networks.deoldify import load_weights, save_critic
from nogan.networks.losses import consistency_loss, critic_loss, generator_adversarial_loss
from nogan.networks.movement import move, movements
from nogan.plan import build_plan
from nogan.training.modules import CriticModule, GANModule, GeneratorModule
from nogan.training.modules.step import parts_of
from nogan.training.own_parts import build_loss
from nogan.training.run import train
from tests.metrics import computed

QUIET = Console(quiet=True)
KNOB = (
    "model.vividness={hidden:8,rate:10}",
    "nogan.consistency.weight=1",
    "nogan.repeats=0",
    "trainer.limit_batches=6",
    "nogan.gan.max_critic_steps=1",
    "nogan.inflection.action=mark",
)


def conditioned(data, phase, rank, world):
    """The pair that ``rank`` of ``world`` gets of a batch of equal pictures."""
    part = slice(rank * phase.batch_size // world, (rank + 1) * phase.batch_size // world)
    gray = torch.linspace(0, 1, 32 * 32).view(1, 1, 32, 32).expand(part.stop - part.start, 3, 32, 32)
    return data._conditioned(Pair(gray, gray), gray, phase, (0, 0, phase.name, 3), part)


def test_vividness_and_movement_are_drawn_for_the_whole_batch(smallest):
    config = smallest(*KNOB)
    phase = build_plan(config, 200)[-1]
    data = SimpleNamespace(config=config)
    data._conditioned = lambda *a: NoGANData._conditioned(data, *a)
    whole, halves = conditioned(data, phase, 0, 1), [conditioned(data, phase, rank, 2) for rank in range(2)]
    for name in ("vividness", "moved_gray", "movement"):
        parts = [getattr(half, name) for half in halves]
        assert torch.equal(torch.cat(parts), getattr(whole, name)), name
    first = build_plan(config, 200)[0]
    assert conditioned(data, first, 0, 1).vividness is None, "pretraining knows no vividness"


def test_shares_are_at_the_ends(smallest):
    config = smallest(*KNOB, "nogan.gan.batch_size=100", "nogan.gan.vividness={at_zero:0.2,at_one:0.3}")
    phase = build_plan(config, 2000)[-1]
    gray = torch.rand(100, 3, 32, 32)
    data = SimpleNamespace(config=config)
    pair, part = Pair(gray, gray), slice(0, 100)
    batches = [NoGANData._conditioned(data, pair, gray, phase, (0, batch), part) for batch in range(20)]
    drawn = torch.cat([batch.vividness for batch in batches])
    assert (drawn == 0).float().mean() == pytest.approx(0.2, abs=0.04)
    assert (drawn == 1).float().mean() == pytest.approx(0.3, abs=0.04)
    assert drawn[(drawn > 0) & (drawn < 1)].mean() == pytest.approx(0.5, abs=0.04)


def test_the_critics_judgment_counts_by_the_vividness():
    logits, weights = torch.randn(3, 5), torch.tensor([0.0, 0.25, 1.0])
    each = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none").mean(1)
    torch.testing.assert_close(generator_adversarial_loss(logits, weights), (weights * each).sum() / 3)
    torch.testing.assert_close(generator_adversarial_loss(logits, torch.ones(3)), generator_adversarial_loss(logits))


def test_what_moves_with_its_input_is_consistent_and_what_does_not_is_not():
    gray = torch.rand(4, 3, 32, 32)
    movement = movements(torch.rand(4, 4), shift=0.1, rotate=5, zoom=0.1)
    moved = move(gray, movement)
    assert consistency_loss(gray, moved, movement) < 1e-6
    standing = consistency_loss(gray, gray, movement)
    assert standing > 0.05
    only = torch.tensor([1.0, 0, 0, 0])
    alone = consistency_loss(gray[:1], gray[:1], movement[:1])
    torch.testing.assert_close(consistency_loss(gray, gray, movement, only), alone / 4)


class ByVividness(nn.Module):
    """Gives its input times the vividness."""

    def forward(self, x, vividness):
        return x * vividness[:, None, None, None]


def test_a_pair_is_colorized_in_one_pass_and_only_the_steady_have_to_be_consistent():
    module = GeneratorModule(ByVividness(), nn.L1Loss(), consistency_weight=2.0)
    gray = torch.rand(2, 3, 32, 32)
    movement = movements(torch.rand(2, 4), shift=0.1, rotate=0, zoom=0)
    pair = Pair(gray, gray, torch.tensor([0.5, 1.0]), gray, movement)
    outputs, loss, parts = module.colorize(pair)
    assert torch.equal(outputs, gray * torch.tensor([0.5, 1.0])[:, None, None, None])
    first = consistency_loss(outputs[:1], outputs[:1], movement[:1])
    torch.testing.assert_close(loss, 2 * 0.5 * first / 2)
    assert parts["consistency_loss"] == loss
    assert [len(part.vividness) for part in parts_of(pair, 2)] == [1, 1]
    assert all(part.vividness is None for part in parts_of(Pair(gray, gray), 2))


TOLD = {"hidden": 8, "rate": 10}


def test_a_critic_is_told_the_vividness_of_photographs_and_of_fakes(smallest):
    torch.manual_seed(0)
    plain, told = build_critic(8, doublings=2).eval(), build_critic(8, doublings=2, vividness=TOLD).eval()
    x, levels = torch.rand(4, 3, 32, 32), torch.tensor([0.0, 0.25, 0.5, 1.0])
    with torch.no_grad():
        assert torch.equal(told(x, levels), plain(x)), "first it makes no difference"
        for parameter in told.vividness.changes.parameters():
            nn.init.normal_(parameter, std=0.1)
        judged = told(x, levels)
        assert not torch.allclose(judged[0], plain(x)[0])
        assert torch.equal(told(x)[3], judged[3]), "1 where none is given"
    generator = GeneratorModule(ByVividness(), build_loss(smallest().loss))
    pair = Pair(x, x.flip(0), levels)
    for sees, v_fake, v in (("told", levels, levels), ("all", levels, None), ("vivid", torch.ones(4), None)):
        module = GANModule(generator, CriticModule(told), critic_sees=sees)
        with torch.no_grad():
            fake = x * v_fake[:, None, None, None]
            torch.testing.assert_close(module.critic_batch(pair)[0], critic_loss(told(pair.color, v), told(fake, v)))
            shown = told(x * levels[:, None, None, None], v)
            loss = module.generator_batch(pair)[1]["adversarial_loss"]
        torch.testing.assert_close(loss, generator_adversarial_loss(shown, levels))


def test_a_critic_without_the_vividness_is_one_to_go_on_from(tmp_path):
    for number, save in enumerate((lambda state, path: torch.save(state, path), None)):
        plain, told = build_critic(8, doublings=1, seed=1), build_critic(8, doublings=1, vividness=TOLD, seed=2)
        path = tmp_path / f"{number}.pth"
        save(plain.state_dict(), path) if save else save_critic(plain, path)
        load_weights(told, path)
        x = torch.rand(2, 3, 32, 32)
        assert torch.equal(told.eval()(x, torch.rand(2)), plain.eval()(x))
    assert build_critic(**told.config).vividness is not None
    with pytest.raises(UserError, match=r"no knob for the vividness$"):
        save_critic(told, path)


def test_it_trains_and_is_measured_at_every_level(smallest, tmp_path):
    whole = tmp_path / "whole"
    metrics = train(smallest(*KNOB, "nogan.gan.vividness.critic_sees=told"), whole, console=QUIET)
    for network, stages in (("generator", ("@pretrained", "")), ("critic", ("", "@gan"))):
        before, after = (load_file(whole / f"{network}{stage}.safetensors") for stage in stages)
        names = [name for name in after if name.startswith("vividness.changes")]
        assert names and not any(before[name].any() for name in names), "the knob trains in the GAN phase alone"
        assert any(after[name].any() for name in names)
    for level in ("", "_v0", "_v50"):
        assert {f"val/{name}{level}" for name in ("psnr", "colorfulness_ratio", "shift_variation")} <= metrics.keys()
    assert any(row.get("generator/consistency_loss") for row in computed(whole))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("nogan.gan.vividness={at_zero:0.6,at_one:0.6}", "at_zero=0.6 and at_one=0.6"),
        ("nogan.gan.vividness.critic_sees=none", "nogan.gan.vividness.critic_sees=none"),
        (
            "+model.networks.critic={_target_:torch.nn.Identity} model.vividness={hidden:8,rate:10} "
            "nogan.gan.vividness.critic_sees=told",
            "critic_sees=told is for the critic of this package",
        ),
        ("nogan.consistency.weight=-1", "nogan.consistency.weight=-1"),
        ("model.vividness={hidden:0,rate:1}", "model.vividness.hidden=0"),
    ],
)
def test_mistakes_are_one_line(smallest, override, said):
    with pytest.raises(UserError) as error:
        smallest(*override.split())
    assert said in str(error.value) and "\n" not in str(error.value)
