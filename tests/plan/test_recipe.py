"""The composed recipes of the three variants, field by field, against the published one (DeOldify's notebooks)."""

import json
import math

import pytest
from rich.console import Console
from safetensors import safe_open

from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, build_plan
from nogan.runs import summary
from nogan.training.run import train

A, S, V = "artistic", "stable", "video"

# name: (px, batch A, batch S, share, epochs, lr, pct_start, trains)
PRETRAINING = {
    "g1": (64, 88, 88, 1.0, 1, (1e-4, 1e-4, 1e-3), 0.8, "decoder"),
    "g2": (64, 88, 88, 1.0, 1, (3e-7, math.sqrt(3e-7 * 3e-4), 3e-4), 1e-8, "all"),
    "g3": (128, 22, 20, 1.0, 1, (1e-7, math.sqrt(1e-7 * 1e-4), 1e-4), 1e-8, "all"),
    "g4": (192, 11, 8, 0.5, 1, (5e-8, math.sqrt(5e-8 * 5e-5), 5e-5), 1e-8, "all"),
}
V0 = (192, 8, 8, 0.25, 1, (5e-8, math.sqrt(5e-8 * 5e-5), 5e-5), 1e-8, "all")
CRITIC = {  # name: (px, batch, epochs, lr, pct_start)
    "c1": (128, 64, 6, 1e-3, 0.3),
    "c2": (192, 16, 4, 1e-4, 0.3),
}
GAN = {A: (9, 1e-5, 2.0), S: (5, 2e-5, 1.5), V: (5, 5e-6, 1.5)}  # batch, lr, feature weight
REPEATS = {A: 5, S: 3, V: 0}


@pytest.fixture(params=[A, S, V])
def variant(request):
    return request.param


@pytest.fixture
def config(configure, variant):
    return configure(f"model={variant}")


@pytest.fixture
def phases(config):
    return {phase.name: phase for phase in build_plan(config)}


def test_the_order_of_the_phases(phases, variant):
    cycles = [f"{name}@{cycle}" for cycle in range(2, REPEATS[variant] + 2) for name in ("c2", "gan")]
    start = ["v0", "c2@1"] if variant == V else ["g1", "g2", "g3", "g4", "c1@1", "c2@1"]
    assert list(phases) == [*start, "gan@1", *cycles]


def test_generator_pretraining(phases, variant):
    expected = {"v0": V0} if variant == V else PRETRAINING
    for name, (px, batch_a, batch_s, share, epochs, lr, pct_start, trains) in expected.items():
        phase = phases[name]
        batch = batch_a if variant == A else batch_s
        assert (phase.size, phase.batch_size, phase.share, phase.epochs) == (px, batch, share, epochs)
        assert phase.lr == pytest.approx(lr, rel=1e-12)
        assert (phase.pct_start, phase.trained_part, phase.noise) == (pct_start, trains, variant == V)
        assert isinstance(phase, GeneratorPhase) and phase.beta2 == 0.99  # beta1 cycles


def test_critic_pretraining(config, phases):
    fakes = config.nogan.critic.fakes
    assert (fakes.size, fakes.batch_size, fakes.share) == (192, 8, 0.085)
    critics = [phase for phase in phases.values() if phase.kind == "critic"]
    for phase in critics:
        px, batch, epochs, lr, pct_start = CRITIC[phase.name.split("@")[0]]
        assert (phase.size, phase.batch_size, phase.epochs, phase.lr) == (px, batch, epochs, (lr,))
        assert phase.pct_start == pct_start and phase.fakes_size == 192
        assert phase.images == pytest.approx(0.9 * 2 * phase.fakes, rel=1e-3), "10 % validation"


def test_gan(config, phases, variant):
    batch, lr, feature = GAN[variant]
    gan = config.nogan.gan
    assert (gan.weights.adversarial, gan.weights.feature, gan.critic_threshold) == (1.0, feature, 0.65)
    for phase in (phase for phase in phases.values() if phase.kind == "gan"):
        assert (phase.size, phase.batch_size, phase.share, phase.epochs) == (192, batch, 0.03, 1)
        assert isinstance(phase, GANPhase) and phase.trained_part == "decoder" and phase.betas == (0.0, 0.9)
        assert phase.noise == (variant == V), "video's loader is the same throughout"
        assert summary.trains(phase) == ("by turns, noisy input" if variant == V else "by turns")
        for step in (0, phase.steps - 1):  # constant
            assert phase.hyper(step, "generator").lr == (lr,)
            assert phase.hyper(step, "critic").lr == pytest.approx((5 * lr,))


def test_optimizer_loss_and_networks(config, variant):
    adam = {"weight_decay": 1e-3, "eps": 1e-8, "beta2": 0.99, "gradient_clip": None}
    assert config.nogan.optimizer.model_dump() == adam
    loss = config.loss
    assert (loss.network, loss.layers, loss.weights, loss.pixel_weight) == ("vgg16_bn", (22, 32, 42), (20, 70, 10), 1.0)
    network = config.model
    expected = ("resnet34", "deep", 1.5) if variant == A else ("resnet101", "wide", 2.0)
    assert (network.encoder, network.decoder, network.width) == expected
    assert (network.critic.width, network.critic.doublings, network.critic.dropout) == (256, 3, 0.15)


def test_fixes_of_the_original_are_on(config):
    assert config.nogan.critic.reals == "heldout"
    assert config.nogan.critic.restart == "pre_gan"
    assert config.nogan.gan.max_critic_steps is not None


def test_nine_tenths_of_imagenet_train_the_generator(config, phases, variant):
    first = next(iter(phases.values()))
    assert first.images == pytest.approx(0.9 * 1281167 * first.share, rel=1e-3)


def test_recipe_scale_multiplies_batches_and_takes_the_root_for_rates(configure):
    plain, scaled = (build_plan(configure("model=artistic", f"recipe_scale=x{k}")) for k in (1, 4))
    for one, four in zip(plain, scaled, strict=True):
        assert four.batch_size == 4 * one.batch_size
        assert four.lr == pytest.approx(tuple(2 * lr for lr in one.lr))
        assert four.steps * four.batch_size == pytest.approx(one.steps * one.batch_size, rel=0.01)
        if isinstance(one, CriticPhase):
            assert four.fakes == one.fakes


@pytest.mark.slow
def test_the_artistic_network_goes_through_every_phase(configure, tmp_path):
    """DeOldify's own generator (63.6 M parameters) and feature loss layers at 32 px; a narrow critic, to spare disk."""
    config = configure(
        "model=artistic",
        "data=scenes",
        "trainer=debug",
        "logger=csv",
        "nogan.repeats=0",
        "model.pretrained=false",
        "loss.pretrained=false",
        "model.critic.width=32",
        "nogan.pretrain.g1={size:32,batch_size:2}",
        "nogan.pretrain.g2={size:32,batch_size:2}",
        "nogan.pretrain.g3={size:48,batch_size:2}",
        "nogan.pretrain.g4={size:64,batch_size:2}",
        "nogan.critic.fakes={size:64,batch_size:2}",
        "nogan.critic.phases.c1={size:64,batch_size:2,epochs:1}",
        "nogan.critic.phases.c2={size:64,batch_size:2,epochs:1}",
        "nogan.gan={size:64,batch_size:2}",
        "trainer.limit_batches=2",
        "nogan.gan.critic_threshold=10",  # so that the second GAN batch is the generator's
        "probe={images:2,size:64,grid:2,batch_size:2}",
    )
    metrics = train(config, tmp_path, console=Console(quiet=True))
    assert math.isfinite(metrics["val/psnr"])
    records = json.loads((tmp_path / "records.json").read_text())
    assert [record["steps"] for record in records] == [2] * 7
    assert (records[-1]["critic_steps"], records[-1]["generator_steps"]) == (1, 1)
    with safe_open(tmp_path / "generator.safetensors", "pt") as file:
        assert len(file.keys()) > 200
