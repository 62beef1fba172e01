"""The shots of a film: where it cuts, where one shot dissolves into the next, and where a flash is no cut.

Frames are compared as small gray pictures from which brightness and contrast are taken out, since old film flickers. A
new shot begins where a frame is unlike the one before, *and* unlike those behind are like neither: a flash of up to
:data:`FLASH_FRAMES` frames, after which the picture is what it was before, is no cut. In a dissolve the frame in the
middle is a mixture of the frames around it, which motion alone does not give.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast, get_args

import cv2
import numpy as np

from nogan.common.errors import UserError
from nogan.common.files import write_atomically

SIDE = 32
"""Side in px of the pictures that are compared."""

CUT_THRESHOLD = 0.35
"""Unlikeness of two frames, from 0 to about 1, above which they may belong to two shots; see :func:`unlikeness`."""

ABOVE_NEIGHBORS = 2.5
"""A cut is this many times as unlike as the median of the pairs around it: fast motion is unlike in every pair."""

FLASH_FRAMES = 3
DISSOLVE_SPANS = (8, 16, 32, 64)
"""Lengths in frames at which dissolves are sought."""

MIXTURE = 0.35
"""In a dissolve, what a mixture of two frames leaves of a third is at most this share of what the nearer one leaves."""

Kind = Literal["shot", "dissolve", "flash"]


@dataclass(frozen=True)
class Scene:
    """Frames of one kind that follow each other.

    Attributes:
        first: number of the first frame, from 0.
        end: number of the frame behind the last.
        kind: a shot, a dissolve between two, or a flash.
    """

    first: int
    end: int
    kind: Kind = "shot"


@dataclass(frozen=True)
class Stretch:
    """A shot with the flashes in it, or a dissolve: what is colored in one go, with one render factor.

    Attributes:
        scenes: what it consists of, without gaps.
    """

    scenes: tuple[Scene, ...]

    @property
    def first(self) -> int:
        """Number of its first frame."""
        return self.scenes[0].first

    @property
    def end(self) -> int:
        """Number of the frame behind its last."""
        return self.scenes[-1].end

    @property
    def dissolves(self) -> bool:
        """Whether it shows no shot of its own."""
        return all(scene.kind != "shot" for scene in self.scenes)

    @property
    def flashes(self) -> list[int]:
        """Numbers of its frames that are flashes."""
        return [number for scene in self.scenes if scene.kind == "flash" for number in range(scene.first, scene.end)]

    @property
    def shot_frames(self) -> list[int]:
        """Numbers of the frames that show the shot, without flashes; none in a dissolve."""
        return [number for scene in self.scenes if scene.kind == "shot" for number in range(scene.first, scene.end)]


def stretches(scenes: Iterable[Scene]) -> list[Stretch]:
    """Scenes joined across flashes, on both sides of which the shot is the same."""
    groups: list[list[Scene]] = []
    for scene in scenes:
        if groups and "flash" in (scene.kind, groups[-1][-1].kind):
            groups[-1].append(scene)
        else:
            groups.append([scene])
    return [Stretch(tuple(group)) for group in groups]


def thumbnail(gray: np.ndarray) -> np.ndarray:
    """What frames are compared by: ``(H, W)`` uint8 to ``(SIDE, SIDE)`` uint8, without its grain; 1 kB a frame."""
    return cv2.GaussianBlur(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA), (0, 0), 0.8)


def unlikeness(one: np.ndarray, other: np.ndarray) -> float:
    """1 less the correlation of two thumbnails: 0 for one picture, also darker or paler; about 1 for two others."""
    one, other = one.astype(np.float32), other.astype(np.float32)
    a, b = one - one.mean(), other - other.mean()
    even = (4.0 * SIDE) ** 2  # as of 4 levels of contrast: pictures that are nearly even are alike
    scale = np.sqrt((float(np.vdot(a, a)) + even) * (float(np.vdot(b, b)) + even))
    return 1 - (float(np.vdot(a, b)) + even) / float(scale)


def find_scenes(thumbnails: Sequence[np.ndarray], threshold: float = CUT_THRESHOLD) -> list[Scene]:
    """The scenes of a film, in order and without gaps.

    Args:
        thumbnails: of all frames, from :func:`thumbnail`.
        threshold: see :data:`CUT_THRESHOLD`; lower finds more cuts.
    """
    count = len(thumbnails)
    steps = np.array([0.0, *(unlikeness(a, b) for a, b in pairwise(thumbnails))])
    scenes: list[Scene] = []
    begin, frame = 0, 1
    while frame < count:
        around = np.r_[steps[max(1, frame - 8) : frame], steps[frame + 1 : frame + 9]]
        if steps[frame] > threshold and steps[frame] > ABOVE_NEIGHBORS * (np.median(around) if len(around) else 0):
            length = _flash(thumbnails, frame, threshold)
            if length:
                if frame > begin:
                    scenes.append(Scene(begin, frame))
                scenes.append(Scene(frame, frame + length, "flash"))
                begin = frame = frame + length
                continue
            if frame > begin:
                scenes.append(Scene(begin, frame))
            begin = frame
        frame += 1
    if count > begin:
        scenes.append(Scene(begin, count))
    return [part for scene in scenes for part in _with_dissolves(scene, thumbnails, threshold)]


def _flash(thumbnails: Sequence[np.ndarray], frame: int, threshold: float) -> int:
    """Length of a flash that begins with ``frame``; 0 if the picture before it does not come back."""
    for length in range(1, FLASH_FRAMES + 1):
        if frame + length >= len(thumbnails):
            return 0
        if unlikeness(thumbnails[frame - 1], thumbnails[frame + length]) < threshold / 2:
            return length
    return 0


def _with_dissolves(scene: Scene, thumbnails: Sequence[np.ndarray], threshold: float) -> Iterable[Scene]:
    mixed = np.zeros(scene.end - scene.first, bool)
    if scene.kind == "shot":
        for span in DISSOLVE_SPANS:
            for begin in range(scene.first, scene.end - span, max(1, span // 8)):
                if _dissolves(thumbnails[begin : begin + span + 1], threshold):
                    mixed[begin - scene.first : begin - scene.first + span + 1] = True
    edges = np.flatnonzero(np.diff(mixed.astype(np.int8))) + 1
    bounds = [0, *map(int, edges), len(mixed)]
    for first, end in pairwise(bounds):
        kind: Kind = "dissolve" if mixed[first] else scene.kind
        yield Scene(scene.first + first, scene.first + end, kind)


def _dissolves(frames: Sequence[np.ndarray], threshold: float) -> bool:
    """Whether the frames lead from one picture to another by mixing them, all the way and ever further."""
    first, last = frames[0].astype(np.float32), frames[-1].astype(np.float32)
    if unlikeness(first, last) < threshold:
        return False
    shares = []
    for place in (len(frames) // 4, len(frames) // 2, 3 * len(frames) // 4):
        picture = frames[place].astype(np.float32)
        share, rest = _mixture(picture, first, last)
        nearer = min(_distance(picture, first), _distance(picture, last))
        if rest > MIXTURE * nearer:
            return False
        shares.append(share)
    return 0.05 < shares[0] < shares[1] < shares[2] < 0.95


def _mixture(picture: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[float, float]:
    """The share of ``last`` in ``picture``, and the root mean square in levels of what is neither."""
    way, here = (last - first).ravel(), (picture - first).ravel()
    share = float(here @ way / max(float(way @ way), 1e-9))
    return share, float(np.sqrt(np.mean((here - share * way) ** 2)))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


def write_scenes(path: Path, scenes: Sequence[Scene]) -> None:
    """Write scenes as a table: a line a scene, with its first frame, the frame behind its last, and its kind."""
    lines = ["first,end,kind", *(f"{scene.first},{scene.end},{scene.kind}" for scene in scenes)]
    write_atomically(path, lambda temporary: temporary.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def read_scenes(path: Path) -> list[Scene]:
    """Read a table that :func:`write_scenes` wrote and a user may have corrected.

    Raises:
        UserError: it is no such table, or its scenes do not follow each other without a gap.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            scenes = [Scene(int(row["first"]), int(row["end"]), _kind(row["kind"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--scenes {path}: expected lines of first,end,kind (0,48,shot) below that heading: {error}."
        ) from error
    behind = 0
    for scene in scenes:
        if scene.first != behind or scene.end <= scene.first:
            raise UserError(
                f"--scenes {path}: {scene.first},{scene.end},{scene.kind}: expected a scene that begins at {behind} "
                "and has a frame at least."
            )
        behind = scene.end
    if not scenes:
        raise UserError(f"--scenes {path}: no scene in it.")
    return scenes


def _kind(text: str) -> Kind:
    if text not in get_args(Kind):
        raise ValueError(f"{text!r} is none of {', '.join(get_args(Kind))}")
    return cast(Kind, text)
