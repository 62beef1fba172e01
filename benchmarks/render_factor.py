"""``--render-factor auto`` against fixed factors, on photographs with known colors.

    python benchmarks/render_factor.py --checkpoint RUN_DIR --photos DIR [-o TABLE.md]

Which is best depends on what is asked: small factors are safe and dull, large ones bold and wrong. The constants of
``auto`` are chosen by :mod:`auto_constants`, by the quality that agrees with the eye.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from blend import as_tensor

from nogan.colorize import render_factor
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.photos import PHOTO_SUFFIXES, read_photo
from nogan.colorize.render_factor import factors
from nogan.evaluation.metrics import HeldOutMetrics

FIXED = {8, 10, 12, 15, 18, 21, 26, 30, 35}  # and those that auto looks at


def read(folder: Path, side: int) -> list[np.ndarray]:
    """The colored photographs in ``folder``, reduced to ``side`` px of their longer side."""
    photographs = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PHOTO_SUFFIXES and (pixels := read_photo(path).pixels).ndim == 3:
            scale = min(1.0, side / max(pixels.shape[:2]))
            photographs.append(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return photographs


def measure(colorizer: Colorizer, photographs: list[np.ndarray], factor: int | str) -> tuple[dict[str, float], float]:
    """The figures of :class:`HeldOutMetrics`, and seconds a photograph."""
    figures, seconds = HeldOutMetrics(), 0.0
    for photograph in photographs:
        gray = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
        start = time.perf_counter()
        result = colorizer.colorize(gray, factor)
        seconds += time.perf_counter() - start
        figures.update(as_tensor(result), as_tensor(photograph))
    return figures.compute(), seconds / len(photographs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--device")
    parser.add_argument("--side", type=int, default=800, help="photographs are reduced to this longer side")
    parser.add_argument("--factors", type=int, nargs="*", help="the fixed ones (default: some, and those of auto)")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[render_factor.STEPS], help="numbers of factors of auto"
    )
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    colorizer = Colorizer.load(arguments.checkpoint, device=arguments.device, precision="fp32")
    photographs = read(arguments.photos, arguments.side)
    autos = [("auto", steps) for steps in arguments.steps]
    lines = [
        f"`python {' '.join(sys.argv)}`: {len(photographs)} photographs.",
        "",
        "| render factor | PSNR, dB | colorfulness / truth | chroma FD | s a photograph |",
        "|---|---|---|---|---|",
    ]
    fixed = sorted(FIXED.union(factors(colorizer.trained_size)) if arguments.factors is None else arguments.factors)
    for factor, render_factor.STEPS in (*((each, render_factor.STEPS) for each in fixed), *autos):
        figures, seconds = measure(colorizer, photographs, factor)
        name = f"auto, {render_factor.STEPS} factors" if factor == "auto" else factor
        lines.append(
            f"| {name} | {figures['psnr']:.2f} | {figures['colorfulness_ratio']:.2f} | "
            f"{figures['chroma_fd']:.0f} | {seconds:.2f} |"
        )
        print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
