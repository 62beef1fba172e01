"""Films whose motion is known: a camera that moves over a still picture, with grain; and how colors flicker in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from nogan.colorize.composite import composite
from nogan.colorize.film.flicker import CDC_STEPS, FlickerMeter, Motion
from nogan.colorize.film.stabilize import Stabilizer
from nogan.common.rng import numpy_rng

FRAMES = 12
SIDE = 48
"""Of a frame, in px."""
PICTURE = 64
"""Of the picture that the camera moves over, in px."""
PAN, ZOOM, TURN, WEAVE = 5.0, 0.08, 3.0, 0.3
"""The whole way in px, the growth as a share, the angle in degrees, and the deviation from the path in px."""
GRAIN = 6.0
"""Standard deviation in levels of 255, correlated over a pixel or two."""


@dataclass(frozen=True)
class Panned:
    """A film.

    Attributes:
        clean: gray frames without grain, ``(T, S, S)`` uint8.
        grainy: what a network is shown.
        motions: the true motion from each frame to the next one.
    """

    clean: np.ndarray
    grainy: np.ndarray
    motions: list[Motion]


def film_of(gray: np.ndarray, number: int) -> Panned:
    """A camera moves over ``gray`` ``(PICTURE, PICTURE)`` uint8; ``number`` seeds its way and the grain."""
    rng = numpy_rng("panned", number)
    views = _views(rng)
    clean = np.stack([_seen(gray, view) for view in views])
    grain = np.stack([cv2.GaussianBlur(noise, (0, 0), 0.7) for noise in rng.standard_normal(clean.shape)])
    grainy = np.rint(clean + grain * (GRAIN / grain.std())).clip(0, 255).astype(np.uint8)
    motions = [_motion(now, before) for before, now in pairwise(views)]
    return Panned(np.rint(clean).astype(np.uint8), grainy, motions)


def _views(rng: np.random.Generator) -> list[np.ndarray]:
    """Of each frame, ``(3, 3)``: its coordinates to those of the picture, in px."""
    direction, turn, zoom = rng.uniform(0, 2 * math.pi), TURN * rng.uniform(-1, 1), ZOOM * rng.uniform(-1, 1)
    views = []
    for time in np.linspace(-0.5, 0.5, FRAMES):
        x, y = PAN * time * np.array([math.cos(direction), math.sin(direction)]) + WEAVE * rng.standard_normal(2)
        angle, scale = math.radians(turn * time), math.exp(zoom * time)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        half, middle = (SIDE - 1) / 2, (PICTURE - 1) / 2
        to_middle = np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1]])
        views.append(np.array([[cos, -sin, middle + x], [sin, cos, middle + y], [0, 0, 1]]) @ to_middle)
    return views


def _seen(gray: np.ndarray, view: np.ndarray) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(gray.astype(np.float32), view[:2], (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _motion(now: np.ndarray, before: np.ndarray) -> Motion:
    """Where each pixel of a frame was in the one before; both show the same still picture."""
    y, x = np.mgrid[:SIDE, :SIDE]
    places = np.stack([x, y, np.ones_like(x)], axis=-1) @ (np.linalg.inv(before) @ now).T
    inside = (places[..., :2] >= 0) & (places[..., :2] <= SIDE - 1)
    return Motion((places[..., :2] - np.stack([x, y], axis=-1)).astype(np.float32), inside.all(axis=-1))


def flicker_of(predict: Callable[[np.ndarray], np.ndarray], films: Sequence[Panned]) -> dict[str, float]:
    """How a network's colors flicker in ``films``, as they are and under ``--stabilize``; means over the films.

    The network is shown the grain; its chroma is measured on the luma without it, since that of the grain is the same
    whatever the network.

    Args:
        predict: gray ``(B, S, S)`` uint8 to RGB ``(B, S, S, 3)`` float32 in [0, 1], as ``Colorizer.predict``.
        films: from :func:`film_of`.

    Returns:
        ``warp_error`` and ``cdc`` (the mean over :data:`~nogan.colorize.film.flicker.CDC_STEPS`), and the same with
        ``_stabilized``.
    """
    found: dict[str, list[float]] = {}
    for film in films:
        squares = predict(film.grainy)
        for name, shown in (("", squares), ("_stabilized", list(_stabilized(film.grainy, squares)))):
            meter = FlickerMeter()
            for gray, square, motion in zip(film.clean, shown, [None, *film.motions], strict=True):
                meter.update(composite(square, gray), motion)
            flicker = meter.result()
            assert flicker.warp_error is not None
            found.setdefault(f"warp_error{name}", []).append(flicker.warp_error)
            found.setdefault(f"cdc{name}", []).append(sum(flicker.cdc.values()) / len(CDC_STEPS))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _stabilized(grays: np.ndarray, squares: np.ndarray) -> Iterator[np.ndarray]:
    """The network's pictures of a shot, smoothed as in a film."""
    stabilizer: Stabilizer[int] = Stabilizer()
    for number, (gray, square) in enumerate(zip(grays, squares, strict=True)):
        for smoothed in stabilizer.take(number, gray, square, kind="shot", begins=number == 0):
            yield smoothed.smooth
    for smoothed in stabilizer.finish():
        yield smoothed.smooth
