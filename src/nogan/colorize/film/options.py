"""Which files are films, and what a user may choose about coloring one."""

from dataclasses import dataclass
from typing import Any

from nogan.colorize.square import FILM_RENDER_FACTOR, RenderFactor

KEPT_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".ts", ".m2ts", ".mts"})
"""Containers that a film in a folder keeps; from the others it goes to ``.mkv``, which holds everything."""

FILM_SUFFIXES = KEPT_SUFFIXES | frozenset(
    {".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".mxf", ".vob", ".3gp", ".dv", ".m2v", ".asf", ".divx"}
)

SEGMENT_FRAMES = 250
SEGMENT_SECONDS = 120.0
"""A segment ends after so many frames (x264's own distance between key frames) or so much work, whichever is first."""


@dataclass(frozen=True)
class FilmOptions:
    """How a film is colored and encoded.

    Attributes:
        render_factor: the network sees 16 x this many pixels a side; "auto" settles on one for the whole film.
        batch_size: frames in one pass of the network.
        codec: name of an ffmpeg encoder.
        crf: its constant quality; encoders without one ignore it.
        stabilize: smooth the chroma along the motion (:mod:`nogan.colorize.film.stabilize`).
        compare: original and result side by side.
        raw: the network's own picture, luma too.
        model: names what colored the film, so that a resumed run is sure to go on with the same.
        segment_frames: frames in a segment.
    """

    render_factor: RenderFactor = FILM_RENDER_FACTOR
    batch_size: int = 1
    codec: str = "libx264"
    crf: int = 17
    stabilize: bool = False
    compare: bool = False
    raw: bool = False
    model: Any = None
    segment_frames: int = SEGMENT_FRAMES
