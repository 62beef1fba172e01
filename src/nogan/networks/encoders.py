"""Encoders: image classifiers without their heads, as pyramids of features.

An :class:`Encoder` turns model space ``(B, 3, H, W)`` into a list of features, shallowest first, each half the size of
the one before.
"""

import contextlib
import difflib
import inspect
import logging
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nogan.common.color import IMAGENET_MEAN, IMAGENET_STD
from nogan.common.errors import UserError
from nogan.networks.blocks import halved
from nogan.networks.weights import check_fit, read_tensors

if TYPE_CHECKING:
    from timm.models import FeatureInfo, PretrainedCfg

TINY_CHANNELS = (16, 32, 48, 80)
"""Channels of the tiny encoder at reductions 2, 4, 8, 16."""

TORCHVISION_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
"""These take torchvision's weights, as DeOldify does, where their name has no tag; timm's default is another."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of the files that timm looks for on the hub."""

HUB_TIMEOUT = 10.0
"""Seconds to wait for an answer of the hub."""

GROUP_REDUCTION = 8
"""Reduction of the feature that ends the encoder's first layer group (a ResNet's layer2)."""


class Encoder(nn.Module):
    """Base of the encoders.

    Attributes:
        channels: of each feature, shallowest first.
        reductions: by how much each feature is smaller than the image; each is twice the one before.
    """

    channels: tuple[int, ...]
    reductions: tuple[int, ...]


class TinyEncoder(Encoder):
    """Four stages of two 3x3 convolutions, the first of which halves the size; trains from scratch on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = TINY_CHANNELS
        self.reductions = (2, 4, 8, 16)
        inputs = (3, *TINY_CHANNELS[:-1])
        self.stages = nn.ModuleList(_tiny_stage(i, o) for i, o in zip(inputs, TINY_CHANNELS, strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at reductions 2, 4, 8 and 16."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _tiny_stage(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, stride in ((in_channels, 2), (out_channels, 1)):
        conv = nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight)
        layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class TimmEncoder(Encoder):
    """Any timm backbone with a feature pyramid.

    Model space is converted to the backbone's own input statistics.

    Args:
        name: of the backbone, for messages.
        backbone: from timm, with ``features_only``.
        pad: pad images to a multiple of the deepest reduction, and crop the features. A ResNet takes any size without
            padding, and so gives DeOldify's numbers.

    Raises:
        UserError: its features are not a pyramid in which each is half the size of the one before.
    """

    def __init__(self, name: str, backbone: nn.Module, *, pad: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.pad = pad
        info = _feature_info(backbone)
        kept = [index for index, reduction in enumerate(info.reduction()) if reduction > 1]
        self.skipped = len(info.reduction()) - len(kept)
        self.channels = tuple(info.channels()[index] for index in kept)
        self.reductions = tuple(info.reduction()[index] for index in kept)
        doubled = tuple(2 * reduction for reduction in self.reductions[:-1])
        if len(kept) < 3 or doubled != self.reductions[1:]:
            raise UserError(
                f"model.encoder={name}: its features stand at reductions {self.reductions}; expected a pyramid, each "
                "half the size of the one before (resnet34.tv_in1k, convnext_tiny, pvt_v2_b1, …)"
            )
        self.channels_last = str(getattr(backbone, "output_fmt", "NCHW")).endswith("NHWC")
        self.renormalize = Renormalize.for_timm(backbone)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features from reduction 2 or 4 on, each of height ceil(H / reduction) and width ceil(W / reduction)."""
        height, width = x.shape[-2:]
        if self.pad:
            multiple = self.reductions[-1]
            x = F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        features = self.backbone(self.renormalize(x))[self.skipped :]
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        if self.pad:
            sizes = [halved((height, width), reduction) for reduction in self.reductions]
            features = [feature[..., :h, :w] for feature, (h, w) in zip(features, sizes, strict=True)]
        return features


class Renormalize(nn.Module):
    """From model space to another network's input statistics."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        our_mean, our_std, their_mean, their_std = (
            torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD, mean, std)
        )
        self.register_buffer("scale", our_std / their_std, persistent=False)
        self.register_buffer("shift", (our_mean - their_mean) / their_std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Model space ``(B, 3, H, W)`` in, the other network's space out."""
        return x * self.scale + self.shift

    @classmethod
    def for_timm(cls, network: nn.Module) -> nn.Module:
        """The conversion for a timm network; the identity where that takes ImageNet's statistics."""
        config = network.pretrained_cfg
        assert isinstance(config, Mapping)
        mean, std = tuple(config["mean"]), tuple(config["std"])
        return nn.Identity() if (mean, std) == (IMAGENET_MEAN, IMAGENET_STD) else cls(mean, std)


def build_encoder(name: str, *, pretrained: bool = True, weights: str | Path | None = None) -> Encoder:
    """Build the encoder called ``name``.

    Args:
        name: ``model.encoder``: "tiny", or a timm backbone, with or without its tag.
        pretrained: take ImageNet weights from timm's hub (the tiny encoder has none).
        weights: a file with them, in timm's or torchvision's format, ``.pth`` or ``.safetensors``.

    Raises:
        UserError: it is unknown, has no pyramid, or takes one image size only; or the weights cannot be read or do not
            fit.
    """
    if name == "tiny":
        if weights is not None:
            raise UserError(f"model.encoder_weights={weights}: the tiny encoder has no pretrained weights; omit it")
        return TinyEncoder()
    fixed_size = check_encoder(name)
    tagged = _tagged(name)
    options = _free_size_options(tagged) if fixed_size else {}
    try:
        backbone = create_timm(
            tagged,
            pretrained=pretrained,
            weights=weights,
            weights_setting="model.encoder_weights",
            without="model.pretrained=false",
            features_only=True,
            **options,
        )
        encoder = TimmEncoder(name, backbone, pad=not name.startswith("resnet"))
    except (AttributeError, NotImplementedError, AssertionError) as error:
        raise UserError(f"model.encoder={name}: timm offers no feature pyramid of it ({error})") from error
    if encoder.pad:
        _check_free_size(name, encoder)
    return encoder


def check_encoder(name: str) -> bool:
    """Whether the backbone called ``name`` is made for one image size.

    Raises:
        UserError: :func:`build_encoder` does not know the name; gives similar ones.
    """
    if name == "tiny":
        return False
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=5, cutoff=0.7)
        hint = f"; close: {', '.join(close)}" if close else ""
        raise UserError(f"model.encoder={name}: expected 'tiny' or a backbone that timm {timm.__version__} knows{hint}")
    try:
        return bool(pretrained_config(_tagged(name)).fixed_input_size)
    except RuntimeError as error:
        known = ", ".join(timm.list_pretrained(f"{name.split('.')[0]}.*")) or "none with weights"
        raise UserError(f"model.encoder={name}: timm {timm.__version__} has no such tag, but {known}") from error


def pretrained_config(name: str) -> "PretrainedCfg":
    """timm's description of the weights of ``name``; an empty one where it has none."""
    import timm
    from timm.models import PretrainedCfg

    return timm.get_pretrained_cfg(name) or PretrainedCfg()


def _feature_info(backbone: nn.Module) -> "FeatureInfo":
    from timm.models import FeatureInfo

    info = backbone.feature_info
    assert isinstance(info, FeatureInfo)
    return info


def _tagged(name: str) -> str:
    return f"{name}.tv_in1k" if name in TORCHVISION_RESNETS else name


def _free_size_options(name: str) -> dict[str, bool]:
    """The option that lets a backbone of fixed image size take any size, if it has one (as swin has)."""
    import timm

    module = sys.modules[timm.model_entrypoint(name.split(".")[0]).__module__]
    classes = [
        member for member in vars(module).values() if inspect.isclass(member) and member.__module__ == module.__name__
    ]
    accepted = {parameter for member in classes for parameter in inspect.signature(member).parameters}
    return {option: value for option, value in (("strict_img_size", False),) if option in accepted}


def _check_free_size(name: str, encoder: Encoder) -> None:
    encoder.eval()
    try:
        with torch.no_grad():
            encoder(torch.zeros(1, 3, 96, 64))
    except Exception as error:
        raise UserError(
            f"model.encoder={name}: cannot take images of any size from 64 px up ({error}); choose another backbone"
        ) from error
    finally:
        encoder.train()


def create_timm(
    name: str,
    *,
    pretrained: bool,
    weights: str | Path | None,
    weights_setting: str,
    without: str,
    **options: Any,
) -> nn.Module:
    """``timm.create_model`` with weights from the hub or from a file, and errors that tell what to do.

    Args:
        name: the timm model, with or without its tag.
        pretrained: take weights from the hub, if no file is given.
        weights: file with weights in timm's or torchvision's format.
        weights_setting: the config key that names ``weights``.
        without: the setting with which no pretrained weights are needed.
        options: for ``timm.create_model``.

    Raises:
        UserError: the hub cannot be reached or has no such file, or the file does not fit.
    """
    import timm

    if weights is not None:
        tensors = fit_to_timm(
            read_tensors(weights, setting=weights_setting), name, source=f"{weights_setting}={weights}"
        )
        with _no_warnings_of_unused_tensors():
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors}, **options)
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    try:
        require_hub(pretrained_config(name).hf_hub_id)
        with _no_warnings_of_unused_tensors():
            return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's client raises different types in each version
        config = pretrained_config(name)
        wanted = str(config.url or "timm offers none")
        if config.hf_hub_id:
            wanted = f"huggingface.co/{config.hf_hub_id}, model.safetensors"
        raise hub_error(name, wanted, weights_setting, without, error) from error


@contextlib.contextmanager
def _no_warnings_of_unused_tensors() -> Iterator[None]:
    """Silence timm's warnings about the last layers of a classifier, which a pyramid does not use."""
    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def require_hub(hub_id: str | None) -> None:
    """Fail at once where the hub cannot be reached; its client would try for a minute.

    Raises:
        OSError: the hub cannot be reached, and its files of ``hub_id`` are not in the cache.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    endpoint = urllib.parse.urlsplit(constants.ENDPOINT)
    if hub_id is None or constants.HF_HUB_OFFLINE or endpoint.scheme in urllib.request.getproxies():
        return  # not from the hub, offline, or through a proxy, which cannot be tried here
    if not any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in HUB_FILES):
        port = endpoint.port or {"http": 80}.get(endpoint.scheme, 443)
        socket.create_connection((endpoint.hostname, port), timeout=HUB_TIMEOUT).close()


def hub_error(name: str, wanted: str, setting: str, without: str, error: Exception) -> UserError:
    """The error for weights of ``name`` that could not be downloaded, with two ways out of it."""
    reason = (str(error).strip().splitlines() or [""])[0][:120]
    return UserError(
        f"pretrained weights of {name} ({wanted}) could not be downloaded: {type(error).__name__}: {reason}\n"
        f"Fetch the file elsewhere and set {setting}=FILE, or do without: {without}"
    )


def fit_to_timm(tensors: Mapping[str, Tensor], name: str, *, source: str) -> dict[str, Tensor]:
    """Tensors of a checkpoint of timm, torchvision or the original repository, under timm's names.

    Where names do not fit, tensors are matched in the order of the layers, by kind and shape, which torchvision's
    checkpoints need.

    Raises:
        UserError: names the first tensor that does not fit.
    """
    import timm

    with torch.device("meta"):  # names and shapes only
        model = timm.create_model(name, pretrained=False, num_classes=0)
    needed = {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    candidates = [dict(tensors)]
    if convert is not None:
        # It raises these on what is not in the format of the backbone's original repository.
        with contextlib.suppress(LookupError, RuntimeError, AttributeError, TypeError, ValueError):
            candidates.append(convert(dict(tensors), model))
    candidates.append(_renamed_in_order(tensors, model.state_dict()))
    for candidate in candidates:
        if all(key in candidate and candidate[key].shape == tensor.shape for key, tensor in needed.items()):
            return candidate
    known = {key: tensor for key, tensor in tensors.items() if key in needed}
    check_fit(known, needed, source=source, target=f"the encoder {name}")
    raise AssertionError("unreachable: check_fit raises where no candidate fits")


def _renamed_in_order(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` under the names of ``state`` where their layers agree one by one in kind and shape; else {}.

    The order is that of the file, or that of the numbers of the layers, because ``.safetensors`` sorts by name.
    """
    headless = {
        name: tensor for name, tensor in tensors.items() if name.split(".")[0] not in ("classifier", "fc", "head")
    }
    ours, theirs = _layers(state), _layers(headless)
    for order in (list(theirs), sorted(theirs, key=_by_number)):
        renamed = {
            f"{our_layer}.{kind}": theirs[their_layer][kind]
            for (our_layer, kinds), their_layer in zip(ours.items(), order, strict=False)
            for kind in kinds
            if kind in theirs[their_layer]
        }
        if all(name in renamed and renamed[name].shape == tensor.shape for name, tensor in state.items()):
            return renamed
    return {}


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """``{"a.weight": x, "a.bias": y}`` as ``{"a": {"weight": x, "bias": y}}``."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        layers.setdefault(layer, {})[kind] = tensor
    return layers


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split(".")]


def encoder_groups(encoder: Encoder) -> tuple[list[nn.Module], list[nn.Module]]:
    """The encoder's modules in two lists: those that the feature at reduction 8 depends on, and the rest.

    A backward pass on the meta device, which computes no numbers, finds them, in any architecture of timm.
    """
    index = max(i for i, reduction in enumerate(encoder.reductions) if reduction <= GROUP_REDUCTION)
    parameters = {
        name: torch.empty_like(parameter, device="meta", requires_grad=True)
        for name, parameter in encoder.named_parameters()
    }
    buffers = {name: torch.empty_like(buffer, device="meta") for name, buffer in encoder.named_buffers()}
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        x = torch.empty(2, 3, 128, 128, device="meta")
        feature = torch.func.functional_call(encoder, parameters | buffers, (x,))[index]
        gradients = torch.autograd.grad(feature.sum(), list(parameters.values()), allow_unused=True)
    shallow = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    groups: tuple[list[nn.Module], list[nn.Module]] = ([], [])
    _split(encoder, "", shallow, groups)
    return groups


def _split(module: nn.Module, prefix: str, shallow: set[str], groups: tuple[list[nn.Module], list[nn.Module]]) -> None:
    """Add ``module`` to one of ``groups`` if all of its parameters belong there, else its children one by one."""
    sides = {f"{prefix}{name}" in shallow for name, _ in module.named_parameters()}
    if len(sides) == 1:
        groups[0 if True in sides else 1].append(module)
    elif sides:
        for name, parameter in module.named_parameters(recurse=False):
            groups[0 if f"{prefix}{name}" in shallow else 1].append(nn.ParameterList([parameter]))
        for name, child in module.named_children():
            _split(child, f"{prefix}{name}.", shallow, groups)
