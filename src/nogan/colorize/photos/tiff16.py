"""TIFF of 16 bits or of floating-point values, which Pillow would cut or refuse, by tifffile and imagecodecs.

tifffile gives the samples as they are stored. This module finds out which of them are colors, which is alpha, whether
alpha is multiplied into the colors, whether white is zero, and whether the file is whole.
"""

from pathlib import Path

import numpy as np

from nogan.colorize.photos import tags
from nogan.colorize.photos.photo import upright
from nogan.colorize.photos.tags import Directory
from nogan.common.errors import UserError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, PLANES, EXTRA, FORMAT = 277, 284, 338, 339
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # of strips, of tiles
_CHANNELS = {0: 1, 1: 1, 2: 3, 5: 4}  # of photometric kinds: white is zero, black is zero, RGB, CMYK
_SEPARATE_PLANES = 2
_ASSOCIATED, _UNASSOCIATED = 1, 2
_KINDS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_WHITES = (1.0, 255.0, 65535.0)
_ROWS = 256


def is_deep(path: Path, tiff: Directory) -> bool:
    """Whether a TIFF has 16 bits a channel, or floating-point values.

    Raises:
        UserError: its values are of a kind that has no fixed white.
    """
    bits, kind = max(tiff.integers(BITS, (1,))), _KINDS.get(tiff.integer(FORMAT, 1), "unsigned")
    if kind == "floating-point":
        return True
    if bits > 16 or kind != "unsigned":
        raise UserError(
            f"{path}: a TIFF of {bits}-bit {kind} values, which have no fixed white: convert it to 16 bits, unsigned."
        )
    return bits == 16


def read_samples(path: Path, tiff: Directory) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """The first picture of a TIFF for which :func:`is_deep` is true, upright.

    Returns:
        Gray ``(H, W)``, RGB ``(H, W, 3)`` or CMYK ``(H, W, 4)``, uint16; alpha ``(H, W)`` or None; and remarks.

    Raises:
        UserError: in one line, for a kind or compression that cannot be read, and for a damaged file.
    """
    photometric, samples = tiff.integer(PHOTOMETRIC, 1), tiff.integer(SAMPLES, 1)
    channels = _CHANNELS.get(photometric)
    if channels is None:
        raise UserError(
            f"{path}: a 16-bit TIFF of colors of kind {photometric} (tag {PHOTOMETRIC}); expected gray, RGB or CMYK."
        )
    if samples < channels:
        raise UserError(f"{path}: damaged: {samples} channels, expected {channels} (tag {SAMPLES}).")
    data = _decoded(path, tiff, samples)
    remarks = []
    if data.dtype.kind == "f":
        data, white = _from_floats(data)
        remarks.append(f"its floating-point values became 16 bits, with white at {white:g}")
    color = data[..., 0] if channels == 1 else data[..., :channels]
    if photometric == 0:
        color = 65535 - color
    kinds = (tiff.integers(EXTRA) + (0,) * samples)[: samples - channels]
    where = next((index for index, kind in enumerate(kinds) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
    alpha = None if where is None else data[..., channels + where]
    left_out = len(kinds) - (alpha is not None)
    if left_out:
        remarks.append(f"it has {left_out} extra channel(s) of no declared use, which were left out")
    if where is not None and alpha is not None and kinds[where] == _ASSOCIATED:
        color = _unassociated(color, alpha)
    return color, alpha, remarks


def _decoded(path: Path, tiff: Directory, samples: int) -> np.ndarray:
    """All samples ``(H, W, C)``, uint16 or floating-point, upright, from planes or interleaved."""
    import tifffile

    size = path.stat().st_size
    for offsets, counts in _OFFSETS_AND_COUNTS:
        # tifffile reads zeros where the file has ended.
        if any(a + b > size for a, b in zip(tiff.integers(offsets), tiff.integers(counts), strict=False)):
            raise UserError(f"{path}: truncated or damaged: its pixels end before they should.")
    with tifffile.TiffFile(path) as file:
        data = file.pages[0].asarray()
    width, height = tiff.integer(WIDTH, 1), tiff.integer(HEIGHT, 1)
    if tiff.integer(PLANES, 1) == _SEPARATE_PLANES:
        data = np.moveaxis(data.reshape(samples, height, width), 0, -1)
    return upright(data.reshape(height, width, samples), tiff.integer(tags.ORIENTATION, 1))


def _from_floats(data: np.ndarray) -> tuple[np.ndarray, float]:
    """Floating-point values in 16 bits, and which of them became white: the usual one that holds them all."""
    largest = float(np.max(data, initial=0, where=np.isfinite(data)))
    white = next((white for white in _WHITES if largest <= white), largest)
    result = np.empty(data.shape, np.uint16)
    for top in range(0, len(data), _ROWS):
        rows = slice(top, top + _ROWS)
        unit = np.nan_to_num(data[rows].astype(np.float64) / white, nan=0, posinf=1, neginf=0)
        result[rows] = np.round(unit.clip(0, 1) * 65535)
    return result, white


def _unassociated(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """``color`` divided by its ``alpha``, as PNG and WebP store it."""
    result = np.empty_like(color)
    for top in range(0, len(color), _ROWS):  # strips, because floats take twice the memory
        rows = slice(top, top + _ROWS)
        scale = 65535 / np.maximum(alpha[rows], 1).astype(np.float32)
        scaled = color[rows] * (scale if color.ndim == 2 else scale[..., None])
        result[rows] = np.round(scaled).clip(0, 65535)
    return result
