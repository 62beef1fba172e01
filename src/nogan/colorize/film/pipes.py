"""Film through pipes: Y4M comes from stdin, and goes to stdout.

A pipe is read once, and nothing can be gone back to, so that no run can be resumed; and it carries pictures only.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nogan.colorize.film.clip import Clip
from nogan.colorize.film.fields import deinterlaced
from nogan.colorize.film.options import PIPE, FilmOptions
from nogan.colorize.film.reading import Film, pts_of
from nogan.common.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

HOW = "ffmpeg -i FILM -f yuv4mpegpipe - | nogan colorize - -o FILM"


@dataclass
class PipedFilm(Film):
    """A film that comes through stdin, as Y4M; it can be decoded once."""

    _frames_left: Iterator[VideoFrame] = field(default_factory=lambda: iter(()))

    @classmethod
    def begun(cls, options: FilmOptions, files: ExitStack) -> Self:
        """Read the header and the first frame; ``files`` closes what was opened.

        Raises:
            UserError: what comes is not Y4M.
        """
        import av

        only = {"protocol_whitelist": "pipe", "format_whitelist": "yuv4mpegpipe"}
        try:
            container = files.enter_context(av.open("pipe:0", format="yuv4mpegpipe", options=only))
        except (av.FFmpegError, ValueError) as error:
            raise UserError(f"-: what comes through the pipe is no Y4M; expected {HOW}.") from error
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        time_base = stream.time_base
        if not rate or not time_base:
            raise UserError("-: the Y4M in the pipe does not say how many frames it has a second.")
        film = cls(PIPE, stream.index, None, rate, time_base, None, stream.sample_aspect_ratio)
        film.codec_name = stream.codec_context.codec.canonical_name
        frames = film._frames(container)
        film.first_frame = next(frames, None)
        if film.first_frame is None:
            raise UserError(f"-: no frame came through the pipe; expected {HOW}.")
        if options.start is not None or options.end is not None:
            film.clip = Clip(pts_of(film.first_frame) * time_base, options.start, options.end)
        film.look_for_fields(options.deinterlace == "auto")
        film._frames_left = chain([film.first_frame], frames)
        return film

    def decode(self, *, after: int | None, done: int) -> Generator[VideoFrame, None, None]:
        """The frames, once."""
        frames = self._frames_left
        yield from self._clipped(deinterlaced(frames, self.time_base) if self.deinterlace else frames)

    def opened(self) -> InputContainer:
        """A pipe cannot be opened again."""
        raise UserError("-: a pipe is read only once.")


def check_pipes(source: Path, target: Path, options: FilmOptions) -> None:
    """Refuse what cannot be done through a pipe.

    Raises:
        UserError: there is no pipe, or the options need a film that can be read twice.
    """
    if source == PIPE and sys.stdin.isatty():
        raise UserError(f"-: nothing is piped in; expected {HOW}.")
    if target == PIPE and sys.stdout.isatty():
        raise UserError("-o -: a terminal shows no film; expected a pipe, | ffmpeg -i - FILM.")
    if source != PIPE:
        return
    if options.stabilize and not (options.scenes and options.scenes.exists()):
        raise UserError(
            "--stabilize finds the shots first, and a pipe is read only once: give them with --scenes FILE, or the "
            "film as a file."
        )
    for flag, is_given in (
        ("--render-factor auto", options.render_factor == "auto"),
        ("--colored skip", options.colored == "skip"),
        (f"--reference {options.reference}", options.reference is not None),
        ("--scenes, to write them,", options.scenes is not None and not options.scenes.exists()),
    ):
        if is_given:
            raise UserError(f"{flag} looks at the whole film first, and a pipe is read only once: give it as a file.")
