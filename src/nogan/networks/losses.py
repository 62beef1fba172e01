"""The losses: of pixels and features against the photograph, and the adversarial ones.

All are computed in float32, also under autocast; a feature network itself runs in autocast's precision.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nogan.common.color import chroma, denormalize
from nogan.common.errors import UserError
from nogan.common.rng import derive_seed
from nogan.networks.encoders import Renormalize, create_timm, hub_error, pretrained_config, require_hub
from nogan.networks.movement import inside, move
from nogan.networks.weights import assign, check_fit, read_tensors

TORCHVISION = "torchvision/"
"""Prefix of feature networks from torchvision; the others are timm's."""


_INPLACE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Dropout)
"""Layers of torchvision's networks that may work in place."""


class FeatureLoss(nn.Module):
    """L1 of the pixels plus weighted L1 of a frozen classifier's features, as DeOldify's (after Johnson et al.).

    The feature network moves with the loss from device to device, but is not among its parameters and not in its state
    dict: it takes no gradient, stays in eval mode and is in no checkpoint.

    Args:
        network: a VGG by its plain name ("vgg16_bn"), any other timm network with a feature pyramid, a torchvision
            network as "torchvision/NAME", or None for the pixels alone.
        layers: which features: indices into ``features`` of a VGG or a torchvision network, levels of the pyramid of a
            timm network (0 is the shallowest).
        weights: weight of each layer's L1.
        pixel_weight: weight of the pixels' L1.
        rebalance: how much more a pixel counts that has color: with 1, one whose chroma in the photograph is 0.1 (the
            distance of U and V from gray, up to 0.6) counts twice as much as a gray one. Of what it is unsure of, L1
            makes the median, which is gray; this moves it towards the colors that things have.
        network_weights: file with the network's weights, in place of a download.
        pretrained: download weights where no file is given; False leaves them random.

    Raises:
        UserError: the network is unknown or has no such layers, or its weights cannot be read or do not fit.

    Sources: Johnson et al., "Perceptual losses for real-time style transfer and super-resolution", arXiv:1603.08155.
    That rare colors should count more: Zhang, Isola & Efros, "Colorful image colorization", arXiv:1603.08511.
    """

    def __init__(
        self,
        network: str | None = "vgg16_bn",
        layers: Sequence[int] = (22, 32, 42),
        weights: Sequence[float] = (20, 70, 10),
        pixel_weight: float = 1.0,
        network_weights: str | Path | None = None,
        pretrained: bool = True,
        rebalance: float = 0.0,
    ) -> None:
        super().__init__()
        self.pixel_weight, self.rebalance = pixel_weight, rebalance
        self.layers, self.weights = (tuple(layers), tuple(weights)) if network else ((), ())
        if len(self.layers) != len(self.weights):
            raise UserError(
                f"loss.weights={list(self.weights)}: expected one for each of loss.layers={list(self.layers)}"
            )
        if list(self.layers) != sorted(set(self.layers)):
            raise UserError(f"loss.layers={list(self.layers)}: expected different numbers in rising order")
        # In a list, so that it is not registered as a submodule.
        self._hidden: list[nn.Module] = []
        if network and self.layers:
            build = _sequential_features if check_feature_network(network) else _pyramid_features
            features = build(network, self.layers, network_weights, pretrained)
            self._hidden.append(features.eval().requires_grad_(False))

    @property
    def network(self) -> nn.Module | None:
        """The feature network, which gives the tapped features as a list; None where pixels alone count."""
        return self._hidden[0] if self._hidden else None

    def _apply(self, fn: Callable, recurse: bool = True) -> "FeatureLoss":
        for network in self._hidden:
            network._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of ``output`` against ``target``, both model space ``(B, 3, H, W)``.

        Returns:
            The total, and its weighted parts (detached): "pixel", and "feature_N" for each layer N.
        """
        terms = {"pixel": self.pixel_weight * self._pixels(output, target)}
        if self.network is not None:
            with torch.no_grad():
                wanted = self.network(target)
            found = self.network(output)
            for layer, weight, ours, theirs in zip(self.layers, self.weights, found, wanted, strict=True):
                terms[f"feature_{layer}"] = weight * _l1(ours, theirs)
        return reduce(add, terms.values()), {name: term.detach() for name, term in terms.items()}

    def _pixels(self, output: Tensor, target: Tensor) -> Tensor:
        if not self.rebalance:
            return _l1(output, target)
        weight = 1 + self.rebalance * chroma(denormalize(target.float())) / 0.1
        return (weight / weight.mean() * (output.float() - target.float()).abs()).mean()


def check_feature_network(network: str) -> bool:
    """Whether the features of ``network`` are a sequence of layers (True) or levels of a pyramid (False).

    Raises:
        UserError: the network is unknown.
    """
    if network.startswith(("vgg", TORCHVISION)):
        import torchvision

        if network.removeprefix(TORCHVISION) not in torchvision.models.list_models():
            version = torchvision.__version__
            raise UserError(f"loss.network={network}: torchvision {version} knows no network of this name")
        return True
    import timm

    if not timm.is_model(network):
        raise UserError(f"loss.network={network}: expected a VGG, torchvision/NAME, or a network of timm's")
    return False


def _l1(output: Tensor, target: Tensor) -> Tensor:
    return F.l1_loss(output.float(), target.float())


class _Taps(nn.Module):
    """A sequence of layers that returns the results of those in ``taps``, and ends with the last of them."""

    def __init__(self, layers: nn.Sequential, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = layers[: taps[-1] + 1]
        self.taps = taps
        for tap in taps[:-1]:
            following = self.layers[tap + 1]
            if isinstance(following, _INPLACE):  # it would overwrite the result before it
                following.inplace = False

    def forward(self, x: Tensor) -> list[Tensor]:
        results = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                results.append(x)
        return results


def _sequential_features(
    network: str, taps: tuple[int, ...], weights: str | Path | None, pretrained: bool
) -> nn.Module:
    """Layers of a torchvision network's ``features``; the weights of a VGG without prefix come from timm's hub."""
    import timm
    import torchvision

    name = network.removeprefix(TORCHVISION)
    with torch.device("meta"):
        layers = getattr(torchvision.models.get_model(name, weights=None), "features", None)
    if not isinstance(layers, nn.Sequential):
        raise UserError(f"loss.network={network}: has no sequence 'features' to take layers of; expected one like VGG")
    if not 0 <= taps[0] <= taps[-1] < len(layers):
        raise UserError(f"loss.layers={list(taps)}: {network} has features 0 … {len(layers) - 1}")
    features = _Taps(layers, taps)

    if weights is None and not pretrained:
        features.to_empty(device="cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("losses", "features"))
            for module in features.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
        return features
    if weights is not None:
        tensors = read_tensors(weights, setting="loss.network_weights")
    else:
        hub_id = pretrained_config(f"{name}.tv_in1k").hf_hub_id if network == name else None
        try:
            if hub_id:
                require_hub(hub_id)
                tensors = timm.models.load_state_dict_from_hf(hub_id, weights_only=True)
            else:
                tensors = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(progress=False)
        except Exception as error:  # the hub's client raises different types in each version
            wanted = (
                f"huggingface.co/{hub_id}, model.safetensors"
                if hub_id
                else torchvision.models.get_model_weights(name).DEFAULT.url
            )
            raise hub_error(
                network, wanted, "loss.network_weights", "loss.network=null (pixels alone)", error
            ) from error
    expected = {f"features.{key}": tensor for key, tensor in features.layers.state_dict().items()}
    used = {key: tensor for key, tensor in tensors.items() if key in expected}
    check_fit(used, expected, source=f"loss.network_weights={weights}", target=network)
    assign(features, {f"layers.{key.removeprefix('features.')}": tensor for key, tensor in used.items()})
    return features


def _pyramid_features(network: str, levels: tuple[int, ...], weights: str | Path | None, pretrained: bool) -> nn.Module:
    """Levels of a timm network's feature pyramid."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("losses", "features"))
            pyramid = create_timm(
                network,
                pretrained=pretrained,
                weights=weights,
                weights_setting="loss.network_weights",
                without="loss.network=null (pixels alone)",
                features_only=True,
                feature_cls="getter",  # the only one of timm's extractors that always ends with the last level
                out_indices=levels,
            )
    except (AssertionError, IndexError) as error:
        raise UserError(
            f"loss.layers={list(levels)}: {network} has no such levels in its feature pyramid; 0 is the shallowest"
        ) from error
    return nn.Sequential(Renormalize.for_timm(pyramid), pyramid)


def adversarial_loss(logits: Tensor, is_real: bool | Tensor) -> Tensor:
    """Binary cross-entropy of the critic's logits ``(B, N)``, the target expanded to every patch.

    Args:
        logits: ``(B, N)``, high for "real".
        is_real: the target of all images, or ``(B,)`` with one for each.
    """
    logits = logits.float()
    if isinstance(is_real, Tensor):
        target = is_real.to(logits).view(-1, 1).expand_as(logits)
    else:
        target = torch.full_like(logits, is_real)
    return F.binary_cross_entropy_with_logits(logits, target)


def generator_adversarial_loss(fake_logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """BCE(D(G(x)), 1): low where the critic takes the generator's pictures for photographs.

    Args:
        fake_logits: ``(B, N)``.
        weights: ``(B,)``, how much the judgment of each picture counts; all count in full by default.
    """
    if weights is None:
        return adversarial_loss(fake_logits, True)
    return (weights.float() * F.softplus(-fake_logits.float()).mean(dim=1)).mean()


def consistency_loss(outputs: Tensor, moved_outputs: Tensor, movement: Tensor, weights: Tensor | None = None) -> Tensor:
    """L1 between the outputs for moved, noisy inputs and the moved outputs: what keeps film from flickering.

    Args:
        outputs: model space ``(B, 3, H, W)``, for the inputs as they are.
        moved_outputs: of the same shape, for the moved inputs.
        movement: ``(B, 2, 3)``: see :mod:`nogan.networks.movement`. Pixels from outside the picture do not count.
        weights: ``(B,)``, of each picture; all count in full by default.

    Source: Eilertsen, Mantiuk & Unger, "Single-frame regularization for temporally stable CNNs", arXiv:1902.10424.
    """
    counted = inside(movement.float(), (outputs.shape[-2], outputs.shape[-1])).to(outputs.device)
    difference = (moved_outputs.float() - move(outputs.float(), movement)).abs().mean(dim=1, keepdim=True)
    of_each = (counted * difference).sum(dim=(1, 2, 3)) / counted.sum(dim=(1, 2, 3)).clamp(min=1)
    return (of_each if weights is None else weights.float() * of_each).mean()


def critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½ [BCE(D(y), 1) + BCE(D(G(x)), 0)]; a critic that guesses has 0.693."""
    return (adversarial_loss(real_logits, True) + adversarial_loss(fake_logits, False)) / 2


def critic_pretrain_loss(logits: Tensor, is_real: Tensor) -> Tensor:
    """BCE of a mixed batch: logits ``(B, N)``, ``is_real`` ``(B,)`` with 1 for a photograph and 0 for a fake."""
    return adversarial_loss(logits, is_real)
