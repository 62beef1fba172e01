"""The picture that a user gets: luma (Rec. 601) of the photograph, chroma of the network's picture.

This is the only implementation: photographs and the flicker of films use :func:`composite`, the held-out pictures of a
training run use :func:`composite_tensors`. Both apply :func:`recolored` to the formulas of
:class:`nogan.common.ycbcr.Matrix`. Only 8-bit photographs take OpenCV's fixed-point Y'UV instead, as DeOldify does, and
are equal to its pictures. Y'UV is Y'CbCr with chroma of another scale, so that the two differ by rounding, and in the
strongest reds, whose V is beyond what 8 bits hold.

OpenCV and torch are imported where they are used. A film's own luma plane is never touched: its chroma comes from the
same formulas, in :mod:`nogan.colorize.film.encoding`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nogan.colorize.pixels import from_unit, strips, to_unit
from nogan.common.ycbcr import REC601, Plane

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in a picture, in pixels."""


def recolored(luma: Plane, cb: Plane, cr: Plane) -> tuple[Plane, Plane, Plane]:
    """Red, green and blue of the photograph's luma and the network's chroma, each clipped to [0, 1]."""
    red, green, blue = REC601.rgb(luma, cb, cr)
    return red.clip(0, 1), green.clip(0, 1), blue.clip(0, 1)


def composite_tensors(color: Tensor, photographs: Tensor) -> Tensor:
    """Luma of ``photographs``, chroma of ``color`` (clamped to [0, 1] first).

    Args:
        color: the network's pictures, RGB ``(..., 3, H, W)``.
        photographs: RGB in [0, 1], of the same shape.

    Returns:
        RGB of the same shape, in [0, 1].
    """
    import torch

    from nogan.common.color import luma

    color = color.clamp(0, 1)
    cb, cr = REC601.chroma(luma(color), color[..., 0:1, :, :], color[..., 2:3, :, :])
    return torch.cat(recolored(luma(photographs), cb, cr), dim=-3)


def composite(square: np.ndarray, photograph: np.ndarray) -> np.ndarray:
    """Luma of ``photograph``, chroma of ``square``, which is stretched to its size.

    Args:
        square: the network's picture, RGB ``(S, S, 3)`` float32 in [0, 1].
        photograph: ``(H, W)`` or ``(H, W, 3)``, uint8, uint16 or floating-point in [0, 1].

    Returns:
        RGB ``(H, W, 3)`` of the photograph's type.
    """
    return (_composite_uint8 if photograph.dtype == np.uint8 else _composite_float)(square, photograph)


def _composite_uint8(square: np.ndarray, photograph: np.ndarray) -> np.ndarray:
    import cv2

    result = np.empty((*photograph.shape[:2], 3), np.uint8)
    small = Image.fromarray((square * 255).astype(np.uint8))
    for rows, box in _strips(photograph.shape, small.size):
        yuv = cv2.cvtColor(_resized(small, result[rows], box), cv2.COLOR_RGB2YUV)
        strip = photograph[rows]
        # OpenCV's luma of a gray RGB pixel is that gray value, so that gray photographs need no conversion.
        yuv[..., 0] = strip if strip.ndim == 2 else cv2.cvtColor(strip, cv2.COLOR_RGB2YUV)[..., 0]
        cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB, dst=result[rows])
    return result


def _composite_float(square: np.ndarray, photograph: np.ndarray) -> np.ndarray:
    result = np.empty((*photograph.shape[:2], 3), photograph.dtype)
    red, green, blue = _planes(square)
    cb, cr = map(Image.fromarray, REC601.chroma(REC601.luma(red, green, blue), red, blue))
    for rows, box in _strips(photograph.shape, cb.size):
        strip = to_unit(photograph[rows])
        luma = strip if strip.ndim == 2 else REC601.luma(*_planes(strip))
        planes = recolored(luma, _resized(cb, strip, box), _resized(cr, strip, box))
        result[rows] = from_unit(np.dstack(planes), photograph.dtype)
    return result


def upsample(square: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The network's own picture ``(S, S, 3)`` at the size and in the type of ``like``."""
    result = np.empty((*like.shape[:2], 3), like.dtype)
    if like.dtype == np.uint8:
        small = Image.fromarray((square * 255).astype(np.uint8))
        for rows, box in _strips(like.shape, small.size):
            result[rows] = _resized(small, result[rows], box)
        return result
    planes = [Image.fromarray(plane) for plane in _planes(square)]
    for rows, box in _strips(like.shape, planes[0].size):
        strip = np.dstack([_resized(plane, result[rows], box) for plane in planes])
        result[rows] = from_unit(strip, like.dtype)
    return result


def _planes(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    red, green, blue = (np.ascontiguousarray(rgb[..., channel]) for channel in range(3))
    return red, green, blue


def _strips(shape: tuple[int, ...], small: tuple[int, int]) -> Iterator[tuple[slice, Box]]:
    """Rows of each strip of the full size ``shape``, and its box in a picture of ``small`` (width, height)."""
    for rows in strips(shape):
        yield rows, (0, rows.start * small[1] / shape[0], small[0], rows.stop * small[1] / shape[0])


def _resized(small: Image.Image, like: np.ndarray, box: Box) -> np.ndarray:
    return np.asarray(small.resize((like.shape[1], like.shape[0]), Image.Resampling.BILINEAR, box=box))
