"""Whether pictures of every phase's size go through both networks and the loss, found out before training begins.

What a phase fails at may come hours after the start. So each part is given pictures of every size that it will meet, in
the smallest number, forward and backward: on the meta device, which knows shapes and computes nothing. A part that the
meta device cannot follow, such as a network of the user's own that looks at its numbers, is tried on the CPU.

The networks of the recipes take any size that the config allows, which a test shows; trying them imports torch, which
takes a dry run seconds, and is left out.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from nogan.common.errors import UserError
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, Phase, Plan
from nogan.plan.config import RunConfig
from nogan.training.launch import processes
from nogan.training.own_parts import build_critic, build_generator, build_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

ENCODERS = ("tiny", "resnet34", "resnet101")
"""Encoders of the recipes."""
VGG16_LAYERS = range(44)
"""Layers that a loss may take of vgg16_bn, that of the recipes."""
DEEPEST = 32
"""Reduction of the ResNets' deepest feature: of a picture of this size it is a single pixel."""
ENOUGH = 2
"""Pictures that stand for any larger number of them."""


class Pictures(NamedTuple):
    """What a part of the run is given: ``images`` of ``size`` px, as ``key`` of the config says."""

    key: str
    size: int
    images: int
    trains: bool


class Part(NamedTuple):
    """A network or loss to try."""

    name: str  # the key that sets it
    build: Callable[[], "nn.Module"]
    run: Callable[["nn.Module", "Tensor"], "Tensor"]  # what is trained: its result's sum goes backward
    pictures: Iterable[Pictures]


def check_shapes(config: RunConfig, plan: Plan) -> None:
    """Refuse phases whose pictures a network or the loss cannot take.

    Raises:
        UserError: names the phase's key, the size, and what fails on it.
    """
    for part in _unusual_parts(config, plan):
        on_meta = _built(part, "meta")
        for pictures in _distinct(part.pictures):
            try:
                _pass(part, on_meta, pictures, "meta")
            except Exception:
                _try_on_cpu(part, pictures)  # whether it fails because of the pictures, or of the meta device


def _distinct(pictures: Iterable[Pictures]) -> Iterable[Pictures]:
    """The first of each size and number: equal phases of later cycles need no second look."""
    return {each[1:]: each for each in reversed(list(pictures))}.values()


def _unusual_parts(config: RunConfig, plan: Plan) -> Iterator[Part]:
    """Those that are not known to take every picture of the plan."""
    model, loss, met = config.model, config.loss, list(_met(config, plan))
    config = config.model_copy(
        update={
            "model": model.model_copy(update={"pretrained": False, "encoder_weights": None}),
            "loss": loss.model_copy(update={"pretrained": False, "network_weights": None}),
        }
    )
    own = model.networks
    generators = [pictures for pictures, part in met if part in ("generator", "both")]
    if own.generator is not None or model.encoder not in ENCODERS or any(map(_is_one_pixel, generators)):
        name = "model.networks.generator" if own.generator is not None else f"model.encoder={model.encoder}"
        yield Part(name, lambda: build_generator(config), _colorize, generators)
    if own.critic is not None:
        critics = [pictures for pictures, part in met if part in ("critic", "both")]
        yield Part("model.networks.critic", lambda: build_critic(config), _judge, critics)
    usual = loss.network is None or (loss.network == "vgg16_bn" and set(loss.layers) <= set(VGG16_LAYERS))
    if loss.function is not None or not usual:
        name = "loss.function" if loss.function is not None else f"loss.network={loss.network}"
        yield Part(name, lambda: build_loss(config.loss), _compare, [p for p in generators if p.trains])


def _met(config: RunConfig, plan: Plan) -> Iterator[tuple[Pictures, str]]:
    """The pictures that the networks will meet, and which of them does."""
    for phase in plan:
        key, images = f"{phase.key}.size", _smallest_part(config, phase)
        match phase:
            case GeneratorPhase():
                yield Pictures(key, phase.size, images, trains=True), "generator"
            case CriticPhase():
                yield Pictures("nogan.critic.fakes.size", phase.fakes_size, 1, trains=False), "generator"
                yield Pictures(key, phase.size, images, trains=True), "critic"
            case GANPhase():
                yield Pictures(key, phase.size, images, trains=True), "both"
    yield Pictures("probe.size", config.probe.size, 1, trains=False), "generator"


def _smallest_part(config: RunConfig, phase: Phase) -> int:
    """How many pictures a network is given at once, at the least: a batch is divided between devices, and further."""
    parts = config.trainer.accumulate * (1 if config.trainer.sync_batchnorm else processes(config.trainer))
    return min(max(phase.batch_size // parts, 1), ENOUGH)


def _is_one_pixel(pictures: Pictures) -> bool:
    """Whether a batch norm may have a single value to train on, which PyTorch refuses."""
    return pictures.trains and pictures.images == 1 and pictures.size <= DEEPEST


def _try_on_cpu(part: Part, pictures: Pictures) -> None:
    try:
        _pass(part, _built(part, "cpu"), pictures, "cpu")
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        count = "1 picture" if pictures.images == 1 else f"{pictures.images} pictures"
        raise UserError(
            f"{pictures.key}={pictures.size}: {part.name} fails on {count} of {pictures.size} x {pictures.size} px: "
            f"{reason}"
        ) from error


def _built(part: Part, device: str) -> "nn.Module":
    import torch

    with torch.random.fork_rng(devices=[]):
        if device == "meta":
            with suppress(Exception), torch.device(device):  # a part of the user's own may look at its numbers
                return part.build()
        return part.build().to(device)


def _pass(part: Part, network: "nn.Module", pictures: Pictures, device: str) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        images = torch.rand(pictures.images, 3, pictures.size, pictures.size).to(device)
        network.train(pictures.trains)
        with torch.set_grad_enabled(pictures.trains):
            result = part.run(network, images.requires_grad_(pictures.trains))
        if pictures.trains:
            result.sum().backward()


def _colorize(network: "nn.Module", images: "Tensor") -> "Tensor":
    output = network(images)
    _expect(output, tuple(images.shape))
    return output


def _judge(network: "nn.Module", images: "Tensor") -> "Tensor":
    logits = network(images)
    if getattr(logits, "ndim", 0) != 2:  # one for each patch
        _expect(logits, (len(images), 1))
    return logits


def _compare(loss: "nn.Module", images: "Tensor") -> "Tensor":
    total, _ = loss(images, images.detach())
    _expect(total, ())
    return total


def _expect(found: Any, shape: tuple[int, ...]) -> None:
    if (given := tuple(getattr(found, "shape", (-1,)))) != shape:
        raise ValueError(f"it gives a tensor of shape {given}, and {shape} is expected")
