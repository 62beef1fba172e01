"""Cuts grids of samples into pictures and packs them into a page, within a budget of bytes."""

import base64
import io
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nogan.common.image_files import open_image
from nogan.evaluation.held_out import GAP

log = logging.getLogger(__name__)

QUALITIES = ((192, 84), (160, 82), (128, 80), (128, 68), (96, 68), (80, 60), (64, 50), (48, 40))  # (px, WebP quality)
TRIED = 6  # grids from which the size of all is estimated


@dataclass(frozen=True)
class Grid:
    """The pictures of one grid: a row of gray ones, of outputs, and of the truth."""

    gray: list[Image.Image]
    output: list[Image.Image]
    truth: list[Image.Image]


def read_grid(path: Path) -> Grid:
    """Read a grid that the probe drew, and cut it into its pictures."""
    with open_image(path) as picture:
        grid = picture.convert("RGB")
    size = (grid.height - 2 * GAP) // 3
    columns = (grid.width + GAP) // (size + GAP)
    rows = [
        [_crop(grid, column * (size + GAP), row * (size + GAP), size) for column in range(columns)] for row in range(3)
    ]
    return Grid(*rows)


def _crop(grid: Image.Image, left: int, top: int, size: int) -> Image.Image:
    return grid.crop((left, top, left + size, top + size))


def data_uri(picture: Image.Image, px: int, quality: int) -> str:
    """``picture`` as WebP in a ``data:`` URI, at most ``px`` wide."""
    if picture.width > px:
        picture = picture.resize((px, px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class Packed:
    """Pictures as ``data:`` URIs: the outputs of each grid, and gray and truth once for all."""

    outputs: dict[Path, list[str]]
    gray: list[str]
    truth: list[str]


def pack(paths: Iterable[Path], budget: float) -> Packed:
    """Pack the outputs of grids of the same held-out pictures, as large and as sharp as ``budget`` bytes of page allow.

    Where even the smallest do not fit, grids are left out evenly; the first and the last stay.
    """
    every = [path for path in dict.fromkeys(paths) if _readable(path)]
    if not every:
        return Packed({}, [], [])
    first = read_grid(every[0])
    reference = [*first.gray, *first.truth]
    tried = [read_grid(path).output for path in _spread(every, TRIED)]
    for px, quality in QUALITIES:
        each = sum(len(data_uri(picture, px, quality)) for outputs in tried for picture in outputs) / len(tried)
        around = sum(len(data_uri(picture, px, quality)) for picture in reference)
        room = (budget - around) / (1.05 * each)
        if room >= len(every):
            break
    if room < len(every):
        log.info("%d of %d grids of samples are shown: more do not fit into the page", int(room), len(every))
        every = _spread(every, max(2, int(room)))
    # Pillow releases the interpreter lock while it encodes.
    with ThreadPoolExecutor() as pool:
        encoded = pool.map(lambda path: [data_uri(p, px, quality) for p in read_grid(path).output], every)
        outputs = dict(zip(every, encoded, strict=True))
    pictures = [data_uri(picture, px, quality) for picture in reference]
    return Packed(outputs, pictures[: len(first.gray)], pictures[len(first.gray) :])


def by_truth(paths: Mapping[str, Path]) -> list[dict[str, Path]]:
    """Group grids that show the same held-out pictures; the largest group comes first."""
    parts: dict[bytes, dict[str, Path]] = {}
    for name, path in paths.items():
        if _readable(path):
            truth = b"".join(picture.tobytes() for picture in read_grid(path).truth)
            parts.setdefault(truth, {})[name] = path
    return sorted(parts.values(), key=len, reverse=True)


def _readable(path: Path) -> bool:
    try:
        with open_image(path) as picture:
            picture.verify()
    except Exception as error:  # Pillow's plugins raise errors of many kinds
        log.warning("%s is damaged (%s): it is left out", path, error)
        return False
    return True


def _spread(items: list[Path], count: int) -> list[Path]:
    """At most ``count`` of ``items``, evenly spaced, with the first and the last."""
    if len(items) <= count:
        return items
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]
