"""Color spaces and the two ranges that images take: RGB in [0, 1], and ImageNet-normalized RGB ("model space").

Outside the networks an image is an RGB tensor ``(..., 3, H, W)`` in [0, 1]. Networks and losses work in model space;
:func:`normalize` and :func:`denormalize` convert between the two.
"""

from functools import lru_cache

import torch
from torch import Tensor

from nogan.common.ycbcr import REC601

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LUMA_WEIGHTS = tuple(REC601)  # plain numbers, which torch.compile can trace


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    make = _constant.__wrapped__ if torch.compiler.is_compiling() else _constant  # a traced tensor must not be cached
    return make(values, like.dtype, like.device)


@lru_cache
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cached for each device, because a copy to a GPU waits until the GPU is idle."""
    with torch.inference_mode(False):  # the cached tensor must work under autograd, too
        return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


def normalize(rgb: Tensor) -> Tensor:
    """RGB ``(..., 3, H, W)`` in [0, 1] to model space."""
    return (rgb - _channels(IMAGENET_MEAN, rgb)) / _channels(IMAGENET_STD, rgb)


def denormalize(x: Tensor) -> Tensor:
    """Model space ``(..., 3, H, W)`` to RGB; not clamped, and outside [0, 1] where the network left the gamut."""
    return x * _channels(IMAGENET_STD, x) + _channels(IMAGENET_MEAN, x)


def luma(rgb: Tensor) -> Tensor:
    """Rec. 601 luma ``(..., 1, H, W)`` of RGB ``(..., 3, H, W)``, in the range of the input."""
    return (rgb * _channels(_LUMA_WEIGHTS, rgb)).sum(dim=-3, keepdim=True)


def chroma(rgb: Tensor) -> Tensor:
    """Rec. 601 chroma ``(..., 1, H, W)`` of RGB ``(..., 3, H, W)`` in [0, 1]: U and V's distance from gray, to 0.63."""
    y = luma(rgb)
    return torch.hypot(0.492 * (rgb[..., 2:3, :, :] - y), 0.877 * (rgb[..., 0:1, :, :] - y))


def to_gray(rgb: Tensor) -> Tensor:
    """Rec. 601 luma of RGB, repeated in three channels: the generator's input."""
    return luma(rgb).expand_as(rgb)
