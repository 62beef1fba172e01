"""What --reference makes of film with known colors: its first frame is given in true colors, the others are measured.

    python benchmarks/references.py PHOTOS --checkpoint RUN

PHOTOS are color photographs, which are made gray, moved as in benchmarks/film.py, with grain, for 96 frames: still,
with the weave of an old gate, panned, zoomed into, and with an object that moves across. Printed: CIEDE2000 to the
truth, the mean over pixels, frames and photographs, by the distance from the reference, without and with it.
*Another scene behind* is a cut that the table of scenes hides, so that the reference is a wrong one for that scene.
"""

import argparse
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
from film import HEIGHT, WIDTH, grain, view
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.composite import composite
from nogan.colorize.film import FilmOptions, colorize_film

FRAMES = 96
DISTANCES = ((1, 8), (9, 24), (25, 48), (49, 95))
MEASURED = 4  # every so many frames
KINDS = ("still", "weave", "pan", "zoom", "object")


def large(path: Path) -> np.ndarray:
    """A photograph in color, RGB float32, 1.7 times as large as a frame."""
    rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(np.float32)
    scale = max(1.7 * WIDTH / rgb.shape[1], 1.7 * HEIGHT / rgb.shape[0])
    return cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def sequence(photograph: np.ndarray, other: np.ndarray, kind: str) -> list[np.ndarray]:
    """The frames in color, without grain."""
    generator = np.random.default_rng(1)
    if kind == "weave":
        return [view(photograph, 60 + generator.normal(), 60 + generator.normal()) for _ in range(FRAMES)]
    if kind == "pan":
        return [view(photograph, 5 + 2.5 * n, 20 + 0.7 * n) for n in range(FRAMES)]
    if kind == "zoom":
        return [zoomed(photograph, 1 + 0.006 * n) for n in range(FRAMES)]
    first = view(photograph, 60, 60)
    if kind == "still":
        return [first] * FRAMES
    frames = []
    for n in range(FRAMES):
        frame, x = first.copy(), 20 + 3 * n
        frame[90:210, x : x + 100] = view(other, 60, 60)[90:210, 100 : 100 + max(0, min(100, WIDTH - x))]
        frames.append(frame)
    return frames


def zoomed(photograph: np.ndarray, scale: float) -> np.ndarray:
    """The middle of a photograph, enlarged."""
    height, width = photograph.shape[:2]
    matrix = np.array([[scale, 0, (WIDTH - scale * width) / 2], [0, scale, (HEIGHT - scale * height) / 2]], np.float32)
    return cv2.warpAffine(photograph, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def grainy(frames: list[np.ndarray]) -> list[np.ndarray]:
    """The true frames as RGB uint8, each with grain in its luma."""
    generator = np.random.default_rng(2)
    shown = []
    for frame in frames:
        gray = cv2.cvtColor(frame.clip(0, 255), cv2.COLOR_RGB2GRAY) + grain(generator)
        shown.append(composite((frame / 255).clip(0, 1).astype(np.float32), gray.clip(0, 255).round().astype(np.uint8)))
    return shown


def write(path: Path, truth: list[np.ndarray]) -> None:
    """Write the luma of frames as a lossless film."""
    with av.open(path, "w") as film:
        video = film.add_stream("ffv1", rate=24)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in truth:
            gray = av.VideoFrame.from_ndarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), "gray")
            film.mux(video.encode(gray.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG")))
        film.mux(video.encode())


def errors(path: Path, truth: list[np.ndarray]) -> dict[int, float]:
    """CIEDE2000 of some frames, by their numbers, at half the size."""
    found = {}
    with av.open(path) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number % MEASURED == 0 or number == FRAMES - 1:
                pair = (halved(frame.to_ndarray(format="rgb24")), halved(truth[number]))
                found[number] = float(deltaE_ciede2000(*pair).mean())
    return found


def halved(rgb: np.ndarray) -> np.ndarray:
    """Lab of a frame at half its size, where grain is averaged."""
    return rgb2lab(cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def by_distance(found: dict[int, float], first: int = 0) -> list[float]:
    """The means over the ranges of :data:`DISTANCES` from frame ``first``."""
    return [
        float(np.mean([value for number, value in found.items() if low <= number - first <= high]))
        for low, high in DISTANCES
    ]


class Bench:
    """Colors sequences and measures them."""

    def __init__(self, colorizer: Colorizer, options: FilmOptions, folder: Path) -> None:
        self.colorizer, self.options, self.folder = colorizer, options, folder

    def run(self, truth: list[np.ndarray], keys: dict[int, np.ndarray]) -> dict[int, float]:
        """The errors of the film, with some frames given as references."""
        source, target, references = (self.folder / name for name in ("film.mkv", "out.mkv", "keys"))
        references.mkdir(exist_ok=True)
        for path in (*references.iterdir(), target):
            path.unlink(missing_ok=True)
        for number, picture in keys.items():
            Image.fromarray(picture).save(references / f"shot-0001_00-00-{number / 24:06.3f}.png")
        write(source, truth)
        scenes = self.folder / "scenes.csv"
        scenes.write_text(f"first,end,kind\n0,{len(truth)},shot\n")
        options = replace(self.options, scenes=scenes, reference=references if keys else None)
        colorize_film(self.colorizer, source, target, options)
        return errors(target, truth)


def row(name: str, *columns: list[list[float]]) -> None:
    """A line of the table: for each distance the means of all columns."""
    cells = np.mean(np.array(columns), axis=1).T
    print(
        f"| {name} | " + " | ".join(" → ".join(f"{value:.2f}" for value in cell) for cell in cells) + " |", flush=True
    )


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder with color photographs")
    parser.add_argument("--checkpoint", default="starter")
    parser.add_argument("--render-factor", type=int, default=12)
    parser.add_argument("--photographs", type=int, default=2, metavar="N", help="how many to use (default 2)")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS, "cut"], choices=[*KINDS, "cut"])
    parser.add_argument("--stabilize", type=float, default=0.0)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photographs = [large(path) for path in paths[: arguments.photographs + 1]]
    options = FilmOptions(arguments.render_factor, codec="ffv1", stabilize=arguments.stabilize)
    heads = " | ".join(f"{low}–{high} frames" for low, high in DISTANCES)
    print(f"| material (without → first → first and last) | {heads} |\n|---|{'---|' * len(DISTANCES)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Colorizer.load(arguments.checkpoint), options, Path(folder))
        pairs = list(pairwise(photographs))
        for kind in KINDS:
            if kind not in arguments.kinds:
                continue
            columns: list[list[list[float]]] = [[], [], []]
            for photograph, other in pairs:
                truth = grainy(sequence(photograph, other, kind))
                for column, numbers in zip(columns, ((), (0,), (0, FRAMES - 1)), strict=True):
                    column.append(by_distance(bench.run(truth, {number: truth[number] for number in numbers})))
            row(kind, *columns)
        if "cut" in arguments.kinds:
            columns = [[], []]
            for photograph, other in pairs:
                scenes = [sequence(picture, other, "pan") for picture in (photograph, other)]
                truth = grainy(scenes[0][:8] + scenes[1][:88])
                for column, numbers in zip(columns, ((), (4,)), strict=True):
                    found = bench.run(truth, {number: truth[number] for number in numbers})
                    column.append(by_distance({n: value for n, value in found.items() if n >= 8}, first=7))
            row("another scene behind (without → reference of the first)", *columns)


if __name__ == "__main__":
    main()
