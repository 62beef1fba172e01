"""TIFF of 16 bits a channel, which Pillow cuts to 8: what it holds, and its pixels."""

from pathlib import Path

import numpy as np

from nogan.colorize.photos import tags
from nogan.colorize.photos.photo import upright
from nogan.colorize.photos.tags import Directory
from nogan.common.errors import UserError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, EXTRA, FORMAT = (
    256,
    257,
    258,
    259,
    262,
    277,
    284,
    338,
    339,
)
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
_CHANNELS = {0: 1, 1: 1, 2: 3, 5: 4}  # of white is zero, black is zero, RGB, CMYK
_ASSOCIATED, _UNASSOCIATED = 1, 2
_ROWS = 256


def is_deep(path: Path, tiff: Directory) -> bool:
    """Whether a TIFF has 16 bits a channel.

    Raises:
        UserError: where its values are of a kind that has no fixed white.
    """
    bits = max(tiff.numbers(BITS, (1,)))
    kind = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}.get(tiff.numbers(FORMAT, (1,))[0], "unsigned")
    if bits > 16 or kind != "unsigned":
        raise UserError(
            f"{path}: a TIFF of {bits}-bit {kind} values, which have no fixed white: convert it to 16 bits, unsigned."
        )
    return bits == 16


def read_samples(path: Path, tiff: Directory) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Gray ``(H, W)``, RGB ``(H, W, 3)`` or CMYK ``(H, W, 4)`` of a 16-bit TIFF, upright; alpha or None; remarks.

    Raises:
        UserError: in one line, for a kind or compression that cannot be read, and for a damaged file.
    """
    photometric = tiff.numbers(PHOTOMETRIC, (1,))[0]
    channels, samples = _CHANNELS.get(photometric), tiff.numbers(SAMPLES, (1,))[0]
    if channels is None:
        raise UserError(
            f"{path}: a 16-bit TIFF of colors of kind {photometric} (tag {PHOTOMETRIC}); expected gray, RGB or CMYK."
        )
    # OpenCV takes other numbers of channels for these, and reads planes as pictures side by side.
    known = (photometric == 2 and samples in (3, 4)) or channels == samples == 1
    read = _by_opencv if known and tiff.numbers(PLANES, (1,))[0] == 1 else _by_tifffile
    data = read(path, tiff)
    if data.shape[2] < channels:
        raise UserError(f"{path}: damaged: {data.shape[2]} channels, expected {channels} (tag {SAMPLES}).")
    color = data[..., 0] if channels == 1 else data[..., :channels]
    if photometric == 0:
        color = 65535 - color
    kinds = (tiff.numbers(EXTRA) + (0,) * samples)[: samples - channels]
    where = next((index for index, kind in enumerate(kinds) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
    alpha = None if where is None else data[..., channels + where]
    left_out = len(kinds) - (alpha is not None)
    remarks = [f"it has {left_out} extra channel(s) of no declared use, which were left out"] if left_out else []
    if alpha is not None and kinds[where] == _ASSOCIATED:
        color = _unassociated(color, alpha)
    return color, alpha, remarks


def _by_opencv(path: Path, tiff: Directory) -> np.ndarray:
    """``(H, W, C)``; OpenCV turns a TIFF upright by itself (and only in imdecode: its imread fails on a turned one)."""
    import cv2

    data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None or data.dtype != np.uint16:
        raise UserError(f"{path}: truncated or damaged, or a kind of 16-bit file that cannot be read.")
    if data.ndim == 2:
        return data[..., None]
    return cv2.cvtColor(data, cv2.COLOR_BGR2RGB if data.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=data)


def _by_tifffile(path: Path, tiff: Directory) -> np.ndarray:
    """``(H, W, C)``, upright, of any number of channels, in planes or interleaved."""
    import tifffile

    size = path.stat().st_size
    for offsets, counts in _OFFSETS_AND_COUNTS:
        # What is not there, tifffile takes for zeros.
        if any(a + b > size for a, b in zip(tiff.numbers(offsets), tiff.numbers(counts), strict=False)):
            raise UserError(f"{path}: truncated or damaged: its pixels end before they should.")
    width, height, samples = (tiff.numbers(code, (1,))[0] for code in (WIDTH, HEIGHT, SAMPLES))
    with tifffile.TiffFile(path) as file:
        try:
            data = file.pages[0].asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            compression = tiff.numbers(COMPRESSION, (1,))[0]
            raise UserError(
                f"{path}: a 16-bit TIFF of {samples} channels in compression {compression} (tag {COMPRESSION}); "
                "it needs imagecodecs: pip install imagecodecs."
            ) from error
    if tiff.numbers(PLANES, (1,))[0] == 2:
        data = np.moveaxis(data.reshape(samples, height, width), 0, -1)
    return upright(data.reshape(height, width, samples), tiff.numbers(tags.ORIENTATION, (1,))[0])


def _unassociated(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Color that alpha was not multiplied into, as PNG and WebP have it."""
    result = np.empty_like(color)
    for top in range(0, len(color), _ROWS):  # in floats, a large photograph would take twice its memory
        rows = slice(top, top + _ROWS)
        scale = 65535 / np.maximum(alpha[rows], 1).astype(np.float32)
        scaled = color[rows] * (scale if color.ndim == 2 else scale[..., None])
        result[rows] = np.round(scaled).clip(0, 65535)
    return result
