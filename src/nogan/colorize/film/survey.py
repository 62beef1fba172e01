"""One pass over a film that only decodes it: its shots, which frame shows each best, and whether it has colors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.reading import Film, pts_of, quarter_turns
from nogan.colorize.film.shots import Scene, Stretch, find_scenes, read_scenes, stretches, thumbnail, write_scenes
from nogan.colorize.photos.own_colors import has_colors
from nogan.common.threads import read_ahead

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_SIDE = 128  # of the pictures that are looked at, px


@dataclass(frozen=True)
class Survey:
    """What was seen of each frame of a film; about 1 kB a frame.

    Attributes:
        times: when it is shown, in ticks of the film.
        thumbnails: by which frames are compared (:func:`nogan.colorize.film.shots.thumbnail`).
        sharpness: deviation in gray levels of what the Laplacian leaves, under the grain.
        light: its mean gray level.
        with_colors: whether it has colors of its own; False where nobody asked.
        scenes: of the film, in order and without gaps.
        stretches: the same, joined across flashes.
    """

    times: Sequence[int]
    thumbnails: Sequence[np.ndarray]
    sharpness: np.ndarray
    light: np.ndarray
    with_colors: np.ndarray
    scenes: Sequence[Scene]
    stretches: Sequence[Stretch]

    def stretch_of(self, number: int) -> int:
        """The place in ``stretches`` of the one that frame ``number`` is in; frames behind the end are in the last."""
        return max(bisect_right(self.stretches, number, key=lambda stretch: stretch.first) - 1, 0)

    def joined(self, place: int) -> range:
        """The places in ``stretches`` of those that dissolves join with the one at ``place``, and its own."""
        dissolves = [stretch.dissolves for stretch in self.stretches]
        first, end = place, place + 1
        while first > 0 and (dissolves[first] or dissolves[first - 1]):
            first -= 1
        while end < len(dissolves) and (dissolves[end - 1] or dissolves[end]):
            end += 1
        return range(first, end)

    def around(self, number: int) -> range:
        """The frames of the stretch that frame ``number`` is in, and of the dissolves beside it."""
        first = end = self.stretch_of(number)
        if first > 0 and self.stretches[first - 1].dissolves:
            first -= 1
        if end + 1 < len(self.stretches) and self.stretches[end + 1].dissolves:
            end += 1
        return range(self.stretches[first].first, self.stretches[end].end)

    def keyframe(self, stretch: Stretch) -> int | None:
        """The frame that shows a shot best: sharp, near the middle, in the usual light; None in a dissolve."""
        frames = np.array(stretch.shot_frames)
        if not len(frames):
            return None
        quarter = len(frames) // 4
        middle = frames[quarter : len(frames) - quarter]
        sharpness, light = self.sharpness[middle], self.light[middle]
        off_center = np.abs(middle - (frames[0] + frames[-1]) / 2) / len(frames)
        score = sharpness / max(sharpness.max(), 1e-6) - off_center - np.abs(light - np.median(light)) / 64
        return int(middle[np.argmax(score)])

    def frames_from(self, film: Film, number: int) -> Generator[VideoFrame, None, None]:
        """The frames of the film from frame ``number`` on."""
        return film.decode(after=self.times[number - 1] if number else None, done=number)

    def is_colored(self, stretch: Stretch) -> bool:
        """Whether more than half of its frames have colors of their own."""
        return bool(self.with_colors[stretch.first : stretch.end].mean() > 0.5)


def survey_of(film: Film, options: FilmOptions) -> Survey | None:
    """The survey that a run with ``options`` needs; None if it needs none.

    Raises:
        UserError: the table of scenes cannot be read.
    """
    frames = options.colored == "skip" or options.render_factor == "auto" or options.reference is not None
    if frames or options.stabilize or options.scenes is not None:
        return survey_film(film, options, frames=frames)
    return None


def survey_film(film: Film, options: FilmOptions, *, frames: bool = True) -> Survey:
    """Decode a film once; its scenes are those of the user's table, or else found, and written there.

    Args:
        film: the film.
        options: say where the table is, how unlike frames are in a cut, and whether anybody asks for colors.
        frames: whether frames are asked for too; if they are not, and there is a table, nothing is decoded.

    Raises:
        UserError: the table cannot be read.
    """
    given = read_scenes(options.scenes) if options.scenes is not None and options.scenes.exists() else None
    if given is not None and not frames:
        none = np.zeros(0)
        return Survey((), (), none, none, none, given, stretches(given))
    times, thumbnails, sharpness, light, colored = [], [], [], [], []
    for frame in film.watched("finding shots", read_ahead(film.decode(after=None, done=0), 4)):
        stored = frame.reformat(_SIDE, _SIDE, "gray", interpolation="AREA").to_ndarray()
        gray = np.ascontiguousarray(np.rot90(stored, quarter_turns(frame)))
        times.append(pts_of(frame))
        thumbnails.append(thumbnail(gray))
        sharpness.append(_sharpness(gray))
        light.append(gray.mean())
        colored.append(options.colored == "skip" and _has_colors(frame))
    scenes = find_scenes(thumbnails, options.shot_threshold) if given is None else _fitted(given, len(times))
    if given is None and options.scenes is not None:
        write_scenes(options.scenes, scenes)
    columns = np.array(sharpness), np.array(light), np.array(colored, bool)
    return Survey(times, thumbnails, *columns, scenes, stretches(scenes))


def _fitted(scenes: Sequence[Scene], count: int) -> list[Scene]:
    """The scenes of a table for a film of ``count`` frames: its last scene goes to the end."""
    within = [scene for scene in scenes if scene.first < count]
    return [*within[:-1], replace(within[-1], end=count)] if within else []


def _sharpness(gray: np.ndarray) -> float:
    calm = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.0)
    return float(cv2.Laplacian(calm, cv2.CV_32F).std())


def _has_colors(frame: VideoFrame) -> bool:
    if len(frame.format.components) < 3:
        return False
    return has_colors(frame.reformat(_SIDE, _SIDE, "rgb24", interpolation="AREA").to_ndarray())
