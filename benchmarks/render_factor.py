"""``--render-factor auto`` against every fixed factor, on photographs with known colours.

python benchmarks/render_factor.py --checkpoint RUN_DIR --photos DIR [-o render_factor.md]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from nogan.colorizer import Colorizer
from nogan.metrics import colourfulness, psnr
from nogan.photos import PHOTO_SUFFIXES, read_photo
from nogan.render_factor import FACTORS

FIXED = sorted({*FACTORS, 15, 21, 30, 35})


def measure(colorizer: Colorizer, photographs: list[np.ndarray], factor: int | str) -> tuple[float, float, float]:
    """Mean PSNR in dB, colourfulness over that of the truth, and seconds a photograph."""
    decibels, ours, true = [], [], []
    start = time.perf_counter()
    for photograph in photographs:
        gray = np.asarray(photograph @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
        result = colorizer.colorize(gray, factor)
        output, truth = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 255 for p in (result, photograph))
        decibels.append(psnr(output, truth).mean().item())
        ours.append(colourfulness(output).mean().item())
        true.append(colourfulness(truth).mean().item())
    seconds = (time.perf_counter() - start) / len(photographs)
    return float(np.mean(decibels)), float(np.mean(ours) / np.mean(true)), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--device")
    parser.add_argument("--side", type=int, default=800, help="photographs are reduced to this longer side")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    colorizer = Colorizer.load(arguments.checkpoint, device=arguments.device)
    photographs = []
    for path in sorted(arguments.photos.rglob("*")):
        if path.suffix.lower() in PHOTO_SUFFIXES:
            pixels = read_photo(path).pixels
            if pixels.ndim == 3:
                step = max(1, max(pixels.shape[:2]) // arguments.side)
                photographs.append(np.ascontiguousarray(pixels[::step, ::step]))
    lines = [
        f"`python {' '.join(sys.argv)}`: {len(photographs)} photographs.",
        "",
        "| render factor | PSNR, dB | colourfulness / truth | s a photograph |",
        "|---|---|---|---|",
    ]
    for factor in (*FIXED, "auto"):
        decibels, ratio, seconds = measure(colorizer, photographs, factor)
        lines.append(f"| {factor} | {decibels:.2f} | {ratio:.2f} | {seconds:.2f} |")
        print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
