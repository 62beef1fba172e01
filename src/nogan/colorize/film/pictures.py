"""Films that are pictures: numbered files (``frame_%04d.png``), and animated WebP, which ffmpeg does not decode."""

from __future__ import annotations

import io
import re
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from PIL import ImageSequence

from nogan.common.errors import UserError
from nogan.common.image_files import IMAGE_SUFFIXES, open_image

PATTERN = re.compile(r"%(0\d+)?d")
"""Where the number stands in the names of numbered pictures, as ffmpeg writes it."""

PICTURE_SUFFIXES = frozenset(IMAGE_SUFFIXES) | {".dpx", ".exr"}
ANIMATED_SUFFIXES = frozenset({".gif", ".webp"})
"""Suffixes of photographs that may be films."""

DEFAULT_FPS = Fraction(24)


class Numbered(NamedTuple):
    """Numbered pictures.

    Attributes:
        files: in order, without a gap.
        first: the number of the first.
    """

    files: list[Path]
    first: int


def is_pattern(path: Path) -> bool:
    """Whether a path stands for numbered pictures: it has one number's place in its name, and is no file itself."""
    return len(PATTERN.findall(path.name)) == 1 and not path.exists()


def is_animated(path: Path) -> bool:
    """Whether a picture has several frames; files that cannot be read are not."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        with open_image(path) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # whatever is wrong with it is said when it is colored
        return False


def numbered(pattern: Path) -> Numbered:
    """The pictures that a pattern stands for.

    Raises:
        UserError: there are none, or one is missing between the others.
    """
    folder, numbers = pattern.parent, numbers_of(pattern)
    if not numbers:
        raise UserError(f"{pattern}: no such pictures.")
    for expected, number in enumerate(numbers, numbers[0]):
        if number != expected:
            raise UserError(f"{folder / (pattern.name % expected)} is missing: numbered pictures must have no gap.")
    return Numbered([folder / (pattern.name % number) for number in numbers], numbers[0])


def numbers_of(pattern: Path) -> list[int]:
    """The numbers of the pictures that a pattern stands for, in order; gaps are no matter."""
    before, after = PATTERN.split(pattern.name)[0], PATTERN.split(pattern.name)[-1]
    place = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    folder = pattern.parent
    matches = (place.fullmatch(file.name) for file in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in matches if match and pattern.name % int(match[1]) == match[0])


def pattern_of(folder: Path) -> Path:
    """The pattern of the numbered pictures in a folder.

    Raises:
        UserError: there are no pictures with a number at the end of their names, or several series of them.
    """
    series: dict[Path, set[int]] = {}
    for file in folder.iterdir():
        match = re.fullmatch(r"(.*?)(\d+)(\.\w+)", file.name)
        if match and file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith("."):
            head = match[1].replace("%", "%%")
            series.setdefault(Path(head + "\0" + match[3]), set()).add(len(match[2]))
    if len(series) != 1:
        found = "none" if not series else ", ".join(sorted(str(key).replace("\0", "…") for key in series))
        raise UserError(f"{folder}: --fps makes one film of one series of numbered pictures; found: {found}.")
    (key, lengths) = next(iter(series.items()))
    place = f"%0{min(lengths)}d" if min(lengths) > 1 else "%d"
    return folder / str(key).replace("\0", place)


def unpacked_webp(path: Path) -> io.BytesIO:
    """An animated WebP as a lossless film in memory."""
    import av

    file, ticks = io.BytesIO(), 0
    with open_image(path) as image, av.open(file, "w", format="nut") as film:
        video = film.add_stream("ffv1", rate=Fraction(1000, max(int(image.info.get("duration", 40)) or 40, 1)))
        video.width, video.height, video.pix_fmt = image.width, image.height, "bgr0"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        for picture in ImageSequence.Iterator(image):
            frame = av.VideoFrame.from_image(picture.convert("RGB")).reformat(format="bgr0")
            frame.pts, frame.time_base = ticks, Fraction(1, 1000)
            film.mux(video.encode(frame))
            ticks += int(picture.info.get("duration", 40)) or 40
        film.mux(video.encode())
    file.seek(0)
    return file
