"""Builds the generator and the critic from a config, and says which of their parameters train."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nogan.common.errors import UserError
from nogan.common.rng import derive_seed
from nogan.networks.blocks import fold_spectral_norm
from nogan.networks.critic import Critic
from nogan.networks.encoders import build_encoder
from nogan.networks.unet import UNet

DECODERS = ("deep", "wide")


def build_generator(
    encoder: str = "resnet34",
    decoder: str = "deep",
    width: float = 1.5,
    *,
    pretrained: bool = True,
    encoder_weights: str | Path | None = None,
    attention: bool = True,
    normalized_weights: bool = True,
    vividness: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> UNet:
    """A generator: model space ``(B, 3, H, W)`` (gray, on three channels) to model space, any H and W from 32 px up.

    DeOldify's artistic network is ``("resnet34", "deep", 1.5)``, its stable and video one ``("resnet101", "wide", 2)``.

    Args:
        encoder: "tiny" (ours, trained from scratch), or the name of a timm backbone with a feature pyramid, with or
            without its tag: "resnet34.tv_in1k".
        decoder: "deep" or "wide".
        width: factor on the decoder's width.
        pretrained: start the encoder from ImageNet weights, through timm's hub. The tiny encoder has none.
        encoder_weights: file with the encoder's weights, in place of the hub.
        attention: self-attention at an eighth of the size.
        normalized_weights: spectral and weight norm; False gives the layout of :func:`fold_spectral_norm`.
        vividness: for a network with that knob, ``hidden`` and ``rate`` of
            :class:`~nogan.networks.vividness.Vividness`.
        seed: seeds the initial weights. The global generator is left as it was.

    Raises:
        UserError: unknown encoder or decoder, weights that cannot be had or do not fit.
    """
    if decoder not in DECODERS:
        raise UserError(f"model.decoder={decoder}: expected one of {', '.join(DECODERS)}")
    if not width > 0:
        raise UserError(f"model.width={width}: expected a number above 0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("networks", "generator", seed))
        network = UNet(
            build_encoder(encoder, pretrained=pretrained, weights=encoder_weights),
            decoder=decoder,
            width=width,
            attention=attention,
            vividness=vividness,
        )
    network.config = {"encoder": encoder, "decoder": decoder, "width": width, "attention": attention}
    if vividness is not None:
        network.config["vividness"] = dict(vividness)
    return network if normalized_weights else fold_spectral_norm(network).train()


def at_vividness(network: UNet, vividness: float) -> UNet:
    """The generator that ``network`` is at one ``vividness`` in [0, 1]: one without the knob, and of the same results.

    Exact, since a change of normalized features is a change of the normalization's own scale and shift. A network
    without the knob is returned as it is; else the result is a copy.

    Raises:
        UserError: the vividness is out of range.
    """
    if not 0 <= vividness <= 1:
        raise UserError(f"--vividness {vividness:g}: expected a number from 0 (steady) to 1 (vivid)")
    if network.vividness is None:
        return network
    plain = copy.deepcopy(network)
    assert plain.vividness is not None
    with torch.no_grad():
        for norm, change in zip(plain.changeable, plain.vividness(torch.tensor([float(vividness)])), strict=True):
            scale, shift = change.scale.flatten(), change.shift.flatten()
            norm.weight.add_(norm.weight * scale)
            norm.bias.add_(norm.bias * scale + shift)
    plain.vividness = None
    plain.config = {key: value for key, value in network.config.items() if key != "vividness"}
    return plain


def build_critic(
    width: int = 256,
    *,
    doublings: int = 3,
    dropout: float = 0.15,
    attention: bool = True,
    normalized_weights: bool = True,
    vividness: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Critic:
    """A critic: model space ``(B, 3, H, W)`` to logits ``(B, N)``, one for each patch; DeOldify's by default.

    Args:
        width: channels after the first convolution.
        doublings: how often the size is halved and the width doubled; the smallest image is 2^(doublings + 3) px.
        dropout: probability that a channel is dropped (half of it after the first convolution).
        attention: self-attention after the first doubling.
        normalized_weights: spectral norm; False gives the layout of :func:`fold_spectral_norm`.
        vividness: for a critic that is told the vividness, as in :func:`build_generator`.
        seed: seeds the initial weights. The global generator is left as it was.

    Raises:
        UserError: a value out of range.
    """
    if width < 1 or doublings < 1:
        raise UserError(f"model.critic: width={width}, doublings={doublings}: expected whole numbers of 1 and above")
    if not 0 <= dropout < 1:
        raise UserError(f"model.critic.dropout={dropout}: expected a number from 0 to below 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("networks", "critic", seed))
        network = Critic(width, doublings=doublings, dropout=dropout, attention=attention, vividness=vividness)
    network.config = {"width": width, "doublings": doublings, "dropout": dropout, "attention": attention}
    if vividness is not None:
        network.config["vividness"] = dict(vividness)
    return network if normalized_weights else fold_spectral_norm(network).train()


def layer_groups(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
    """The modules of a generator that get the first, second and third learning rate of a phase.

    A network that does not divide itself (``layer_groups()``) trains as a whole, at the third.
    """
    divide = getattr(network, "layer_groups", None)
    return divide() if callable(divide) else ([], [], [network])


def trainable_parameters(network: nn.Module, part: str = "all") -> dict[str, nn.Parameter]:
    """Named parameters that train.

    Args:
        network: a generator or a critic.
        part: "all", or, of a generator, "decoder": everything after the encoder, and the encoder's normalization
            layers, which the NoGAN recipe trains (and keeps in train mode) while the encoder is frozen.
    """
    named = dict(network.named_parameters())
    if part == "all":
        return named
    if part != "decoder" or isinstance(network, Critic):
        raise ValueError(f"part={part!r}: expected 'all', or 'decoder' of a generator")
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):  # one of the user's own, without an encoder to freeze
        return named
    norms = {
        id(parameter)
        for module in encoder.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm)
        for parameter in module.parameters(recurse=False)
    }
    frozen = {id(parameter) for parameter in encoder.parameters()} - norms
    return {name: parameter for name, parameter in named.items() if id(parameter) not in frozen}
