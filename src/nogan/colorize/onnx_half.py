"""ONNX exports in half precision: half as large, and checked to color the same to the eye."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nogan.colorize.backends import onnx_network
from nogan.colorize.precision import HIGH_LEVELS, MEAN_LEVELS, difference, small_picture
from nogan.colorize.vividness import PHOTO_VIVIDNESS
from nogan.common.errors import UserError
from nogan.networks.onnx import export_onnx, write_export


def export_half_onnx(checkpoint: str | os.PathLike[str], path: Path) -> tuple[float, float]:
    """Write a generator as :func:`~nogan.networks.onnx.export_onnx` does, with weights and sums in half precision.

    Inputs and output stay float32. The bar is that of ``--precision auto``, on a small picture.

    Args:
        checkpoint: what ``--checkpoint`` takes, but ``.onnx``.
        path: the file to write; whole and checked, or not at all.

    Returns:
        How far the chroma is from that of the export in float32, in 8-bit levels: mean and 99.9th percentile.

    Raises:
        UserError: as of ``export_onnx``, or the chroma is above the bar.
    """
    found = (0.0, 0.0)

    def write(temporary: Path) -> None:
        nonlocal found
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "whole.onnx"
            export_onnx(checkpoint, whole)
            _convert(whole, temporary)
            found = _difference(whole, temporary)
        mean, high = found
        if not (mean <= MEAN_LEVELS and high <= HIGH_LEVELS):  # NaN is above it, too
            raise UserError(
                f"--precision fp16: chroma would differ by {mean:.2g} levels of 255 in the mean and {high:.2g} at the "
                f"99.9th percentile, above {MEAN_LEVELS:g} and {HIGH_LEVELS:g}; take fp32"
            )

    write_export(path, write)
    return found


def _difference(whole: Path, half: Path) -> tuple[float, float]:
    gray = small_picture()
    exact, rounded = (onnx_network(each, "cpu", None, PHOTO_VIVIDNESS).network(gray) for each in (whole, half))
    return difference(exact, rounded)


def _convert(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
