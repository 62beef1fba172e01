"""Measures colorized films: how they flicker, and, beside their truth, how right their colors are, shot by shot.

Flicker is that of :mod:`nogan.colorize.film.flicker`, the measures of single frames are those of
:data:`nogan.evaluation.per_image.PER_IMAGE`; both are read frame by frame, in constant memory but for a few numbers a
frame and a small picture a shot.
"""

from __future__ import annotations

import csv
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
import torch

from nogan.colorize.film.flicker import FlickerMeter, measure_motion, warp_error
from nogan.colorize.film.reading import Film, quarter_turns
from nogan.colorize.film.shots import Scene, find_scenes, thumbnail
from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.common.image_files import printable
from nogan.evaluation.per_image import PER_IMAGE, Pair

SIDE = 640
"""Longer side in px to which frames are reduced before they are measured, by the mean over areas."""

ALONE = ("cf", "unexplained")
"""Measures of frames that need no truth, by their keys in :data:`PER_IMAGE`."""

WITH_TRUTH = ("psnr", "ciede2000", "wrong_strong")
"""Measures of frames that need it."""

THUMBNAIL, THUMBNAIL_AT = 320, 12
"""A shot is shown by its frame number 12, or its last if it is shorter, at this longer side in px."""

SHOWN_SHOTS = 24
ALIKE = 30.0
"""PSNR in dB of the luma below which film and reference are probably not the same frames."""


@dataclass
class Shot:
    """Frames of one shot, of a dissolve between two, or of a flash.

    Attributes:
        first: number of its first frame, from 0.
        kind: a shot, a dissolve between two, or a flash: see :mod:`nogan.colorize.film.shots`.
        frames: how many there are.
        means: mean of each measure of frames over them.
        cdc: see :class:`~nogan.colorize.film.flicker.Flicker`; by the distance in frames, as text.
        warp_error: as there; None for a single frame.
    """

    first: int
    kind: str = "shot"
    frames: int = 0
    means: dict[str, float] = field(default_factory=dict)
    cdc: dict[str, float] = field(default_factory=dict)
    warp_error: float | None = None


@dataclass
class MeasuredFilm:
    """What was measured of a film.

    Attributes:
        name: of the file.
        frames: how many were measured.
        rate: frames a second.
        size: width and height in px at which they were measured.
        means: mean of each measure over the frames.
        cdc: of the whole film, cuts included.
        warp_error: of the whole film; None for a single frame.
        shots: in order.
        series: values of each measure, frame by frame; ``warp_error`` is 0 at the first frame of a shot.
        remarks: what a reader must know.
        thumbnails: a frame of each of the first :data:`SHOWN_SHOTS` shots, RGB ``(h, w, 3)`` uint8; not in the files.
    """

    name: str
    frames: int
    rate: float
    size: tuple[int, int]
    means: dict[str, float]
    cdc: dict[str, float]
    warp_error: float | None
    shots: list[Shot]
    series: dict[str, list[float]]
    remarks: list[str]
    thumbnails: list[np.ndarray]


def measure_films(
    films: Sequence[Path], reference: Path | None, progress: Callable[[str, int, int | None], None] = lambda *_: None
) -> list[MeasuredFilm]:
    """Measure each of ``films``; with a ``reference`` also the reference itself, which comes last and is the truth.

    Args:
        films: colorized films.
        reference: the same film with its true colors, of the same size and with the same frames; None if unknown.
        progress: called with the film's name, how many frames are done, and of how many (None if that is not known).

    Raises:
        UserError: a file is no film, or has another size than the reference.
    """
    names = [film.name for film in films] if len({film.name for film in films}) == len(films) else list(map(str, films))
    measured = [
        _measure(film, reference, name, lambda done, total, name=name: progress(name, done, total))  # type: ignore[misc]
        for film, name in zip(films, names, strict=True)
    ]
    if reference is not None:
        name = f"{reference.name} (truth)"
        measured.append(_measure(reference, None, name, lambda done, total: progress(name, done, total)))
    return measured


def _measure(
    path: Path, reference: Path | None, name: str, progress: Callable[[int, int | None], None]
) -> MeasuredFilm:
    film = Film.open(path)
    truth = None if reference is None else Film.open(reference)
    if truth is not None and shape_of(film) != shape_of(truth):
        (width, height), (true_width, true_height) = shape_of(film), shape_of(truth)
        raise UserError(
            f"{printable(path)}: {width} x {height} px, and --reference {printable(truth.path)} {true_width} x "
            f"{true_height}: expected the same film"
        )
    meter = _Meter(_scenes(film if truth is None else truth))
    only_film, only_truth = 0, 0
    for frame, true in zip_longest(_frames(film), () if truth is None else _frames(truth)):
        if frame is None:
            only_truth += 1
        elif truth is not None and true is None:
            only_film += 1
        else:
            meter.add(frame, true)
            progress(meter.frames, film.frames)
    remarks = list(dict.fromkeys(film.remarks))
    if only_film or only_truth:
        count, which = (only_film, "fewer") if only_film else (only_truth, "more")
        remarks.append(
            f"--reference has {count} frame{'s' * (count != 1)} {which}; the first {meter.frames} were compared"
        )
    if truth is not None and meter.luma_psnr < ALIKE:
        remarks.append(f"its luma is not the reference's (PSNR {meter.luma_psnr:.1f} dB): are they the same frames?")
    return meter.result(name, float(film.rate), remarks)


class _Meter:
    """Takes the frames of a film, one by one; ``scenes`` says where its shots begin."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._kinds = {scene.first: scene.kind for scene in scenes}
        self.shots: list[Shot] = []
        self.series: dict[str, list[float]] = {}
        self.thumbnails: list[np.ndarray] = []
        self.frames = 0
        self._whole, self._shot = FlickerMeter(), FlickerMeter()
        self._before: tuple[np.ndarray, np.ndarray] | None = None  # the frame and its gray
        self._warped: list[float | None] = []  # warp error of each frame; None at the first of a shot
        self._luma_error = 0.0

    @property
    def luma_psnr(self) -> float:
        """Of film and reference, in dB; 100 where they are equal or there is no reference."""
        return -10 * math.log10(max(self._luma_error / max(1, self.frames), 1e-10))

    def add(self, frame: np.ndarray, truth: np.ndarray | None) -> None:
        """Add a frame and its truth, RGB ``(h, w, 3)`` uint8."""
        own = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        gray = own if truth is None else cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY)
        self._luma_error += float(np.mean((own.astype(np.float32) - gray) ** 2)) / 255**2
        if self._before is None or self.frames in self._kinds:
            self._end_shot()
            self.shots.append(Shot(self.frames, self._kinds.get(self.frames, "shot")))
            self._warped.append(None)
        else:
            self._warped.append(warp_error(frame, self._before[0], measure_motion(gray, self._before[1])))
        self._whole.update(frame)
        self._shot.update(frame)
        for key, value in _values(frame, truth).items():
            self.series.setdefault(key, []).append(value)
        shot = self.shots[-1]
        if shot.frames <= THUMBNAIL_AT and len(self.shots) <= SHOWN_SHOTS:
            self.thumbnails[len(self.shots) - 1 :] = [_reduced(frame, THUMBNAIL)]
        shot.frames += 1
        self.frames += 1
        self._before = frame, gray

    def result(self, name: str, rate: float, remarks: list[str]) -> MeasuredFilm:
        """All that the frames gave."""
        self._end_shot()
        assert self._before is not None
        height, width = self._before[0].shape[:2]
        return MeasuredFilm(
            name,
            self.frames,
            rate,
            (width, height),
            self._means(0, self.frames),
            _as_text(self._whole.result().cdc),
            _mean(self._warped),
            self.shots,
            {**self.series, "warp_error": [value or 0.0 for value in self._warped]},
            remarks,
            self.thumbnails,
        )

    def _end_shot(self) -> None:
        if self.shots:
            shot = self.shots[-1]
            shot.means = self._means(shot.first, self.frames)
            shot.cdc, shot.warp_error = _as_text(self._shot.result().cdc), _mean(self._warped[shot.first :])
        self._shot = FlickerMeter()

    def _means(self, first: int, end: int) -> dict[str, float]:
        return {key: float(np.mean(values[first:end])) for key, values in self.series.items()}


def shape_of(film: Film) -> tuple[int, int]:
    """Width and height in px of the upright frames."""
    width, height = film.first.width, film.first.height
    return (height, width) if quarter_turns(film.first) % 2 else (width, height)


def _scenes(film: Film) -> list[Scene]:
    """The shots of a film, for which it is decoded once."""
    grays = (np.rot90(f.to_ndarray(format="gray"), quarter_turns(f)) for f in film.decode(after=None, done=0))
    return find_scenes([thumbnail(np.ascontiguousarray(gray)) for gray in grays])


def _frames(film: Film) -> Iterator[np.ndarray]:
    """The upright frames, RGB ``(h, w, 3)`` uint8, reduced to :data:`SIDE`."""
    for frame in film.decode(after=None, done=0):
        yield _reduced(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns(frame)), SIDE)


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _values(frame: np.ndarray, truth: np.ndarray | None) -> dict[str, float]:
    """The measures of one frame."""
    output = _tensor(frame)
    pair = Pair(output, output if truth is None else _tensor(truth))
    return {key: float(PER_IMAGE[key](pair)) for key in (ALONE if truth is None else (*ALONE, *WITH_TRUTH))}


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def _as_text(cdc: Mapping[int, float]) -> dict[str, float]:
    return {str(step): value for step, value in cdc.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return float(np.mean(measured)) if measured else None


# --- files ------------------------------------------------------------------------------------------------------------


def write_films(films: Sequence[MeasuredFilm], folder: Path) -> list[Path]:
    """Write ``film.json``, and ``frames.csv`` with a line a frame, into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    content = [{**_fields(film), "shots": [asdict(shot) for shot in film.shots]} for film in films]
    text = json.dumps({"format": "nogan-film-evaluation", "version": 1, "films": content}, indent=1) + "\n"
    paths = [folder / "film.json", folder / "frames.csv"]
    write_atomically(paths[0], lambda path: path.write_text(text, encoding="utf-8"))
    write_atomically(paths[1], lambda path: _write_frames(films, path))
    return paths


def _fields(film: MeasuredFilm) -> dict[str, object]:
    left_out = ("series", "thumbnails", "shots")
    return {item.name: getattr(film, item.name) for item in fields(film) if item.name not in left_out}


def _write_frames(films: Sequence[MeasuredFilm], path: Path) -> None:
    keys = list(dict.fromkeys(key for film in films for key in film.series))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["film", "frame", "seconds", "shot", *keys])
        for film in films:
            starts = [shot.first for shot in film.shots]
            for frame in range(film.frames):
                values = (film.series[key][frame] if key in film.series else "" for key in keys)
                writer.writerow([film.name, frame, frame / film.rate, bisect_right(starts, frame), *values])
