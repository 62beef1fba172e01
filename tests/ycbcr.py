"""Rec. 601 Y'CbCr of tensors, for tests that look at chroma."""

import torch
from torch import Tensor

from nogan.common.color import luma
from nogan.common.ycbcr import REC601


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """``(..., 3, H, W)``: Y in [0, 1], Cb and Cr in [-0.5, 0.5]."""
    y = luma(rgb)
    return torch.cat([y, *REC601.chroma(y, rgb[..., 0:1, :, :], rgb[..., 2:3, :, :])], dim=-3)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Inverse of :func:`rgb_to_ycbcr`; not clamped."""
    return torch.cat(REC601.rgb(*ycbcr.split(1, dim=-3)), dim=-3)
