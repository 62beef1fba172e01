"""The picture that a user gets: luma (Rec. 601) of the photograph, chroma of the network's picture.

This is the only implementation: photographs and the flicker of films use :func:`composite`, films themselves
:func:`room_for_chroma`, and the held-out pictures of a training run :func:`composite_tensors`.

Where chroma is too strong for the luma, RGB would leave [0, 1]. There are two ways out:

- ``fit`` weakens the chroma there, so that luma and hue stay. The luma of the result is the photograph's own to half a
  level. Chroma is brought to full size by bicubic interpolation.
- ``clip`` cuts red, green and blue off, which changes luma and hue. Chroma is interpolated bilinearly, and 8-bit
  photographs take OpenCV's fixed-point Y'UV: their pictures are equal to DeOldify's. The probe of a training run clips
  as well, so that its values stay comparable.

OpenCV and torch are imported where they are used. A film's own luma plane is never touched: its chroma comes from the
same formulas, in :mod:`nogan.colorize.film.encoding`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from nogan.colorize.pixels import from_unit, strip_rows, strips, to_unit
from nogan.colorize.resampling import bicubic_rows, product, widened
from nogan.common.ycbcr import REC601, Matrix, Plane

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in a picture, in pixels."""


Gamut = Literal["fit", "clip"]
"""What becomes of chroma that is too strong for its luma: weakened at constant luma, or cut off as DeOldify does."""

_WEAKEST = np.float32(1e-6)  # of the network's range: chroma below this is none


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


def composite(square: np.ndarray, photograph: np.ndarray, gamut: Gamut = "fit") -> np.ndarray:
    """Luma of ``photograph``, chroma of ``square``, which is stretched to its size.

    Args:
        square: the network's picture, RGB ``(S, S, 3)`` float32 in [0, 1].
        photograph: ``(H, W)`` or ``(H, W, 3)``, uint8, uint16 or floating-point in [0, 1].
        gamut: see the head of this module.

    Returns:
        RGB ``(H, W, 3)`` of the photograph's type.
    """
    if gamut == "fit":
        return _fitted(square, photograph)
    return (_clipped_uint8 if photograph.dtype == np.uint8 else _clipped_float)(square, photograph)


def room_for_chroma(
    chroma: tuple[np.ndarray, np.ndarray], luma: tuple[np.ndarray, np.ndarray], matrix: Matrix
) -> np.ndarray:
    """How far chroma fits into the gamut at its luma: the factor in [0, 1] that Cb and Cr are to be multiplied by.

    Args:
        chroma: Cb and Cr, in [-0.5, 0.5].
        luma: the least and the largest luma, in [0, 1], of the pixels that each sample of chroma is for.
        matrix: the space's weights.
    """
    (cb, cr), (low, high) = chroma, luma
    red, green, blue = matrix.rgb(np.zeros_like(cb), cb, cr)
    up = (1 - high) / np.maximum(np.maximum(np.maximum(red, green), blue), _WEAKEST)
    down = low / np.maximum(-np.minimum(np.minimum(red, green), blue), _WEAKEST)
    return np.maximum(np.minimum(np.minimum(up, down), 1), 0)


def _fitted(square: np.ndarray, photograph: np.ndarray) -> np.ndarray:
    import cv2

    whole = np.issubdtype(photograph.dtype, np.integer)
    top = np.float32(np.iinfo(photograph.dtype).max if whole else 1)
    height, width = photograph.shape[:2]
    # What red, green and blue are above the luma is linear in the chroma, and is interpolated in its place.
    red, green, blue = _planes(square)
    luma = REC601.luma(red, green, blue)
    offsets = [widened(top * (plane - luma), width) for plane in (red, green, blue)]
    result = np.empty((height, width, 3), photograph.dtype)
    # Buffers are made once: in the cache a pass over a strip costs less than new memory.
    step = min(height, strip_rows(width))
    buffers = np.empty((6, step, width), np.float32)
    rgb = np.empty((step, width, 3), np.float32)
    rounded = np.empty((3, step, width), photograph.dtype)
    for rows in strips(photograph.shape):
        strip, count = photograph[rows], rows.stop - rows.start
        *planes, luma, up, down = buffers[:, :count]
        weights, needed = bicubic_rows(len(square), height, rows)
        for offset, plane in zip(offsets, planes, strict=True):
            product(weights, offset[needed], out=plane)
        if strip.ndim == 2:
            luma[:] = strip
        else:
            rgb[:count] = strip
            luma[:] = cv2.cvtColor(rgb[:count], cv2.COLOR_RGB2GRAY)
        if not whole:
            luma.clip(0, 1, out=luma)
        # The same as room_for_chroma, without making new arrays.
        np.maximum(np.maximum(planes[0], planes[1], out=up), planes[2], out=up)
        np.minimum(np.minimum(planes[0], planes[1], out=down), planes[2], out=down)
        np.divide(top - luma, np.maximum(up, top * _WEAKEST, out=up), out=up)
        np.divide(luma, np.maximum(np.negative(down, out=down), top * _WEAKEST, out=down), out=down)
        room = np.minimum(np.minimum(up, down, out=up), 1, out=up)
        for plane, into in zip(planes, rounded[:, :count], strict=True):
            np.add(np.multiply(plane, room, out=plane), luma, out=plane)
            if photograph.dtype == np.uint8:
                cv2.convertScaleAbs(plane, dst=into)
            else:
                into[:] = np.rint(plane, out=plane) if whole else plane
        cv2.merge(list(rounded[:, :count]), dst=result[rows])
    return result


def _clipped_uint8(square: np.ndarray, photograph: np.ndarray) -> np.ndarray:
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


def _clipped_float(square: np.ndarray, photograph: np.ndarray) -> np.ndarray:
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
