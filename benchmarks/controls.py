"""Draw what each control of colors does, on a built-in scene colored as it is, and what blends of two models give.

python benchmarks/controls.py [-o docs/images/controls.jpg] [--blends docs/images/blends.jpg]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nogan.colorize.backends import Network
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.labels import COLORED, ORIGINAL, label
from nogan.commands.colorize import parse_arguments
from nogan.data.scenes import Scenes

PANELS: list[tuple[float, list[str]]] = [
    (1.0, []),
    (1.0, ["--saturation", "1.5"]),
    (1.0, ["--tint", "40:25"]),
    (1.0, ["--hue-limit", "260-310:0.1"]),
    (0.4, []),
    (0.4, ["--shadows", "0"]),
    (1.0, ["--compare"]),
]
"""The light of each panel's scene, and its flags."""

GAMUTS = [["--gamut", "fit"], ["--gamut", "clip"]]
"""Flags for a poster whose letters are finer than the network's picture."""

BLENDS = [[], ["--blend-luma", "64-192"], ["--blend-mask", "ramp.png"], ["--blend-limit", "20"]]
"""Flags of blends of that network, the first, with one that knows blue only; the mask is black on the left."""

COLUMNS, GAP = 3, 4


def knowing(truth: np.ndarray) -> Network:
    """A network that is always right about one picture."""

    def run(gray: np.ndarray) -> np.ndarray:
        small = cv2.resize(truth, gray.shape[:0:-1], interpolation=cv2.INTER_AREA)
        return small[None].astype(np.float32) / 255

    return run


def blue(gray: np.ndarray) -> np.ndarray:
    """A network with one color for everything."""
    unit = gray.astype(np.float32)
    return np.stack([0.7 * unit, 0.85 * unit, 0.4 + 0.6 * unit], axis=-1)


def drawn(panels: list[np.ndarray], columns: int) -> Image.Image:
    """Panels in rows, with white between them."""
    framed = [np.pad(panel, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for panel in panels]
    rows = [np.hstack(framed[first : first + columns]) for first in range(0, len(framed), columns)]
    return Image.fromarray(np.vstack(rows)[:-GAP, :-GAP])


def compared(gray: np.ndarray, colored: np.ndarray) -> np.ndarray:
    """Two pictures side by side, in a panel as large as one of them."""
    halves = [gray[..., None].repeat(3, axis=-1), colored]
    for half, text in zip(halves, (ORIGINAL, COLORED), strict=True):
        label(half, text)
    height, width = gray.shape
    both = cv2.resize(np.hstack(halves), (width, height // 2), interpolation=cv2.INTER_AREA)
    return np.pad(both, ((height // 4, height - height // 2 - height // 4), (0, 0), (0, 0)), constant_values=255)


def panel_of(scene: np.ndarray, light: float, flags: list[str]) -> np.ndarray:
    """A scene by a network that knows it, under some flags."""
    options = parse_arguments(["photo.jpg", "--checkpoint", "RUN", *flags])
    truth = (scene * light).round().astype(np.uint8)
    gray = cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY)
    colorizer = Colorizer([(knowing(truth), 1.0)], adjustments=options.adjustments)
    panel = colorizer.colorize(gray, scene.shape[0] // 16, gamut=options.gamut)
    panel = compared(gray, panel) if options.compare else panel
    label(panel, " ".join(flags) or "as the network made it")
    return panel


def poster_of(flags: list[str], size: int) -> np.ndarray:
    """A red poster with fine letters in black and white, by a network that sees it as red all over."""
    gray = np.full((size, size), 90, np.uint8)
    for number, level in enumerate((255, 0, 255, 0)):
        place = (round(0.08 * size), round((0.24 + 0.19 * number) * size))
        cv2.putText(gray, "A POSTER", place, cv2.FONT_HERSHEY_SIMPLEX, size / 190, level, 2, cv2.LINE_AA)
    options = parse_arguments(["photo.jpg", "--checkpoint", "RUN", *flags])
    red = np.broadcast_to(np.array([210, 45, 40], np.uint8), (size, size, 3))
    panel = Colorizer([(knowing(red), 1.0)]).colorize(gray, 4, gamut=options.gamut)
    label(panel, " ".join(flags))
    return panel


def blend_of(scene: np.ndarray, flags: list[str], size: int) -> np.ndarray:
    """A scene by the network that knows it and the blue one, under some flags."""
    options = parse_arguments(["photo.jpg", "--blend", "FIRST", "SECOND", *flags])
    colorizer = Colorizer([(knowing(scene), 1.0), (blue, 1.0)], blending=options.blending)
    if options.blend_mask is not None:
        colorizer = colorizer.masked(np.linspace(0, 1, size)[None].repeat(size, 0))
    panel = colorizer.colorize(cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY), size // 16)
    label(panel, " ".join(["--blend A B", *flags]))
    return panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/controls.jpg"))
    parser.add_argument("--blends", type=Path, default=Path("docs/images/blends.jpg"))
    arguments = parser.parse_args()

    size = arguments.size
    scene = Scenes(seed=0, length=arguments.scene + 1).load(arguments.scene, size)
    panels = [panel_of(scene, light, flags) for light, flags in PANELS]
    panels += [poster_of(flags, size) for flags in GAMUTS]
    drawn(panels, COLUMNS).save(arguments.output, quality=85)
    drawn([blend_of(scene, flags, size) for flags in BLENDS], len(BLENDS)).save(arguments.blends, quality=85)


if __name__ == "__main__":
    main()
