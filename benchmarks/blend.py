"""The knob between two checkpoints: colorfulness and PSNR against alpha, on held-out scenes or on photographs.

nogan snapshots RUN_DIR --pick 0 --cycle 1 -o pretrained.safetensors
python benchmarks/blend.py pretrained.safetensors RUN_DIR [-o benchmarks/blend.md]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.photos import PHOTO_SUFFIXES, read_photo
from nogan.common.ycbcr import REC601
from nogan.data.scenes import draw_scene
from nogan.evaluation.metrics import colorfulness, psnr
from nogan.networks.blend import blend
from nogan.networks.generator_file import load_generator

SCENES_SEED = 20_261  # of no experiment's training or validation


def truths(folder: Path | None, count: int, size: int) -> list[np.ndarray]:
    if folder is None:
        return [draw_scene(SCENES_SEED, index, size) for index in range(count)]
    found = [read_photo(path).pixels for path in sorted(folder.rglob("*")) if path.suffix.lower() in PHOTO_SUFFIXES]
    return [pixels for pixels in found if pixels.ndim == 3][:count]


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def plot(path: Path, alphas: np.ndarray, ratios: list[float], decibels: list[float]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, left = plt.subplots(figsize=(5, 3.2), layout="constrained")
    left.plot(alphas, ratios, "o-", color="tab:orange")
    left.set(xlabel="alpha (0: A, 1: B)", ylabel="colorfulness / truth")
    left.yaxis.label.set_color("tab:orange")
    right = left.twinx()
    right.plot(alphas, decibels, "s-", color="tab:blue")
    right.set_ylabel("PSNR, dB", color="tab:blue")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--photos", type=Path, help="folder of photographs, in place of scenes")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument(
        "--size", type=int, default=64, help="of the scenes, px; for photographs of the network's square"
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, help="a .md file; the curve is drawn beside it as .png")
    arguments = parser.parse_args()
    a, b = load_generator(arguments.a), load_generator(arguments.b)
    pictures = truths(arguments.photos, arguments.count, arguments.size)
    grays = [(picture @ np.array(REC601)).round().astype(np.uint8) for picture in pictures]
    true = np.mean([colorfulness(as_tensor(picture)).item() for picture in pictures])

    kind = "photographs" if arguments.photos else f"held-out scenes of {arguments.size} px"
    lines = ["# Between two checkpoints", "", f"`python {' '.join(sys.argv)}`: {len(pictures)} {kind}.", ""]
    lines += ["| alpha | colorfulness / truth | PSNR, dB |", "|---|---|---|"]
    alphas, ratios, decibels = np.linspace(0, 1, arguments.steps + 1), [], []
    for alpha in alphas:
        colorizer = Colorizer.of(blend(a, b, float(alpha)))
        results = [colorizer.colorize(gray, arguments.size // 16) for gray in grays]
        ratios.append(float(np.mean([colorfulness(as_tensor(result)).item() for result in results]) / true))
        pairs = zip(results, pictures, strict=True)
        decibels.append(float(np.mean([psnr(as_tensor(result), as_tensor(truth)).item() for result, truth in pairs])))
        lines.append(f"| {alpha:.3g} | {ratios[-1]:.3f} | {decibels[-1]:.2f} |")
        print(lines[-1], flush=True)
    if arguments.output:
        plot(arguments.output.with_suffix(".png"), alphas, ratios, decibels)
        lines += ["", f"![colorfulness and PSNR against alpha]({arguments.output.with_suffix('.png').name})"]
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
