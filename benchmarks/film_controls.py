"""Draw what the controls of film do, on built-in scenes made into film and colored by the starter.

    python benchmarks/film_controls.py [-o docs/images]

Writes ``film-steady.svg``, the chroma of one place over time under --stabilize 0, 0.5 and 1, ``film-deinterlace.jpg``
and ``film-reference.jpg``. Needs matplotlib (`pip install -e ".[study]"`).
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
from controls import drawn
from film import HEIGHT, WIDTH, chroma, view, write
from PIL import Image

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film
from nogan.colorize.labels import label
from nogan.data.scenes import Scenes

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SCENE, LARGE = 5, 640
FRAMES = 48
STRENGTHS = (0.0, 0.5, 1.0)
PLACE = (40, 96)
"""Upper left corner of the place whose chroma is drawn, in px of the chroma planes, and its side."""
SIDE = 12
PANEL = 288
"""Width of a panel in px."""


def scene_at(offset: float) -> np.ndarray:
    """A view of the built-in scene in color, ``(288, 384, 3)`` float32."""
    picture = Scenes(seed=0, length=SCENE + 1).load(SCENE, LARGE).astype(np.float32)
    return view(picture, 100 + offset, 150)


def gray(rgb: np.ndarray) -> np.ndarray:
    """Luma of a picture, in its range."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames of a film as RGB uint8."""
    with av.open(path) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def draw_steadiness(colorizer: Colorizer, options: FilmOptions, folder: Path, output: Path) -> None:
    """The chroma of one place of a film with a light that flickers, at three strengths."""
    light = 1 + np.random.default_rng(1).normal(0, 0.05, FRAMES)
    write(folder / "still.mkv", [gray(scene_at(0)) * gain for gain in light], seed=0)
    figure, axis = plt.subplots(figsize=(7.5, 2.6))
    for strength, color in zip(STRENGTHS, ("#bab0ac", "#72b7b2", "#e45756"), strict=True):
        target = folder / f"steady-{strength:g}.mkv"
        colorize_film(colorizer, folder / "still.mkv", target, replace(options, stabilize=strength))
        y, x = PLACE
        values = chroma(target)[:, y : y + SIDE, x : x + SIDE, 0].mean(axis=(1, 2))
        axis.plot(values, color=color, label=f"--stabilize {strength:g}")
        print(f"--stabilize {strength:g}: standard deviation {values.std():.2f} levels of 255")
    axis.set(xlabel="frame", ylabel="Cb of one place")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=len(STRENGTHS), frameon=False, fontsize=9)
    figure.savefig(output, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def interlaced(path: Path) -> None:
    """A film of two fields a frame, half a frame apart in time, that pans."""
    with av.open(path, "w") as film:
        video = film.add_stream("mpeg2video", rate=25, options={"qmin": "1", "qmax": "2"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.flags |= 0x20040000  # interlaced DCT and motion estimation
        for number in range(6):
            woven, second = (gray(scene_at(8 * number + half)).clip(0, 255).round().astype(np.uint8) for half in (0, 4))
            woven[1::2] = second[1::2]
            film.mux(video.encode(av.VideoFrame.from_ndarray(woven, "gray").reformat(format="yuv420p")))
        film.mux(video.encode())


def panel(picture: np.ndarray, text: str) -> np.ndarray:
    """A labeled panel."""
    size = PANEL, PANEL * picture.shape[0] // picture.shape[1]
    result = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    label(result, text)
    return result


def deinterlaced(colorizer: Colorizer, options: FilmOptions, folder: Path) -> list[np.ndarray]:
    """A part of an interlaced frame, colored as it is, and made whole."""
    source = folder / "fields.mkv"
    interlaced(source)
    films = {"the film, two fields a frame": source}
    for how in ("off", "auto"):
        films[f"--deinterlace {how}"] = target = folder / f"{how}.mkv"
        colorize_film(colorizer, source, target, replace(options, deinterlace=how))
    parts = {text: frames_of(path)[3][20:110, 130:250] for text, path in films.items()}
    return [panel(part.repeat(4, axis=0).repeat(4, axis=1), text) for text, part in parts.items()]


def referenced(colorizer: Colorizer, options: FilmOptions, folder: Path) -> list[np.ndarray]:
    """The last frame of a pan as the network colors it, a picture of the first, and what that makes of the last."""
    write(folder / "pan.mkv", [gray(scene_at(2 * number)) for number in range(FRAMES)], seed=0)
    keys = folder / "keys"
    keys.mkdir()
    truth = scene_at(0).clip(0, 255).round().astype(np.uint8)
    Image.fromarray(truth).save(keys / "shot-0001_00-00-00.000.png")
    results = []
    for reference in (None, keys):
        target = folder / f"pan-{reference is not None}.mkv"
        colorize_film(colorizer, folder / "pan.mkv", target, replace(options, reference=reference))
        results.append(frames_of(target)[-1])
    texts = (f"frame {FRAMES}", "frame 1 in keys/", f"frame {FRAMES}, --reference keys/")
    return [panel(picture, text) for picture, text in zip((results[0], truth, results[1]), texts, strict=True)]


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"), metavar="DIR")
    arguments = parser.parse_args()
    colorizer, options = Colorizer.load("starter", device="cpu"), FilmOptions(10, codec="ffv1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_steadiness(colorizer, options, folder, arguments.output / "film-steady.svg")
        for name, panels_of in (("deinterlace", deinterlaced), ("reference", referenced)):
            panels = panels_of(colorizer, options, folder)
            drawn(panels, len(panels)).save(arguments.output / f"film-{name}.jpg", quality=88)


if __name__ == "__main__":
    main()
