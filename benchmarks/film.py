"""How steady colored film is: made from photographs with known motion, colored with and without --stabilize, measured.

    python benchmarks/film.py PHOTOS --checkpoint RUN

Each sequence is 48 gray frames of 384 x 288 px with grain (8 levels): still; with light that changes by 5 % a
frame; with the weave of an old gate (1 px); panned; with an object that moves across; dissolving into another picture;
with a flash. They are colored to lossless FFV1. Printed, in levels of 255: the temporal deviation of U and V along the
*true* motion (root mean square over the pixels, without the first 8 frames), and the same for a plain mean over 15
frames, which a stabilizer has to beat.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film

WIDTH, HEIGHT, FRAMES, GRAIN = 384, 288, 48, 8.0
SETTLED = 8  # frames at the start that are not measured

Offsets = list[tuple[float, float]]


def grain(generator: np.random.Generator) -> np.ndarray:
    """Film grain: correlated over a pixel or two."""
    noise = cv2.GaussianBlur(generator.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 0.7)
    return noise * (GRAIN / noise.std())


def large(path: Path) -> np.ndarray:
    """A photograph, gray, half as large again as a frame."""
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    scale = max(1.5 * WIDTH / gray.shape[1], 1.5 * HEIGHT / gray.shape[0])
    return cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def view(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """The part of ``picture`` whose upper left corner is at x, y."""
    matrix = np.array([[1, 0, -x], [0, 1, -y]], np.float32)
    return cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def write(path: Path, frames: list[np.ndarray], seed: int, grainy: bool = True) -> None:
    """Write gray frames, with grain, as a lossless film."""
    generator = np.random.default_rng(seed)
    with av.open(path, "w") as film:
        video = film.add_stream("ffv1", rate=24)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            picture = frame + grain(generator) if grainy else frame
            gray = av.VideoFrame.from_ndarray(picture.clip(0, 255).round().astype(np.uint8), "gray")
            film.mux(video.encode(gray.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG")))
        film.mux(video.encode())


def moving(photograph: np.ndarray, kind: str) -> tuple[list[np.ndarray], Offsets]:
    """A sequence of one photograph, and where the camera was in each frame."""
    generator = np.random.default_rng(1)
    offsets: Offsets = [(40.0, 40.0)] * FRAMES
    if kind == "weave":
        offsets = [(40 + generator.normal(), 40 + generator.normal()) for _ in range(FRAMES)]
    elif kind == "pan":
        offsets = [(10 + 2.5 * n, 30 + 0.7 * n) for n in range(FRAMES)]
    light = 1 + generator.normal(0, 0.05 if kind == "light" else 0, FRAMES)
    return [view(photograph, *place) * gain for place, gain in zip(offsets, light, strict=True)], offsets


def with_object(first: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """A part of ``other`` moves over ``first`` from left to right, 5 px a frame."""
    frames = []
    for n in range(FRAMES):
        frame, x = first.copy(), 20 + 5 * n
        frame[90:210, x : x + 100] = other[90:210, 100 : 100 + min(100, WIDTH - x)]
        frames.append(frame)
    return frames


def chroma(path: Path) -> np.ndarray:
    """U and V of a film, ``(T, H / 2, W / 2, 2)`` float32."""
    with av.open(path) as film:
        planes = [frame.to_ndarray(format="yuv420p")[HEIGHT:] for frame in film.decode(video=0)]
    stack = np.stack(planes).astype(np.float32)
    return stack.reshape(len(stack), 2, HEIGHT // 2, WIDTH // 2).transpose(0, 2, 3, 1)


def deviation(colors: np.ndarray, offsets: Offsets) -> float:
    """Root mean square over the pixels of the temporal deviation along the true motion."""
    carried, seen = [], np.ones(colors.shape[1:3], bool)
    x0, y0 = offsets[FRAMES // 2]
    for frame, (x, y) in list(zip(colors, offsets, strict=True))[SETTLED:]:
        matrix = np.array([[1, 0, (x - x0) / 2], [0, 1, (y - y0) / 2]], np.float32)  # chroma has half the size
        size = frame.shape[1::-1]
        carried.append(cv2.warpAffine(frame, matrix, size))
        seen &= cv2.warpAffine(np.ones(frame.shape[:2], np.float32), matrix, size) > 0.999
    return float(np.sqrt(np.stack(carried)[:, seen].var(axis=0).mean()))


def running_mean(colors: np.ndarray, radius: int) -> np.ndarray:
    """Each frame's mean with its neighbors, where they are, without motion."""
    return np.stack([colors[max(0, n - radius) : n + radius + 1].mean(axis=0) for n in range(len(colors))])


def moved(frame: np.ndarray, x: float, y: float) -> np.ndarray:
    """Chroma of a frame, moved by so many px of the film; edges are mirrored."""
    matrix = np.array([[1, 0, x / 2], [0, 1, y / 2]], np.float32)
    return cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def weave_at_fixed_pixels(
    photograph: np.ndarray, color: Callable[[str, list[np.ndarray], bool], Iterator[np.ndarray]]
) -> None:
    """Print the deviation under weave at pixels that stay, also of colors that follow the picture exactly."""
    frames, offsets = moving(photograph, "weave")
    off, on = color("weave", frames, True)
    x0, y0 = offsets[FRAMES // 2]
    still = np.mean([moved(frame, x - x0, y - y0) for frame, (x, y) in zip(off, offsets, strict=True)], axis=0)
    exact = np.stack([moved(still, x0 - x, y0 - y) for x, y in offsets])
    fixed = [(40.0, 40.0)] * FRAMES
    print("| weave | off | stabilized | plain mean of 15 frames | exactly with the picture |\n|---|---|---|---|---|")
    for name, along in (("at fixed pixels", fixed), ("along the motion", offsets)):
        values = [deviation(film, along) for film in (off, on, running_mean(off, 7), exact)]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |", flush=True)


def rms(difference: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt((difference**2).mean()))


def trail(colors: np.ndarray, clean: np.ndarray) -> float:
    """Error in the 20 px behind the object against the film without grain, frame by frame, on the average."""
    parts = []
    for n in range(10, 40):
        x = (20 + 5 * n) // 2
        parts.append(rms((colors[n] - clean[n])[45:105, max(0, x - 20) : x]))
    return float(np.mean(parts))


def rows(
    photographs: list[np.ndarray], count: int, color: Callable[[str, list[np.ndarray], bool], Iterator[np.ndarray]]
) -> None:
    """Color everything and print the table; the first rows are means over ``count`` photographs."""
    print("| material | off | stabilized | plain mean of 15 frames |\n|---|---|---|---|", flush=True)
    for kind in ("still", "light", "weave", "pan"):
        values = []
        for photograph in photographs[:count]:
            frames, offsets = moving(photograph, kind)
            off, on = color(kind, frames, True)
            values.append([deviation(film, offsets) for film in (off, on, running_mean(off, 7))])
        print(f"| {kind} | " + " | ".join(f"{value:.2f}" for value in np.mean(values, axis=0)) + " |", flush=True)
    first, other = view(photographs[0], 40, 40), view(photographs[-1], 40, 40)
    frames = with_object(first, other)
    clean, _ = color("clean", frames, False)
    off, on = color("object", frames, True)
    print(f"| behind a moving object, error | {trail(off, clean):.2f} | {trail(on, clean):.2f} | |", flush=True)
    shares = [min(max((n - 12) / 24, 0), 1) for n in range(FRAMES)]
    off, on = color("dissolve", [first * (1 - share) + other * share for share in shares], True)
    worst = max(rms(a - b) for a, b in zip(on, running_mean(off, 2), strict=True))
    print(f"| dissolve, worst difference from off | | {worst:.2f} | |", flush=True)
    off, on = color("flash", [np.full_like(first, 250) if n == 24 else first for n in range(FRAMES)], True)
    after = [rms(film[34] - film[12:24].mean(axis=0)) for film in (off, on)]
    print(f"| 10 frames after a flash, from the mean before it | {after[0]:.2f} | {after[1]:.2f} | |", flush=True)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder with two photographs or more")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--render-factor", type=int, default=8)
    parser.add_argument("--photographs", type=int, default=2, metavar="N", help="how many to use (default 2)")
    parser.add_argument("--weave", action="store_true", help="only weave, also measured at pixels that stay")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photographs = [large(path) for path in paths[: max(2, arguments.photographs)]]
    colorizer = Colorizer.load(arguments.checkpoint)
    seconds = {0.0: 0.0, 1.0: 0.0}

    with tempfile.TemporaryDirectory() as folder:

        def color(name: str, frames: list[np.ndarray], grainy: bool) -> Iterator[np.ndarray]:
            source = Path(folder) / f"{name}.mkv"
            write(source, frames, seed=len(name), grainy=grainy)
            for strength in seconds:
                target = Path(folder) / f"{name}-{strength}.mkv"
                target.unlink(missing_ok=True)
                options = FilmOptions(arguments.render_factor, codec="ffv1", stabilize=strength)
                begin = time.process_time()
                colorize_film(colorizer, source, target, options)
                seconds[strength] += (time.process_time() - begin) / len(frames)
                yield chroma(target)

        if arguments.weave:
            weave_at_fixed_pixels(photographs[0], color)
        else:
            rows(photographs, arguments.photographs, color)
    print(f"\nProcessor time of --stabilize: {(seconds[1.0] / seconds[0.0] - 1):.0%} more than without.")


if __name__ == "__main__":
    main()
