"""Color spaces and the two ranges that images take: RGB in [0, 1], and ImageNet-normalized RGB ("model space").

Outside the networks an image is an RGB tensor ``(..., 3, H, W)`` in [0, 1]. Networks, losses and the critic speak model
space; :func:`normalize` and :func:`denormalize` are the only doors between the two.
"""

from functools import lru_cache

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
REC601_LUMA = (0.299, 0.587, 0.114)


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    make = _constant.__wrapped__ if torch.compiler.is_compiling() else _constant  # a traced tensor must not be kept
    return make(values, like.dtype, like.device)


@lru_cache
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once for each device: putting it there waits for all that a GPU still has to do."""
    with torch.inference_mode(False):  # autograd is to take it, whoever asked first
        return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


def normalize(rgb: Tensor) -> Tensor:
    """RGB ``(..., 3, H, W)`` in [0, 1] to model space."""
    return (rgb - _channels(IMAGENET_MEAN, rgb)) / _channels(IMAGENET_STD, rgb)


def denormalize(x: Tensor) -> Tensor:
    """Model space ``(..., 3, H, W)`` to RGB; in [0, 1] where the network stayed in gamut (clamp where that matters)."""
    return x * _channels(IMAGENET_STD, x) + _channels(IMAGENET_MEAN, x)


def luma(rgb: Tensor) -> Tensor:
    """Rec. 601 luma ``(..., 1, H, W)`` of RGB ``(..., 3, H, W)``, in the range of the input."""
    return (rgb * _channels(REC601_LUMA, rgb)).sum(dim=-3, keepdim=True)


def to_gray(rgb: Tensor) -> Tensor:
    """Rec. 601 luma of RGB, replicated to three channels: what the generator is given."""
    return luma(rgb).expand_as(rgb)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Full-range Rec. 601 Y'CbCr: Y in [0, 1], Cb and Cr in [-0.5, 0.5]."""
    y = luma(rgb)
    red, blue = rgb[..., 0:1, :, :], rgb[..., 2:3, :, :]
    return torch.cat([y, (blue - y) / 1.772, (red - y) / 1.402], dim=-3)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Inverse of :func:`rgb_to_ycbcr`; not clamped."""
    y, cb, cr = ycbcr.split(1, dim=-3)
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = (y - REC601_LUMA[0] * red - REC601_LUMA[2] * blue) / REC601_LUMA[1]
    return torch.cat([red, green, blue], dim=-3)


def with_luma_of(color: Tensor, photograph: Tensor) -> Tensor:
    """The picture a user gets: chroma of ``color``, luma of ``photograph`` (both RGB in [0, 1]), clamped to [0, 1]."""
    chroma = rgb_to_ycbcr(color.clamp(0, 1))[..., 1:, :, :]
    return ycbcr_to_rgb(torch.cat([luma(photograph), chroma], dim=-3)).clamp(0, 1)
