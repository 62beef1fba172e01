"""Film to color with PyAV: decode, color in batches and encode at once, nothing but packets ever on disk.

Frames stay in the film's own Y'CbCr: the luma plane goes through untouched, and only the chroma planes are written,
with the film's matrix and range. Encoding goes in segments of a few seconds (files of their own, in ``OUT.parts``), so
that a run that was cut goes on behind the last whole one; at the end the segments are joined without encoding again,
together with the sound, subtitles and chapters of the original.

``reading`` reads, ``encoding`` makes the frames to encode, ``segments`` writes them and remembers where it stands,
``joining`` puts everything into one file, and ``colorize`` runs the four.
"""

from nogan.colorize.film.colorize import FilmReport, colorize_film
from nogan.colorize.film.options import FILM_SUFFIXES, KEPT_SUFFIXES, FilmOptions

__all__ = ["FILM_SUFFIXES", "KEPT_SUFFIXES", "FilmOptions", "FilmReport", "colorize_film"]
