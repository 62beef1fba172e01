"""Keyframes: one picture of each shot, colored as the film will be, to be looked at, corrected and given back.

Their names say the number of the shot and the time since the film's first frame, by which
:mod:`nogan.colorize.film.references` finds their place again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film.colorize import opened
from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.propagation import Painter
from nogan.colorize.film.reading import Film, Told
from nogan.colorize.film.references import name_of
from nogan.colorize.film.shots import FLASH_FRAMES, Stretch
from nogan.colorize.film.stabilize import RADIUS, Smoothed, Stabilizer
from nogan.colorize.film.survey import Survey, survey_film
from nogan.colorize.film.treatment import Treatment
from nogan.colorize.photos import Photo, write_photo
from nogan.colorize.square import network_size
from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

GRAY_FOLDER = "gray"
"""Where the same frames without colors are, below the folder of the keyframes."""


@dataclass(frozen=True)
class KeyframesReport:
    """What became of the keyframes of a film.

    Attributes:
        folder: where they are.
        written: how many were written.
        existing: how many were there already, and were kept.
        remarks: what a user should know.
    """

    folder: Path
    written: int
    existing: int
    remarks: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as a user reads it."""
        lines = [
            f"{self.folder}: {self.written} keyframe{'s' * (self.written != 1)}, one a shot, and the same in gray in "
            f"{GRAY_FOLDER}/; --reference {self.folder} colors the film by them"
        ]
        if self.existing:
            lines.append(f"  note: {self.existing} were there already and were kept (--overwrite replaces them)")
        return lines + [f"  note: {remark}" for remark in self.remarks]


def export_keyframes(
    colorizer: Colorizer,
    source: Path,
    folder: Path,
    options: FilmOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    looking: Told = lambda what, done, total: None,
) -> KeyframesReport:
    """Write the keyframe of each shot, and the same in gray, as PNG files; 10-bit film gives 16 bits a channel.

    Args:
        colorizer: the network.
        source: any film that ffmpeg reads.
        folder: is made if it is missing.
        options: those of the run that will color the film; ``compare`` has no meaning here.
        overwrite: replace pictures that are there already, which a user may have corrected.
        progress: called with the number of shots done and of all shots.
        looking: called before: see :func:`~nogan.colorize.film.colorize_film`.

    Raises:
        UserError: in one line, for a source that cannot be read, or a folder that cannot be written to.
    """
    import av

    options = replace(options or FilmOptions(), compare=False)
    network_size(21 if options.render_factor == "auto" else options.render_factor)  # refuse one that is out of range
    try:
        film = opened(source, options)
        film.told = looking
        film.scan()
        (folder / GRAY_FOLDER).mkdir(parents=True, exist_ok=True)
        encoding, survey = Encoding.of(film, options), survey_film(film, options)
        treatment = Treatment(colorizer, film, encoding, options, survey)
        painter = Painter.of(colorizer, film, encoding, survey, options)
        camera = _Camera(colorizer, film, encoding, options, survey, treatment, painter)
        shots = [stretch for stretch in survey.stretches if stretch.shot_frames]
        written = existing = 0
        for number, shot in enumerate(shots, 1):
            keyframe = survey.keyframe(shot)
            assert keyframe is not None
            seconds = (survey.times[keyframe] - film.origin) * film.time_base
            name = f"{name_of(number, seconds)}.png"
            if treatment(keyframe) is not None:  # otherwise its colors are the film's own
                if (folder / name).exists() and not overwrite:
                    existing += 1
                else:
                    colored, gray = camera.pictures(shot, keyframe)
                    write_photo(Photo(gray), folder / GRAY_FOLDER / name)
                    write_photo(Photo(colored), folder / name)
                    written += 1
            progress(number, len(shots))
        if painter is not None:
            painter.close()
    except av.FFmpegError as error:
        raise UserError(f"{error.filename or source}: {error.strerror or error}.") from error
    except OSError as error:
        raise UserError(f"--export-keyframes {folder}: cannot be written: {error.strerror or error}.") from error
    return KeyframesReport(folder, written, existing, tuple(treatment.remarks()))


@dataclass
class _Camera:
    """Colors single frames as the film will be colored."""

    colorizer: Colorizer
    film: Film
    encoding: Encoding
    options: FilmOptions
    survey: Survey
    treatment: Treatment
    painter: Painter | None

    def pictures(self, shot: Stretch, keyframe: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame as the film will have it, smoothed with those around it if that is asked for; and in gray."""
        factor = self.treatment(keyframe)
        assert factor is not None
        size = network_size(factor)
        reach = RADIUS + FLASH_FRAMES if self.options.stabilize else 0
        first, end = max(shot.first, keyframe - reach), min(shot.end, keyframe + reach + 1)
        kinds = {number: scene.kind for scene in shot.scenes for number in range(scene.first, scene.end)}
        smoothed: list[Smoothed[VideoFrame | None]] = []
        stabilizer: Stabilizer[VideoFrame | None] = Stabilizer(self.options.stabilize)
        with closing(self.survey.frames_from(self.film, first)) as frames:
            for number, frame in enumerate(islice(frames, end - first), first):
                gray = self.encoding.gray(frame, size)
                (square,) = self.colorizer.predict(gray[None])
                if self.painter is not None:
                    square = self.painter.paint(number, gray, square)
                tag = frame if number == keyframe else None  # full frames take much memory
                smoothed += stabilizer.take(tag, gray, square, kind=kinds[number], begins=False)
        smoothed += stabilizer.finish()
        found = smoothed[keyframe - first]
        assert found.tag is not None
        square = found.smooth if self.options.stabilize else found.square
        return self.encoding.picture(found.tag, square), self.encoding.gray_picture(found.tag)
