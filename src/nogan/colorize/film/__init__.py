"""Colorizing film with PyAV: decoding, the network and encoding run side by side; no frame becomes a file.

Frames stay in the film's own Y'CbCr: the luma plane is kept, and only the chroma planes are written, with the film's
matrix and range. The video is encoded in segments of a few seconds, each a file in ``OUT.parts``, so that an
interrupted run continues after the last whole one. At the end the segments are joined without being encoded again, and
the sound, subtitles and chapters of the original are copied.

- ``clock``, ``sound``, ``quality``, ``pictures``: clocks that restart, sound that does not fit, the encoders' scales,
  films that are pictures
- ``shots``, ``survey``: cuts, dissolves and flashes, and what else one pass over the film tells
- ``treatment``: what becomes of each shot
- ``keyframes``: one picture of each shot, to look at and to correct
- ``references``, ``propagation``: pictures that a user corrected, and their colors carried through their shots
- ``reading``: the source film and its frames
- ``clip``, ``fields``: a part of it; interlaced frames made whole
- ``encoding``, ``formats``: the frames to encode, with new chroma, and their pixel formats
- ``segments``: the segments and the state on disk
- ``joining``: the finished file; sound, subtitles and chapters are copied here
- ``outputs``, ``sequence``, ``recorder``: what a film may become; numbered pictures; animations and Y4M, in one go
- ``pipes``: Y4M from stdin and to stdout
- ``colorize``: runs these four
- ``stabilize``, ``flicker``: smooth the chroma along the motion, and measure how it flickers
"""

from typing import TYPE_CHECKING, Any

from nogan.colorize.film.options import FILM_SUFFIXES, KEPT_SUFFIXES, PIPE, FilmOptions, work_folder
from nogan.colorize.film.pictures import is_animated, is_pattern, numbered, pattern_of

if TYPE_CHECKING:
    from nogan.colorize.film.colorize import FilmReport, colorize_film
    from nogan.colorize.film.keyframes import KeyframesReport, export_keyframes

__all__ = [
    "FILM_SUFFIXES",
    "KEPT_SUFFIXES",
    "PIPE",
    "FilmOptions",
    "FilmReport",
    "KeyframesReport",
    "colorize_film",
    "export_keyframes",
    "is_animated",
    "is_pattern",
    "numbered",
    "pattern_of",
    "work_folder",
]

_MODULES = {
    "FilmReport": "colorize",
    "KeyframesReport": "keyframes",
    "colorize_film": "colorize",
    "export_keyframes": "keyframes",
}


def __getattr__(name: str) -> Any:
    # Lazily, so that photographs are not kept waiting for what only films need.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
