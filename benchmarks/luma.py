"""Whose luma a colored photograph has, and how its chroma comes to full size: the two ways of ``--gamut``.

python benchmarks/luma.py --checkpoint MODEL --photos PHOTOS [--render-factor 20] [-o benchmarks/luma.md]
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from pages import publish

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.composite import Gamut, composite
from nogan.colorize.photos import read_photo
from nogan.common.ycbcr import REC601

OFF = 2
"""Levels of 255 from which an error of luma counts in the table."""


def luma_table(colorizer: Colorizer, photographs: list[np.ndarray], render_factor: int) -> list[str]:
    """How far the luma of each result is from the gray photograph's."""
    errors: dict[str, list[np.ndarray]] = {gamut: [] for gamut in get_args(Gamut)}
    for photograph in photographs:
        gray = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
        (square,) = colorizer.squares([gray], render_factor)
        for gamut, found in errors.items():
            found.append(np.abs(composite(square, gray, gamut) @ np.array(REC601) - gray).ravel())
    lines = [f"| `--gamut` | mean | off by more than {OFF} levels | worst |", "|---|---|---|---|"]
    for gamut, found in errors.items():
        whole = np.concatenate(found)
        lines.append(f"| {gamut} | {whole.mean():.2f} | {np.mean(whole > OFF):.2%} | {whole.max():.1f} |")
    return lines


def chroma_table(photographs: list[np.ndarray], side: int) -> list[str]:
    """PSNR of chroma that is right in a square of ``side`` px and brought back to full size."""
    values: dict[str, list[float]] = {gamut: [] for gamut in get_args(Gamut)}
    for photograph in photographs:
        square = cv2.resize(photograph, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        for gamut, found in values.items():
            error = composite(square, photograph, gamut).astype(np.float32) - photograph
            found.append(-10 * np.log10(np.mean((error / 255) ** 2)))
    better = sum(fit > clip for fit, clip in zip(values["fit"], values["clip"], strict=True))
    lines = ["| `--gamut` | PSNR, dB |", "|---|---|"]
    lines += [f"| {gamut} | {np.mean(found):.2f} |" for gamut, found in values.items()]
    return [*lines, "", f"`fit` is better in {better} of the {len(photographs)}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--render-factor", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()

    files = sorted(path for path in arguments.photos.iterdir() if path.is_file())
    photographs = [pixels for pixels in (read_photo(path).pixels for path in files) if pixels.ndim == 3]
    colorizer = Colorizer.load(arguments.checkpoint, device="cpu", precision="fp32")
    side = 16 * arguments.render_factor
    lines = [
        "# Luma and chroma of colored photographs",
        "",
        f"`python {shlex.join(sys.argv)}`, {len(photographs)} photographs.",
        "",
        "## Luma",
        "",
        "Luma of the result against the gray photograph, in levels of 255, over all pixels.",
        "",
        *luma_table(colorizer, photographs, arguments.render_factor),
        "",
        "## Chroma",
        "",
        f"Each photograph in a square of {side} px, as if a network had all its colors right, and brought back to full",
        "size: `clip` bilinearly with chroma of 8 bits, `fit` bicubically in floating point.",
        "",
        *chroma_table(photographs, side),
    ]
    publish(lines, arguments.output)


if __name__ == "__main__":
    main()
