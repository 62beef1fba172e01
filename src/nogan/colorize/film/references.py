"""Pictures of a film that a user has corrected, and the frames that they show.

A keyframe (:mod:`nogan.colorize.film.keyframes`) says in its name when it is shown; any other picture belongs to the
frame whose luma is most like its own.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from nogan.colorize.film.clip import clock_time
from nogan.colorize.film.reading import Film
from nogan.colorize.film.shots import CUT_THRESHOLD, thumbnail, unlikeness
from nogan.colorize.film.survey import Survey
from nogan.colorize.photos import Photo, read_photo
from nogan.colorize.photos.color_space import SRGB, converted
from nogan.common.errors import UserError
from nogan.common.image_files import IMAGE_SUFFIXES

FOUND = 0.1
"""Unlikeness of two pictures up to which one without a time in its name is taken for a frame of the film."""

SHAPE = 0.01
"""Share by which the ratio of width to height may differ from the film's."""

GRAY = 1.0
"""Mean difference in levels of 255 of the largest and the least channel, up to which a picture is gray."""

_SIDE = 128
_NAME = re.compile(r"shot-\d+_(\d+)-(\d\d)-(\d\d\.\d{3})")


@dataclass(frozen=True)
class Reference:
    """A picture that shows a frame of the film in the colors that it shall have.

    Attributes:
        path: of the file, which is read again when its shot is colored.
        digest: of its content.
        frame: number of the frame that it shows.
    """

    path: Path
    digest: str
    frame: int

    def squares(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Its gray ``(size, size)`` uint8, and U and V ``(size, size, 2)`` float32 about 0.5, stretched to a square."""
        yuv = cv2.cvtColor(_reduced(_srgb(read_photo(self.path)), size), cv2.COLOR_RGB2YUV)
        return (yuv[..., 0] * 255).round().clip(0, 255).astype(np.uint8), np.ascontiguousarray(yuv[..., 1:])


def name_of(shot: int, seconds: Fraction) -> str:
    """The name of a keyframe without a suffix: shot-0003_00-01-12.480."""
    minutes, milliseconds = divmod(max(round(seconds * 1000), 0), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"shot-{shot:04d}_{hours:02d}-{minutes:02d}-{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def seconds_of(name: str) -> Fraction | None:
    """The time in the name of a keyframe, in seconds since the film's first frame; None where it has none."""
    found = _NAME.match(name)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)


def read_references(folder: Path, film: Film, survey: Survey, shape: tuple[int, int]) -> list[Reference]:
    """All pictures in a folder, but not below it, in the order of the film.

    Args:
        folder: with pictures of any kind that photographs may be of.
        film: receives remarks.
        survey: of the film.
        shape: width and height of its upright frames in px.

    Raises:
        UserError: there are none; or one has another shape, is gray, shows nothing of the film, or a dissolve or a
            flash; or two show one frame.
    """
    if not folder.is_dir():
        raise UserError(f"--reference {folder}: no such folder.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    if not files:
        raise UserError(f"--reference {folder}: no picture in it.")
    references: dict[int, Reference] = {}
    for path in files:
        rgb = _checked(path, film, shape)
        number = _frame_of(path, rgb, film, survey)
        if number in references:
            raise UserError(f"{references[number].path} and {path} show one frame of the film; leave one out.")
        digest = hashlib.blake2b(path.read_bytes()).hexdigest()[:32]
        references[number] = Reference(path, f"{number}:{digest}", number)
    return [references[number] for number in sorted(references)]


def _checked(path: Path, film: Film, shape: tuple[int, int]) -> np.ndarray:
    """A small RGB picture ``(_SIDE, _SIDE, 3)`` float32 of one that has the film's shape, and colors."""
    photo = read_photo(path)
    (height, width), (film_width, film_height) = photo.pixels.shape[:2], shape
    here, there = f"{width} x {height} px", f"{film_width} x {film_height}"
    if abs(width * film_height / (height * film_width) - 1) > SHAPE:
        raise UserError(f"{path}: {here}, and the film has {there}: expected a picture of that shape.")
    if (width, height) != shape:
        film.remarks.append(f"{path.name} has {here}, and the film {there}: it was scaled")
    if photo.pixels.ndim == 2:
        raise UserError(f"{path}: it is gray, and gives the film no colors; leave it out of --reference.")
    rgb = _reduced(_srgb(photo), _SIDE)
    if np.ptp(rgb, axis=-1).mean() * 255 < GRAY:
        raise UserError(f"{path}: it is gray, and gives the film no colors; leave it out of --reference.")
    return rgb


def _frame_of(path: Path, rgb: np.ndarray, film: Film, survey: Survey) -> int:
    gray = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) * 255).round().clip(0, 255).astype(np.uint8)
    small, seconds = thumbnail(gray), seconds_of(path.name)
    if seconds is None:
        apart = [unlikeness(small, other) for other in survey.thumbnails]
        number = int(np.argmin(apart))
        if apart[number] > FOUND:
            raise UserError(f"{path}: no frame of the film looks like it; expected a picture of the film.")
    else:
        number = _nearest(survey.times, film.origin + seconds / film.time_base)
        if unlikeness(small, survey.thumbnails[number]) > CUT_THRESHOLD:
            raise UserError(
                f"{path}: the film shows another picture at {clock_time(seconds)}, the time in its name: expected that "
                "frame, or a name without a time, and its place is looked for."
            )
    if number not in survey.stretches[survey.stretch_of(number)].shot_frames:
        raise UserError(f"{path}: shows a dissolve or a flash, and no shot; leave it out of --reference.")
    return number


def _nearest(times: Sequence[int], ticks: Fraction) -> int:
    place = bisect_left(times, ticks)
    return min(
        (number for number in (place - 1, place) if 0 <= number < len(times)),
        key=lambda number: abs(times[number] - ticks),
    )


def _srgb(photo: Photo) -> np.ndarray:
    """RGB ``(H, W, 3)`` float32 in [0, 1] of sRGB."""
    rgb = photo.pixels.astype(np.float32) / np.float32(np.iinfo(photo.pixels.dtype).max)
    return rgb if photo.space is None else converted(rgb, photo.space.profile, SRGB)


def _reduced(rgb: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA).clip(0, 1)
