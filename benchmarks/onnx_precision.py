"""What an ONNX export loses and gains in half precision and in integers, on photographs, by onnxruntime on the CPU.

    python benchmarks/onnx_precision.py PHOTOS --checkpoint starter -o benchmarks/onnx.md

The bar is that of `--precision auto`: the chroma of the network's picture differs from that of the export in float32 by
at most one level of 255 in the mean and three at the 99.9th percentile; the worst of the photographs counts. A time is
the median of `--repeats` passes. Integers are calibrated on half of the photographs, and measured on the other half.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pages import publish

from nogan.colorize.photos import PHOTO_SUFFIXES, read_photo
from nogan.colorize.pixels import to_uint8
from nogan.colorize.precision import HIGH_LEVELS, MEAN_LEVELS, difference
from nogan.colorize.square import gray_square, network_size
from nogan.common.color import IMAGENET_MEAN, IMAGENET_STD
from nogan.networks.onnx import export_onnx

MEAN, STD = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
CALIBRATED_AT = 12
"""Render factor of the pictures that integers are calibrated on."""


def half(plain: Path, target: Path, grays: list[np.ndarray]) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(plain), keep_io_types=True), target)


def dynamic(plain: Path, target: Path, grays: list[np.ndarray]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(plain, target, weight_type=QuantType.QUInt8, per_channel=True)


def static(plain: Path, target: Path, grays: list[np.ndarray]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Pictures(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(grays)

        def get_next(self) -> dict[str, np.ndarray] | None:
            gray = next(self.left, None)
            return None if gray is None else {"gray": as_input(gray, CALIBRATED_AT)}

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        Pictures(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MatMul"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


VARIANTS: dict[str, Callable[[Path, Path, list[np.ndarray]], None]] = {
    "fp16": half,
    "int8, dynamic": dynamic,
    "int8, static": static,
}


def as_input(gray: np.ndarray, factor: int) -> np.ndarray:
    """A gray photograph ``(H, W)`` uint8 as the export takes it, ``(1, 3, S, S)``."""
    square = gray_square(gray, network_size(factor)).astype(np.float32) / 255
    return ((np.broadcast_to(square, (1, 3, *square.shape)) - MEAN) / STD).astype(np.float32)


def session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def picture(run: Any, x: np.ndarray) -> np.ndarray:
    (y,) = run.run(None, {"gray": x})
    return (y.astype(np.float32) * STD + MEAN).clip(0, 1).transpose(0, 2, 3, 1)


def rows(arguments: argparse.Namespace, grays: list[np.ndarray]) -> Iterator[str]:
    """The table, line by line."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "fp32.onnx"
        export_onnx(arguments.checkpoint, plain)
        files = {"fp32": plain}
        for name, make in VARIANTS.items():
            target = plain.with_name(f"{name.replace(', ', '-')}.onnx")
            try:
                make(plain, target, grays[: len(grays) // 2])
            except Exception as error:
                yield f"| {name} | cannot be made: {' '.join(str(error).split())[:100]} | | | | |"
            else:
                files[name] = target
        runs = {}
        for name, file in files.items():
            try:
                runs[name] = session(file, arguments.threads)
            except Exception as error:
                yield f"| {name} | does not load: {' '.join(str(error).split())[:100]} | | | | |"
        for factor in arguments.factors:
            inputs = [as_input(gray, factor) for gray in grays[len(grays) // 2 :]]
            exact = [picture(runs["fp32"], x) for x in inputs]
            for name, run in runs.items():
                seconds = []
                for _ in range(arguments.repeats):
                    began = time.perf_counter()
                    picture(run, inputs[0])
                    seconds.append(time.perf_counter() - began)
                apart = [difference(one, picture(run, x)) for one, x in zip(exact, inputs, strict=True)]
                mean, high = np.max(apart, axis=0)
                holds = "yes" if mean <= MEAN_LEVELS and high <= HIGH_LEVELS else "no"
                size = files[name].stat().st_size / 1e6
                taken = statistics.median(seconds)
                yield f"| {name} | {size:.1f} | {factor} | {taken:.3f} | {mean:.2f}, {high:.2f} | {holds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--checkpoint", default="starter")
    parser.add_argument("--factors", type=int, nargs="+", default=[12, 21, 35])
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    files = sorted(file for file in arguments.photos.rglob("*") if file.suffix.lower() in PHOTO_SUFFIXES)
    pixels = [to_uint8(read_photo(file).pixels) for file in files[: arguments.images]]
    grays = [each if each.ndim == 2 else each.mean(-1).round().astype(np.uint8) for each in pixels]
    import onnxruntime

    lines = [
        "# ONNX exports in half precision and in integers",
        "",
        f"`python {shlex.join(sys.argv)}`, onnxruntime {onnxruntime.__version__}, {arguments.threads} thread(s); "
        f"{len(grays) - len(grays) // 2} photographs measured.",
        "",
        "| export | MB | render factor | s | levels: mean, 99.9 % | holds |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(arguments, grays):
        print(row, flush=True)
        lines.append(row)
    publish(lines, arguments.output)


if __name__ == "__main__":
    main()
