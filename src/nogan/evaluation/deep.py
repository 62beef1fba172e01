"""Measures by networks that others have trained: FID by Inception, LPIPS by AlexNet.

Their weights are loaded by the libraries that define them (torchvision, torch-fidelity, torchmetrics), which download
them once, or come from files of the user's. Where neither works, :class:`Unavailable` says why and what to do, and the
other measures are taken without them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nogan.common.errors import UserError
from nogan.evaluation.metrics import frechet_distance

InceptionKind = Literal["fidelity", "deoldify", "ddcolor"]

FEATURES = 2048
"""Numbers that Inception gives for a picture, after its last average pooling."""

INCEPTION_SIDE = 299
"""Side in px of the pictures that Inception sees."""

LPIPS_LEAST_SIDE = 32
"""Side in px below which AlexNet's layers have nothing left to look at."""

SAID = {
    "fidelity": "Inception of the original FID (2015-12-05) by torch-fidelity, which resizes as TensorFlow 1 did",
    "deoldify": "Inception of the original FID (2015-12-05), bicubic to 299 px by OpenCV, values from -1 to 1",
    "ddcolor": "torchvision's Inception v3 (IMAGENET1K_V1), bilinear to 299 px without antialiasing, DDColor's scaling",
}
"""Which network and preprocessing each kind of FID has, in words."""

_FIDELITY_LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HUB_FILES = {
    "fidelity": "pt_inception-2015-12-05-6726825d.pth, as pytorch-fid and torch-fidelity publish it",
    "deoldify": "pt_inception-2015-12-05-6726825d.pth, as pytorch-fid and torch-fidelity publish it",
    "ddcolor": "torchvision's inception_v3_google-0cc3c7bd.pth",
}


class Unavailable(Exception):
    """A measure cannot be taken here; the message says why and what to do."""


@dataclass(frozen=True)
class Deep:
    """A measure's network.

    Attributes:
        run: of Inception: uint8 ``(B, 3, H, W)`` to features ``(B, 2048)``; of LPIPS: two RGB batches in [0, 1] to
            distances ``(B,)``.
        fingerprint: changes with the weights.
    """

    run: Callable[..., Tensor]
    fingerprint: str


def inception(kind: InceptionKind, weights: Path | None, device: str) -> Deep:
    """The features that FID compares.

    - ``fidelity``: torch-fidelity's network and preprocessing, which reproduce the original FID of Heusel et al. 2017.
    - ``deoldify``: the same weights; OpenCV's bicubic resize and values from -1 to 1, as in ``fid/fid_score.py`` of
      https://github.com/jantic/DeOldify.
    - ``ddcolor``: torchvision's Inception v3 with ImageNet weights; the values x in [0, 1] of the picture, bilinearly
      resized, enter as (x + 1) / 2 where ImageNet's normalization would have x, and then rescaled to the network's own
      range, as in ``basicsr/metrics/custom_fid.py`` of https://github.com/piddnad/DDColor.

    Raises:
        Unavailable: a library or the weights are missing.
        UserError: ``weights`` holds something else.
    """
    with _weights_of("--inception-weights", weights, _HUB_FILES[kind]):
        network = _torchvision_inception(weights) if kind == "ddcolor" else _fidelity_inception(weights)
    network = network.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        images = images.to(device)
        match kind:
            case "ddcolor":
                found = network(_as_ddcolor(images))
            case "deoldify":
                found = _through(network, _FIDELITY_LAYERS, _as_deoldify(images))
            case "fidelity":
                found = network(images)[0]
        return found.float().flatten(1)

    return Deep(features, f"{kind} {_digest(weights)}")


def _fidelity_inception(weights: Path | None) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise Unavailable('FID needs torch-fidelity: pip install -e ".[evaluate]"') from error
    path = None if weights is None else str(weights)
    return FeatureExtractorInceptionV3("inception-v3-compat", [str(FEATURES)], feature_extractor_weights_path=path)


def _torchvision_inception(weights: Path | None) -> nn.Module:
    from torchvision.models import Inception_V3_Weights, inception_v3

    if weights is None:
        network = inception_v3(weights=Inception_V3_Weights.IMAGENET1K_V1)
    else:
        network = inception_v3(weights=None, init_weights=False)
        network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    network.transform_input = False  # which the library's weights turn on: the caller scales
    network.fc = nn.Identity()
    return network


def _through(network: nn.Module, layers: Sequence[str], x: Tensor) -> Tensor:
    for name in layers:
        x = getattr(network, name)(x)
    return x


def _as_deoldify(images: Tensor) -> Tensor:
    import cv2

    side = (INCEPTION_SIDE, INCEPTION_SIDE)
    resized = [
        cv2.resize(np.ascontiguousarray(image), side, interpolation=cv2.INTER_CUBIC)
        for image in images.permute(0, 2, 3, 1).cpu().numpy()
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(images.device).float() / 255 * 2 - 1


def _as_ddcolor(images: Tensor) -> Tensor:
    x = F.interpolate(images.float() / 255, size=(INCEPTION_SIDE, INCEPTION_SIDE), mode="bilinear") * 0.5 + 0.5
    mean, std = (x.new_tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD))
    return x * (std / 0.5) + (mean - 0.5) / 0.5


def lpips(weights: Path | None, device: str) -> Deep:
    """LPIPS (Zhang et al. 2018, arXiv:1801.03924), version 0.1 with AlexNet, by torchmetrics.

    Args:
        weights: torchvision's file of AlexNet; None to let torchvision load it. The linear layers come with
            torchmetrics.
        device: to run on.

    Raises:
        Unavailable: the weights are missing.
        UserError: ``weights`` holds something else.
    """
    from torchmetrics.functional.image.lpips import _NoTrainLpips  # its public class takes no file

    with _weights_of("--lpips-weights", weights, "torchvision's alexnet-owt-7be5be79.pth"):
        network = _NoTrainLpips(net="alex", pnet_rand=weights is not None)
        if weights is not None:
            state = torch.load(weights, weights_only=True, map_location="cpu")
            for piece in network.net.children():
                piece.load_state_dict({key: state[f"features.{key}"] for key in piece.state_dict()})
    network = network.to(device).requires_grad_(False)

    @torch.inference_mode()
    def distance(output: Tensor, truth: Tensor) -> Tensor:
        if min(output.shape[-2:]) < LPIPS_LEAST_SIDE:
            return output.new_full((len(output),), torch.nan)
        return network(output.to(device), truth.to(device), normalize=True).flatten()

    return Deep(distance, f"alex {_digest(weights)}")


@contextmanager
def _weights_of(flag: str, weights: Path | None, expected: str) -> Iterator[None]:
    """Turn what goes wrong with weights into words."""
    if weights is not None and not weights.is_file():
        raise UserError(f"{flag} {weights}: no such file; expected {expected}")
    try:
        yield
    except (Unavailable, UserError):
        raise
    except Exception as error:  # no network, a proxy, a full disk; or, of a file, whatever a decoder raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if weights is not None:
            raise UserError(f"{flag} {weights}: not the weights expected ({reason}); expected {expected}") from error
        raise Unavailable(
            f"its weights could not be loaded ({reason}): give them by {flag} FILE, {expected}"
        ) from error


def _digest(weights: Path | None) -> str:
    if weights is None:
        return "library"
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class InceptionFrechet:
    """The features of one set of pictures, summed up in constant memory, and FID to another set.

    The squared Fréchet distance of Gaussians fitted to the features of either set, with covariances of the sample
    (divided by N - 1): Heusel et al., "GANs trained by a two time-scale update rule", 2017.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | float = 0.0
        self._outer: Tensor | float = 0.0

    def update(self, features: np.ndarray) -> None:
        """Add features ``(N, D)``."""
        rows = torch.from_numpy(features).double()
        self.count += len(rows)
        self._sum = self._sum + rows.sum(0)
        self._outer = self._outer + rows.T @ rows

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance, of at least two pictures."""
        mean = torch.as_tensor(self._sum / self.count)
        return mean, (self._outer - self.count * torch.outer(mean, mean)) / (self.count - 1)

    def distance(self, other: "InceptionFrechet") -> float:
        """FID to another set."""
        return frechet_distance(*self.gaussian(), *other.gaussian())
