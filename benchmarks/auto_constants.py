"""The constants of ``--render-factor auto``, judged by the quality that agrees with the eye (experiments/eye.md).

    python benchmarks/auto_constants.py --checkpoint MODEL --photos DIR [--side 320]

The network runs once at each factor; the constants are then tried on what it gave.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from blend import as_tensor
from render_factor import read

from nogan.colorize import render_factor
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.composite import composite
from nogan.evaluation import eye
from nogan.evaluation.metrics import colorfulness, psnr

TRIED = (  # TOLERANCE, factor by which the mean's saturation is raised at most, how many of the factors
    *((0.002, 1.5, 4), (0.002, 1.0, 4), (0.01, 1.0, 4), (0.05, 1.0, 4), (0.2, 1.0, 4)),
    *((0.05, 1.25, 4), (0.05, 1.5, 4), (0.05, 1.0, 3)),
)


def row(name: str, outputs: Sequence[np.ndarray], photographs: Sequence[np.ndarray]) -> str:
    """The means over the photographs, as a line of the table."""
    pairs = [(as_tensor(output), as_tensor(truth)) for output, truth in zip(outputs, photographs, strict=True)]
    quality, wrong, blotches, error, own, true = (
        torch.cat([measure(*pair) for pair in pairs]).nanmean().item()
        for measure in (
            eye.quality,
            eye.wrong_strong,
            eye.false_variation,
            psnr,
            lambda output, _: colorfulness(output),
            lambda _, truth: colorfulness(truth),
        )
    )
    return f"| {name} | {quality:.2f} | {blotches:.2f} | {100 * wrong:.2f} % | {own / true:.2f} | {error:.2f} |"


def combined(luma: np.ndarray, chroma: np.ndarray, tolerance: float, gain: float) -> np.ndarray:
    """As :func:`nogan.colorize.render_factor.combined_squares`, but perhaps raised to the boldest saturation."""
    render_factor.TOLERANCE = tolerance
    mean = (render_factor.factor_weights(chroma) * chroma).sum(axis=0)
    saturation = np.linalg.norm(chroma, axis=-1).mean(axis=(-2, -1)).max()
    raised = np.clip(saturation / max(np.linalg.norm(mean, axis=-1).mean(), 1e-6), 1, gain)
    yuv = np.dstack([luma, mean * np.float32(raised) + np.float32(0.5)])
    return cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB).clip(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--side", type=int, default=320, help="photographs are reduced to this longer side")
    arguments = parser.parse_args()
    colorizer = Colorizer.load(arguments.checkpoint, device="cpu")
    photographs = read(arguments.photos, arguments.side)
    grays = [cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY) for photograph in photographs]
    ladder = render_factor.factors(colorizer.trained_size)
    print("| | quality | blotches | wrong strong color | colorfulness / truth | PSNR, dB |", "|---" * 6 + "|", sep="\n")
    for factor in ladder:
        print(row(f"factor {factor}", [colorizer.colorize(gray, factor) for gray in grays], photographs), flush=True)
    found = [render_factor._chroma_of_all(colorizer, gray) for gray in grays]
    for tolerance, gain, count in TRIED:
        outputs = [
            composite(combined(luma, chroma[:count], tolerance, gain), gray)
            for gray, (luma, chroma) in zip(grays, found, strict=True)
        ]
        print(row(f"auto {tolerance}, {gain}, {count} factors", outputs, photographs), flush=True)


if __name__ == "__main__":
    main()
