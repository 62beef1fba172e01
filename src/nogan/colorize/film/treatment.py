"""What becomes of each shot: it is kept as it is, or colored with a render factor."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from nogan.colorize.film.clip import clock_time
from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.reading import Film
from nogan.colorize.film.shots import Stretch
from nogan.colorize.film.survey import Survey
from nogan.colorize.render_factor import best_factor

if TYPE_CHECKING:
    from nogan.colorize.colorizer import Colorizer

_SHOTS_NAMED = 5


class Treatment:
    """Says how a frame is treated, by its number.

    With the render factor "auto" each shot has its own, chosen on its keyframe, and only when it is asked for. Shots
    that dissolve into each other share one, because a change would be seen there.
    """

    def __init__(
        self, colorizer: Colorizer, film: Film, encoding: Encoding, options: FilmOptions, survey: Survey | None
    ) -> None:
        """Decide which shots are kept.

        Args:
            colorizer: the network.
            film: the film.
            encoding: gives the pictures that the network is shown.
            options: its ``render_factor`` and ``colored``.
            survey: of the film; None where neither shots nor colors were asked for.
        """
        self._colorizer, self._film, self._encoding, self._survey = colorizer, film, encoding, survey
        self._fixed = options.render_factor
        stretches = () if survey is None else survey.stretches
        skip = options.colored == "skip" and survey is not None
        self.kept = [skip and survey is not None and survey.is_colored(stretch) for stretch in stretches]
        self._factors: dict[int, int] = {}

    def __call__(self, number: int) -> int | None:
        """The render factor for frame ``number``; None if it is kept as it is."""
        if self.keeps(number):
            return None
        if self._fixed != "auto":
            return self._fixed
        assert self._survey is not None
        return self._chosen(self._survey.stretch_of(number))

    def keeps(self, number: int) -> bool:
        """Whether frame ``number`` is kept as it is."""
        return any(self.kept) and self._survey is not None and self.kept[self._survey.stretch_of(number)]

    def remarks(self) -> list[str]:
        """What a user should know: which shots were kept."""
        if not any(self.kept):
            return []
        assert self._survey is not None
        starts = [self._survey.times[stretch.first] for stretch in self._kept_stretches()]
        first = self._film.origin
        times = [clock_time((start - first) * self._film.time_base) for start in starts[:_SHOTS_NAMED]]
        where = ", ".join(times) + (", …" if len(starts) > _SHOTS_NAMED else "")
        which, stay = ("shot has", "stays as it is") if len(starts) == 1 else ("shots have", "stay as they are")
        return [f"{len(starts)} {which} colors already and {stay} (at {where}); --colored redo colors anew"]

    def _kept_stretches(self) -> list[Stretch]:
        assert self._survey is not None
        return [stretch for stretch, kept in zip(self._survey.stretches, self.kept, strict=True) if kept]

    def _chosen(self, place: int) -> int:
        if place not in self._factors:
            assert self._survey is not None
            joined = self._survey.joined(place)
            keyframes = [self._survey.keyframe(self._survey.stretches[one]) for one in joined if not self.kept[one]]
            pictures = [self._picture(number) for number in keyframes if number is not None]
            factor = best_factor(self._colorizer, pictures)
            self._factors |= dict.fromkeys(joined, factor)
        return self._factors[place]

    def _picture(self, number: int) -> np.ndarray:
        assert self._survey is not None
        with closing(self._survey.frames_from(self._film, number)) as frames:
            return self._encoding.gray_picture(next(frames))
