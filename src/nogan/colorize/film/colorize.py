"""A film from one file to another: the steps of a run in their order, and its report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.flicker import Flicker
from nogan.colorize.film.options import PIPE, SEGMENT_SECONDS, FilmOptions, work_folder
from nogan.colorize.film.outputs import Writer, options_of, output_for, say_what_is_left_out
from nogan.colorize.film.pipes import PipedFilm, check_pipes
from nogan.colorize.film.propagation import Painter
from nogan.colorize.film.reading import Film, Told
from nogan.colorize.film.recorder import KINDS, Y4M, Recorder
from nogan.colorize.film.segments import Colored, SegmentEnd, State, signature_of
from nogan.colorize.film.shots import Scene
from nogan.colorize.film.stabilize import Stabilizer
from nogan.colorize.film.survey import survey_of
from nogan.colorize.film.treatment import Treatment
from nogan.colorize.square import network_size
from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.common.lock import only_one
from nogan.common.threads import WriteBehind, read_ahead

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True)
class FilmReport:
    """The result of a film.

    Attributes:
        target: the file written.
        frames: number of frames in it.
        resumed_at: number of frames that an earlier, interrupted run had done.
        seconds: time that this run took.
        remarks: what a user should know.
        before: flicker of the network's colors, at the network's size.
        after: flicker after smoothing; None without ``stabilize``.
    """

    target: Path
    frames: int
    resumed_at: int
    seconds: float
    remarks: tuple[str, ...]
    before: Flicker
    after: Flicker | None

    def lines(self) -> list[str]:
        """The report as a user reads it."""
        rate = (self.frames - self.resumed_at) / max(self.seconds, 1e-9)
        resumed = f", {self.resumed_at} of them by an earlier run" if self.resumed_at else ""
        lines = [f"{self.target}: {self.frames} frame{'s' * (self.frames != 1)}{resumed}, {rate:.1f} frames/s"]
        lines += [f"  note: {remark}" for remark in self.remarks]
        lines.append(f"  flicker of the colors: {_flicker_text(self.before)}")
        if self.after is not None:
            lines.append(f"  after smoothing:        {_flicker_text(self.after)}")
            worse = [name for name, more in self._grown() if more]
            if worse:
                lines.append(f"  note: smoothing did not lessen {', '.join(worse)}")
        return lines

    def _grown(self) -> list[tuple[str, bool]]:
        """Each measure of flicker, and whether it is larger after smoothing."""
        assert self.after is not None
        pairs = [(f"CDC({step})", value, self.after.cdc[step]) for step, value in self.before.cdc.items()]
        if self.before.warp_error is not None and self.after.warp_error is not None:
            pairs.append(("the warp error", self.before.warp_error, self.after.warp_error))
        return [(name, after > before) for name, before, after in pairs]


def colorize_film(
    colorizer: Colorizer,
    source: Path,
    target: Path,
    options: FilmOptions | None = None,
    *,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    looking: Told = lambda what, done, total: None,
) -> FilmReport:
    """Colorize a film; after an interruption, the same call continues after the last whole segment.

    Args:
        colorizer: the network.
        source: any film that ffmpeg reads, numbered pictures (``frame_%04d.png``), or "-" for Y4M from stdin.
        target: the file to write, whose suffix names the container, numbered pictures, or "-" for Y4M to stdout.
        options: see :class:`FilmOptions`.
        progress: called with the number of frames done and of all frames (None where the film does not say).
        looking: called before, while the film is read and its shots are found: with what is done, and the same numbers.

    Raises:
        UserError: in one line, for a source that has no video or cannot be read, a codec or container that does not
            work, or a target that cannot be written.
    """
    import av

    options = options or FilmOptions()
    if PIPE in (source, target):
        return _color_through_pipes(colorizer, source, target, options, progress)
    start = time.perf_counter()
    work = work_folder(target)
    try:
        film = opened(source, options)
        film.told = looking
        if not target.parent.is_dir():
            raise UserError(f"{target}: cannot be written: no such folder.")
        with only_one(work, str(target)):
            state, resumed_at = _colorize(colorizer, film, source, target, options, work, progress)
            shutil.rmtree(work, ignore_errors=True)  # with the lock in it, which goes when it is released
    except av.FFmpegError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{error.filename or source}: {reason}.") from error
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}.") from error
    return _report(target, film, state, options, resumed_at=resumed_at, seconds=time.perf_counter() - start)


def opened(source: Path, options: FilmOptions) -> Film:
    """A film, or the part of it that is wanted, as :meth:`Film.open` gives it."""
    deinterlace = options.deinterlace == "auto"
    return Film.open(source, options.fps, start=options.start, end=options.end, deinterlace=deinterlace)


def _report(
    target: Path, film: Film, state: State, options: FilmOptions, *, resumed_at: int, seconds: float
) -> FilmReport:
    remarks = tuple(dict.fromkeys(film.remarks))
    after = state.after.result() if options.stabilize else None
    return FilmReport(target, state.frames, resumed_at, seconds, remarks, state.before.result(), after)


def _color_through_pipes(
    colorizer: Colorizer,
    source: Path,
    target: Path,
    options: FilmOptions,
    progress: Callable[[int, int | None], None],
) -> FilmReport:
    """Color a film that comes through a pipe, or goes into one: in one go, since nothing can be gone back to."""
    import av

    start, state = time.perf_counter(), State("")
    check_pipes(source, target, options)
    kind = Y4M if target == PIPE else KINDS.get(target.suffix.lower())
    settings = options if kind is None else options_of(kind, options, target)
    try:
        with ExitStack() as files:
            film: Film = PipedFilm.begun(options, files) if source == PIPE else opened(source, options)
            if source != PIPE:
                film.scan()
                say_what_is_left_out(film, "a pipe carries pictures only")
            encoding = Encoding.of(film, settings)
            pipeline = _Pipeline.of(colorizer, film, encoding, settings)

            def write(into: Path | str) -> None:
                with Recorder(encoding, into, kind) as recorder:
                    writer = _Straight(encoding, recorder)
                    pipeline.run(state, writer, lambda done: progress(done, film.frames))

            if target == PIPE:
                write("pipe:1")
            else:
                write_atomically(target, write)
    except BrokenPipeError:
        raise  # whoever reads has enough
    except av.FFmpegError as error:
        raise UserError(f"{error.filename or target}: {error.strerror or error}.") from error
    return _report(target, film, state, settings, resumed_at=0, seconds=time.perf_counter() - start)


@dataclass
class _Straight:
    """Writes each frame as it comes; see :class:`nogan.colorize.film.outputs.Writer`."""

    encoding: Encoding
    recorder: Recorder

    def __call__(self, item: Colored | SegmentEnd) -> None:
        if not isinstance(item, SegmentEnd):
            self.recorder.put(self.encoding.colored(*item))

    def abandon(self) -> None:
        """The recorder is closed by whoever opened it."""


def _colorize(
    colorizer: Colorizer,
    film: Film,
    source: Path,
    target: Path,
    options: FilmOptions,
    work: Path,
    progress: Callable[[int, int | None], None],
) -> tuple[State, int]:
    """The steps; returns the state at the end, and how many frames an earlier run had done."""
    network_size(21 if options.render_factor == "auto" else options.render_factor)  # refuse one that is out of range
    output = output_for(film, target, options)
    encoding, options = output.encoding, output.options
    pipeline = _Pipeline.of(colorizer, film, encoding, options)
    signature = signature_of(source, options, pipeline.scenes, pipeline.digests)
    state = State.load(work, signature, output.files)
    if state.torn:
        film.remarks.append(
            f"{state.torn} segments of an earlier run were damaged or missing, and were done again from frame "
            f"{state.frames} on"
        )
    resumed_at = state.frames
    pipeline.run(state, output.writer(state, work), lambda done: progress(done, film.frames))
    if not state.segments:
        between = " between --start and --end" if film.clip else ""
        raise UserError(f"{source}: not one frame of its video{between} could be decoded.")
    output.finish(state, work)
    if lost := film.lost(state.frames):
        film.remarks.append(f"{lost} of its {film.frames} frames could not be decoded and are missing")
    if state.damaged:
        film.remarks.append(f"{state.damaged} frames are damaged in the file")
    return state, resumed_at


@dataclass
class _Pipeline:
    """One thread decodes, the caller's runs the network and smooths, a third writes chroma and encodes."""

    colorizer: Colorizer
    film: Film
    encoding: Encoding
    options: FilmOptions
    scenes: Sequence[Scene]
    treatment: Treatment
    painter: Painter | None

    @classmethod
    def of(cls, colorizer: Colorizer, film: Film, encoding: Encoding, options: FilmOptions) -> _Pipeline:
        """The pipeline for a film, whose shots are found first, if the options need them.

        Raises:
            UserError: the table of scenes or a reference cannot be used.
        """
        survey = survey_of(film, options)
        treatment = Treatment(colorizer, film, encoding, options, survey)
        painter = None if survey is None else Painter.of(colorizer, film, encoding, survey, options)
        unused = [one for one in (painter.references if painter else ()) if treatment.keeps(one.frame)]
        film.remarks += treatment.remarks()
        film.remarks += [f"{one.path.name} was not used: its shot stays as it is" for one in unused]
        return cls(colorizer, film, encoding, options, () if survey is None else survey.scenes, treatment, painter)

    @property
    def digests(self) -> list[str]:
        """What tells the references and their places."""
        return [one.digest for one in (self.painter.references if self.painter else ())]

    def run(self, state: State, writer: Writer, progress: Callable[[int], None]) -> None:
        """Color all frames that are not in ``state`` yet."""
        deadline = time.monotonic() + SEGMENT_SECONDS
        stabilizer: Stabilizer[VideoFrame] | None = (
            Stabilizer(self.options.stabilize) if self.options.stabilize else None
        )
        after, done = state.start(stabilizer, self.scenes, self.encoding.shown)
        ahead = 2 * self.options.batch_size
        frames = read_ahead(self.film.decode(after=after, done=done), ahead)
        progress(state.frames)
        try:
            with WriteBehind(writer, ahead) as output:

                def put(ready: Iterable[Colored]) -> None:
                    nonlocal deadline
                    for colored in ready:
                        output.put(colored)
                        if state.open_frames >= self.options.segment_frames or time.monotonic() > deadline:
                            deadline = time.monotonic() + SEGMENT_SECONDS
                            output.put(state.end_segment())

                for factor, first, batch in self._batches(frames, done):
                    put(self._colored(state, factor, first, batch))
                    progress(state.frames)
                put(state.finish())
                if state.open_frames:
                    output.put(state.end_segment())
                progress(state.frames)
        finally:
            frames.close()  # which ends the thread that decodes
            if self.painter is not None:
                self.painter.close()
            writer.abandon()

    def _batches(self, frames: Iterable[VideoFrame], first: int) -> Iterator[tuple[int | None, int, list[VideoFrame]]]:
        """Frames that are treated alike, as many as the network takes at once.

        Args:
            frames: of the film.
            first: number of the first of them.

        Yields:
            The render factor (None for frames that are kept), the number of the first of some frames, and those.
        """
        numbered = enumerate(frames, first)
        for factor, group in groupby(numbered, key=lambda one: self.treatment(one[0])):
            while batch := list(islice(group, self.options.batch_size)):
                yield factor, batch[0][0], [frame for _, frame in batch]

    def _colored(self, state: State, factor: int | None, first: int, batch: list[VideoFrame]) -> Iterator[Colored]:
        if factor is None:
            for frame in batch:
                yield from state.keep(frame)
            return
        size = network_size(factor)
        grays = [self.encoding.gray(frame, size) for frame in batch]
        squares = self.colorizer.predict(np.stack(grays))
        for number, (frame, gray, square) in enumerate(zip(batch, grays, squares, strict=True), first):
            if self.painter is not None:
                square = self.painter.paint(number, gray, square)
            yield from state.take(frame, gray, square)


def _flicker_text(flicker: Flicker) -> str:
    parts = [f"CDC({step}) {value:.5f}" for step, value in flicker.cdc.items()]
    if flicker.warp_error is not None:
        parts.append(f"warp error {flicker.warp_error:.5f}")
    return ", ".join(parts) or "a single frame has none"
