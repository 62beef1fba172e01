"""Read and write DeOldify's weight files: generators (artistic, stable, video) and the critic.

The layout is DeOldify's own (https://github.com/jantic/DeOldify): fastai's nested lists of layers, PyTorch's old
spectral and weight norm. ``docs/deoldify.md`` is the table of names. Nothing in a file is run: see
:func:`nogan.networks.weights.read_tensors`.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.networks import Critic, UNet, build_critic, build_generator
from nogan.networks.blocks import Unfilled
from nogan.networks.encoders import TORCHVISION_RESNETS, TimmEncoder
from nogan.networks.unet import UpBlock
from nogan.networks.vividness import VIVIDNESS
from nogan.networks.weights import assign, check_fit, read_tensors

Names = Iterator[tuple[str, str]]
"""Pairs of DeOldify's name and ours, in DeOldify's order."""

_RESNET_BLOCKS = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
"""(bottleneck blocks?, blocks in each layer) of torchvision's ResNets."""

_ENCODER_INDEX = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_SPECTRAL = (
    ("weight_orig", "parametrizations.weight.original"),
    ("weight_u", "parametrizations.weight.0._u"),
    ("weight_v", "parametrizations.weight.0._v"),
)
_WEIGHT_NORM = (
    ("weight_g", "parametrizations.weight.original0"),
    ("weight_v", "parametrizations.weight.original1"),
)


def load_generator(path: str | Path, *, setting: str = "checkpoint") -> UNet:
    """The generator in a DeOldify file, in eval mode on the CPU; the tensors tell its encoder, decoder and width.

    Args:
        path: a plain state dict or ``{"model": ..., "opt": ...}`` as ``.pth``, or the same tensors as ``.safetensors``.
        setting: the config key or flag that gave ``path``, for the messages.

    Raises:
        UserError: the file is missing, damaged, or no DeOldify generator, or a tensor is missing, unknown or of a wrong
            shape.
    """
    return generator_from(read_tensors(path, setting=setting), source=f"{setting}={path}")


def load_critic(path: str | Path, *, setting: str = "checkpoint") -> Critic:
    """The critic in a DeOldify file, in eval mode on the CPU; the tensors tell its width and doublings.

    Arguments and errors are those of :func:`load_generator`.
    """
    return critic_from(read_tensors(path, setting=setting), source=f"{setting}={path}")


def generator_from(tensors: Mapping[str, Tensor], *, source: str) -> UNet:
    """The generator with these tensors under DeOldify's names; messages call them ``source``."""
    if not is_generator(tensors):
        raise UserError(f"{source}: not a DeOldify generator{_what_else(tensors)}")
    config, label = _recognize_generator(tensors)
    with Unfilled():
        network = build_generator(**config, pretrained=False)
    assign(network, to_our_names(tensors, network, source=source, target=label))
    return network.eval()


def critic_from(tensors: Mapping[str, Tensor], *, source: str) -> Critic:
    """The critic with these tensors under DeOldify's names; messages call them ``source``."""
    if not is_critic(tensors):
        raise UserError(f"{source}: not a DeOldify critic{_what_else(tensors)}")
    width = tensors["0.0.weight_orig"].shape[0]
    convs = {int(name.split(".")[0]) for name in tensors if re.fullmatch(r"\d+\.0\.weight_orig", name)}
    with Unfilled():
        network = build_critic(width, doublings=(max(convs) - 3) // 3, attention="4.2.gamma" in tensors)
    assign(network, to_our_names(tensors, network, source=source, target=f"DeOldify's critic of width {width}"))
    return network.eval()


def save_generator(generator: UNet, path: str | Path) -> None:
    """Write ``generator`` in the format of the original DeOldify: same names, shapes, types and order.

    Raises:
        UserError: DeOldify cannot build its architecture, its weights are folded, or the file cannot be written.
    """
    _write(generator, path)


def save_critic(critic: Critic, path: str | Path) -> None:
    """Write ``critic`` in the format of the original DeOldify: same names, shapes, types and order.

    Raises:
        UserError: it is told a vividness, its weights are folded, or the file cannot be written.
    """
    _write(critic, path)


def load_weights(network: nn.Module, path: str | Path, *, setting: str = "model.init") -> None:
    """Load weights into ``network`` from a file: DeOldify's, an export, or a checkpoint of a run.

    Args:
        network: a generator or a critic of the same architecture.
        path: the file. Of a checkpoint with several networks, the part that fits is used.
        setting: the config key or flag that gave ``path``, for the messages.

    Raises:
        UserError: the file is missing or damaged, or a tensor is missing, unknown or of a wrong shape; the network is
            not changed.
    """
    tensors: Mapping[str, Tensor] = read_tensors(path, setting=setting)
    source, state = f"{setting}={path}", network.state_dict()
    kind = "critic" if isinstance(network, Critic) else "generator"
    target = f"the {kind} {network.config}"
    if is_generator(tensors) or is_critic(tensors):
        if is_critic(tensors) != isinstance(network, Critic):
            raise UserError(f"{source}: not a DeOldify {kind}{_what_else(tensors)}")
        if not isinstance(network, UNet | Critic):
            raise UserError(
                f"{source}: DeOldify's weights do not fit model.networks.{kind}, a {type(network).__name__}"
            )
        _check_expressible(network, source)
        tensors = to_our_names(tensors, network, source=source, target=target)
    else:
        expected = state if any(VIVIDNESS in name for name in tensors) else _without_vividness(state)
        tensors = _part(tensors, expected)
        check_fit(tensors, expected, source=source, target=target)
    network.load_state_dict({**state, **tensors})


def _without_vividness(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a file of a network without that knob holds; it fits one that has it."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(VIVIDNESS)}


def _part(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The part of ``tensors`` under the prefix that gives most of the ``expected`` names; all if there is none."""
    last = list(expected)[-1]
    prefixes = {name.removesuffix(last) for name in tensors if name == last or name.endswith(f".{last}")}
    if not prefixes:
        return tensors
    prefix = max(prefixes, key=lambda prefix: sum(f"{prefix}{name}" in tensors for name in expected))
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def is_generator(tensors: Mapping[str, Tensor]) -> bool:
    """Whether ``tensors`` are named as in a DeOldify generator."""
    return any(name.startswith("layers.0.") for name in tensors) and any(n.startswith("layers.10.") for n in tensors)


def is_critic(tensors: Mapping[str, Tensor]) -> bool:
    """Whether ``tensors`` are named as in a DeOldify critic."""
    return "0.0.weight_orig" in tensors


def to_our_names(
    tensors: Mapping[str, Tensor], network: UNet | Critic, *, source: str, target: str
) -> dict[str, Tensor]:
    """DeOldify's ``tensors`` under the names of ``network``, checked against its shapes.

    Raises:
        UserError: names the tensor that is missing, unknown or of a wrong shape.
    """
    names, state = OrderedDict(deoldify_names(network)), network.state_dict()
    check_fit(tensors, {theirs: state[ours] for theirs, ours in names.items()}, source=source, target=target)
    return {ours: tensors[theirs] for theirs, ours in names.items()}


def deoldify_names(network: UNet | Critic) -> Names:
    """Pairs (DeOldify's name, ours) of every tensor of ``network``'s state, in DeOldify's order."""
    return _critic_names(network) if isinstance(network, Critic) else _generator_names(network)


def _generator_names(network: UNet) -> Names:
    assert isinstance(network.encoder, TimmEncoder)
    for name in network.encoder.backbone.state_dict():
        child, rest = name.split(".", 1)
        yield f"layers.0.{_ENCODER_INDEX[child]}.{rest}", f"encoder.backbone.{name}"
    yield from _norm("layers.1", "bridge_norm")
    for index in range(2):
        yield from _conv_block(f"layers.3.{index}", f"middle.{index}")
    for index, block in enumerate(network.blocks):
        assert isinstance(block, UpBlock)
        theirs, ours = f"layers.{4 + index}", f"blocks.{index}"
        yield from _spectral(f"{theirs}.shuf.conv.0", f"{ours}.up.conv")
        yield from _norm(f"{theirs}.shuf.conv.1", f"{ours}.up.norm")
        yield from _norm(f"{theirs}.bn", f"{ours}.skip_norm")
        convs = ("conv1", "conv2") if len(block.convs) == 2 else ("conv",)
        for number, conv in enumerate(convs):
            yield from _conv_block(f"{theirs}.{conv}", f"{ours}.convs.{number}")
        if not isinstance(block.attention, nn.Identity):
            yield from _attention(f"{theirs}.{convs[-1]}.3", f"{ours}.attention")
    yield "layers.8.conv.0.bias", "final_up.conv.bias"
    yield from _pairs("layers.8.conv.0", "final_up.conv", _WEIGHT_NORM)
    for index in range(2):
        yield from _spectral(f"layers.10.layers.{index}.0", f"residual.conv{index + 1}", bias=True)
    yield from _spectral("layers.11.0", "head", bias=True)


def _critic_names(network: Critic) -> Names:
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, nn.Dropout2d):
            yield from _spectral(f"{index}.0", f"layers.{index}.conv", bias=True)
            if not isinstance(layer.attention, nn.Identity):
                yield from _attention(f"{index}.2", f"layers.{index}.attention")
    yield from _spectral(f"{len(network.layers)}.0", "head")


def _pairs(theirs: str, ours: str, suffixes: tuple[tuple[str, str], ...]) -> Names:
    return ((f"{theirs}.{their_suffix}", f"{ours}.{our_suffix}") for their_suffix, our_suffix in suffixes)


def _norm(theirs: str, ours: str) -> Names:
    return _pairs(theirs, ours, tuple(zip(_NORM, _NORM, strict=True)))


def _spectral(theirs: str, ours: str, *, bias: bool = False) -> Names:
    return _pairs(theirs, ours, ((("bias", "bias"),) if bias else ()) + _SPECTRAL)


def _conv_block(theirs: str, ours: str) -> Names:
    yield from _spectral(f"{theirs}.0", f"{ours}.conv")
    yield from _norm(f"{theirs}.2", f"{ours}.norm")


def _attention(theirs: str, ours: str) -> Names:
    yield f"{theirs}.gamma", f"{ours}.gamma"
    for layer in ("query", "key", "value"):
        yield from _spectral(f"{theirs}.{layer}", f"{ours}.{layer}")


def _recognize_generator(tensors: Mapping[str, Tensor]) -> tuple[dict, str]:
    """The config that the tensors' names imply, and a name for it; a single damaged tensor does not change it."""
    bottleneck = any(re.fullmatch(r"layers\.0\.4\.\d+\.conv3\.weight", name) for name in tensors)
    blocks = tuple(
        len({name.split(".")[3] for name in tensors if name.startswith(f"layers.0.{layer}.")}) for layer in range(4, 8)
    )
    kinds = {counts: name for (deep_blocks, counts), name in _RESNET_BLOCKS.items() if deep_blocks == bottleneck}
    nearest = min(kinds, key=lambda counts: sum(abs(a - b) for a, b in zip(counts, blocks, strict=True)))
    decoder = "deep" if any(".conv1.0." in name and not name.startswith("layers.0.") for name in tensors) else "wide"
    config = {
        "encoder": kinds[nearest],
        "decoder": decoder,
        "width": _decoder_width(tensors, decoder),
        "attention": any(name.endswith(".gamma") for name in tensors),
    }
    return config, f"DeOldify's {decoder} generator on a {config['encoder']}, width factor {config['width']}"


def _decoder_width(tensors: Mapping[str, Tensor], decoder: str) -> float:
    """The width factor of most blocks of the decoder; the published one where no block tells."""
    votes = []
    for index in range(4):
        weight = tensors.get(f"layers.{4 + index}.{'conv1' if decoder == 'deep' else 'conv'}.0.weight_orig")
        if weight is not None and weight.ndim == 4:
            last = index == 3
            base = weight.shape[1] // (2 if last else 1) if decoder == "deep" else (128 if last else 256)
            votes.append(weight.shape[0] / base)
    published = 1.5 if decoder == "deep" else 2
    return max({*votes, published}, key=lambda width: (votes.count(width), width == published))


def _what_else(tensors: Mapping[str, Tensor]) -> str:
    if is_generator(tensors):
        return "; it is a DeOldify generator"
    if is_critic(tensors):
        return "; it is a DeOldify critic"
    return f"; expected tensors such as layers.0.0.weight or 0.0.weight_orig, found {next(iter(tensors))}"


def _check_expressible(network: UNet | Critic, source: str) -> None:
    """Refuse a network that DeOldify's layout has no names for."""
    if not network.config.get("normalized_weights", True):
        raise UserError(
            f"{source}: spectral norm is folded into this network's weights; DeOldify's files store it separately"
        )
    encoder = network.config.get("encoder", "resnet34").removesuffix(".tv_in1k")
    if encoder not in TORCHVISION_RESNETS:
        raise UserError(
            f"{source}: DeOldify knows no encoder {encoder}; expected one of {', '.join(TORCHVISION_RESNETS)}"
        )


def _write(network: UNet | Critic, path: str | Path) -> None:
    _check_expressible(network, str(path))
    if network.vividness is not None:
        instead = ": give one, as --vividness 1" if isinstance(network, UNet) else ""
        raise UserError(f"{path}: DeOldify's networks have no knob for the vividness{instead}")
    state = network.state_dict()
    tensors = OrderedDict((theirs, state[ours].detach().cpu().contiguous()) for theirs, ours in deoldify_names(network))
    # By this version PyTorch's old spectral norm knows that weight_v is in the file.
    tensors._metadata = OrderedDict(  # type: ignore[attr-defined]  # where PyTorch keeps the versions of a state
        (name.removesuffix(".weight_orig"), {"version": 1, "spectral_norm": {"weight.version": 1}})
        for name in tensors
        if name.endswith(".weight_orig")
    )
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: torch.save(tensors, temporary))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
