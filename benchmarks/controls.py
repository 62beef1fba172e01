"""Draw what each control of colors does, on a built-in scene colored as it is.

python benchmarks/controls.py [-o docs/images/controls.jpg]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nogan.colorize.backends import Network
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.labels import label
from nogan.commands.colorize import parse_arguments
from nogan.data.scenes import Scenes

PANELS: list[tuple[float, list[str]]] = [
    (1.0, []),
    (1.0, ["--saturation", "1.5"]),
    (1.0, ["--tint", "40:25"]),
    (1.0, ["--hue-limit", "260-310:0.1"]),
    (0.4, []),
    (0.4, ["--shadows", "0"]),
]
"""The light of each panel's scene, and its flags."""

COLUMNS, GAP = 3, 4


def knowing(truth: np.ndarray) -> Network:
    """A network that is always right about one picture."""

    def run(gray: np.ndarray) -> np.ndarray:
        small = cv2.resize(truth, gray.shape[:0:-1], interpolation=cv2.INTER_AREA)
        return small[None].astype(np.float32) / 255

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/controls.jpg"))
    arguments = parser.parse_args()

    scene = Scenes(seed=0, length=arguments.scene + 1).load(arguments.scene, arguments.size)
    rows: list[list[np.ndarray]] = []
    for index, (light, flags) in enumerate(PANELS):
        adjustments = parse_arguments(["photo.jpg", "--checkpoint", "RUN", *flags]).adjustments
        truth = (scene * light).round().astype(np.uint8)
        colorizer = Colorizer([(knowing(truth), 1.0)], adjustments=adjustments)
        panel = colorizer.colorize(cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY), arguments.size // 16)
        label(panel, " ".join(flags) or "as the network made it")
        if index % COLUMNS == 0:
            rows.append([])
        rows[-1].append(np.pad(panel, ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
    picture = np.vstack([np.hstack(row) for row in rows])[:-GAP, :-GAP]
    Image.fromarray(picture).save(arguments.output, quality=85)


if __name__ == "__main__":
    main()
