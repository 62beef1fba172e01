"""Colorizes many photographs and films, from their files to the results, in one call."""

from __future__ import annotations

import shutil
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol, Self

import cv2
import numpy as np

from nogan.colorize import film, photos
from nogan.colorize.adjustments import Adjustments
from nogan.colorize.blending import Blending, Masks
from nogan.colorize.colorizer import BY_WEIGHTS, NO_ADJUSTMENTS, Colorizer
from nogan.colorize.composite import Gamut
from nogan.colorize.jobs import Job, check_folders, plan_jobs
from nogan.colorize.labels import COLORED, ORIGINAL, label
from nogan.colorize.photos import MAX_MEGAPIXELS, Photo
from nogan.colorize.precision import Precision
from nogan.colorize.square import FILM_RENDER_FACTOR, RenderFactor, network_size
from nogan.colorize.vividness import FILM_VIVIDNESS, PHOTO_VIVIDNESS, placed
from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.common.threads import WriteBehind, read_ahead
from nogan.networks.generator_file import about_training, find_weights
from nogan.networks.named import STARTER
from nogan.networks.requested import requested

Advance = Callable[[int, int | None], None]
"""Called with how much of a task is done, and with the total (None where that is not known)."""

PATIENCE = 1.5
"""Seconds after which the reading of a film, and the search for its shots, are a task to be shown."""

_REFRESH = 0.1  # seconds between what is shown of that

MAX_BATCH_BYTES = 200_000_000
"""A batch that holds this many bytes of pixels takes no further photograph, because all of it is in memory at once."""


class Reporter(Protocol):
    """Receives progress, remarks and results."""

    def task(self, name: str, total: int | None) -> AbstractContextManager[Advance]:
        """Called when a step of a film begins, and once for all photographs; the context ends with that work."""
        ...

    def remark(self, text: str) -> None:
        """Called, from any thread, with what a user should know about one photograph."""
        ...

    def finished(self, report: film.FilmReport) -> None:
        """Called with the report of each film."""
        ...


class _Silent:
    def task(self, name: str, total: int | None) -> AbstractContextManager[Advance]:
        return nullcontext(lambda done, total: None)

    def remark(self, text: str) -> None:
        pass

    def finished(self, report: film.FilmReport) -> None:
        pass


@dataclass(frozen=True)
class BatchOptions:
    """How files are colorized.

    Attributes:
        render_factor: as in :meth:`~nogan.colorize.colorizer.Colorizer.colorize`; None is the one that suits the model,
            where its file says so, else 35 for photographs and 21 for films.
        batch_size: images in one pass of the network; None is what suits the device.
        vividness: as in :meth:`~nogan.colorize.colorizer.Colorizer.load`; None is the vivid end for photographs and
            the steady one for films, of a generator with that knob.
        compare: write the original and the result side by side.
        raw: write the network's own pictures, without the originals' luma.
        gamut: as in :meth:`~nogan.colorize.colorizer.Colorizer.colorize`.
        colored: what becomes of photographs, and of shots of film, that have colors: "redo" colors them anew, "skip"
            keeps them as they are.
        adjustments: changes to the network's colors.
        blending: how several checkpoints are blended.
        blend_mask: a gray picture, or a folder of such by the names of what is colorized, that says how much of the
            second checkpoint is in the blend.
        overwrite: replace results that already exist.
        device: as in :meth:`~nogan.colorize.colorizer.Colorizer.load`; so are ``precision`` and ``compile``.
        quality: of JPEG and WebP, 1 to 100.
        max_megapixels: photographs with more are refused; None is 500.
        codec: as in :class:`~nogan.colorize.film.FilmOptions`; so are ``crf``, ``preset``, ``pix_fmt``,
            ``encoder_options``, ``stabilize``, ``scenes``, ``shot_threshold``, ``reference``, ``fps``, ``start``,
            ``end``, ``deinterlace`` and ``audio``.
    """

    render_factor: RenderFactor | None = None
    batch_size: int | None = None
    vividness: float | None = None
    compare: bool = False
    raw: bool = False
    gamut: Gamut = "fit"
    colored: Literal["skip", "redo"] = "redo"
    adjustments: Adjustments = NO_ADJUSTMENTS
    blending: Blending = BY_WEIGHTS
    blend_mask: Path | None = None
    overwrite: bool = False
    device: str | None = None
    precision: Precision = "auto"
    compile: bool = False
    quality: int = 95
    max_megapixels: float | None = None
    codec: str = "libx264"
    crf: int | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    encoder_options: Mapping[str, str] = field(default_factory=dict)
    stabilize: float = 0.0
    scenes: Path | None = None
    shot_threshold: float = film.FilmOptions.shot_threshold
    reference: Path | None = None
    fps: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    deinterlace: Literal["auto", "off"] = "auto"
    audio: Literal["auto", "copy", "transcode", "none"] = "auto"


Load = Callable[[Mapping[str, float], BatchOptions, float], Colorizer]
"""Gives the colorizer of checkpoints with their weights; the number is the vividness where the options name none."""


@dataclass(frozen=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        jobs: every photograph and film that was found, with its result's path.
        existing: how many of the results already existed and were kept as they are.
        failures: a line for each file that failed, which names it.
        seconds: time the work took, without loading the checkpoint.
        skipped: files that are neither photographs nor films, counted by suffix.
        with_colors: photographs that had colors already; ``colored`` says what became of them.
        films: how many of those that were colorized are films.
    """

    jobs: Sequence[Job]
    existing: int
    failures: Sequence[str] = ()
    seconds: float = 0.0
    skipped: Counter[str] = field(default_factory=Counter)
    with_colors: int = 0
    films: int = 0

    @property
    def done(self) -> int:
        """How many files were colorized."""
        return len(self.jobs) - self.existing - len(self.failures)


def colorize_files(
    checkpoints: Mapping[str, float],
    inputs: Sequence[str],
    output: str | None = None,
    options: BatchOptions | None = None,
    reporter: Reporter | None = None,
    load: Load | None = None,
) -> BatchReport:
    """Colorize photographs and films; called again after an interruption, it does only what is missing.

    Args:
        checkpoints: run folders, exports, DeOldify files or names, each with its weight.
        inputs: photographs, films, folders (with everything below them) or globs.
        output: a file where the input is one file, otherwise a folder; missing folders are made. None puts the results
            beside the originals, "-color" added to the name of each file or folder.
        options: see :class:`BatchOptions`.
        reporter: receives progress, remarks and results.
        load: where the colorizers come from; None loads them anew (:func:`load_colorizer`).

    Raises:
        UserError: nothing can begin (no such input, checkpoint or device, no permission to write), or the only file
            failed. Among several files, those that fail are in the report, and the others are done.
    """
    options, reporter, load = options or BatchOptions(), reporter or _Silent(), load or load_colorizer
    # These libraries print warnings about damaged files; the failures name the same files, in one line each.
    warnings.filterwarnings("ignore", module="PIL")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if options.render_factor not in (None, "auto"):
        network_size(options.render_factor)
    jobs, skipped = plan_jobs(inputs, output, fps=options.fps)
    for name, what, given in (("--scenes", "a table", options.scenes), ("--reference", "a picture", options.reference)):
        if given is not None and sum(job.is_film for job in jobs) != 1:
            raise UserError(f"{name} {given}: {what} belongs to one film; expected one film as the input.")
    if (options.start is not None or options.end is not None) and not any(job.is_film for job in jobs):
        raise UserError("--start and --end are times of a film, and there is none among the inputs.")
    waiting = [job for job in jobs if options.overwrite or not job.is_done]
    if not waiting:
        if len(jobs) == 1:
            raise UserError(f"{jobs[0].target} already exists; --overwrite replaces it.")
        return BatchReport(jobs, len(jobs), skipped=skipped)
    check_folders(waiting)
    _check(checkpoints, options)
    films, photographs = ([job for job in waiting if job.is_film is wanted] for wanted in (True, False))
    for remark in _not_of_photographs(checkpoints):
        reporter.remark(remark)
    failures: list[str] = []
    with_colors, seconds, films_done = 0, 0.0, 0
    if photographs:
        colorizer = load(checkpoints, options, PHOTO_VIVIDNESS)
        start = time.perf_counter()
        failures, with_colors = colorize_photos(colorizer, photographs, options, reporter)
        seconds = time.perf_counter() - start
    if films:
        colorizer = load(checkpoints, options, FILM_VIVIDNESS)
        start = time.perf_counter()
        failed = colorize_films(colorizer, checkpoints, films, options, reporter)
        failures, films_done = [*failures, *failed], len(films) - len(failed)
        seconds += time.perf_counter() - start
    if failures and len(jobs) == 1:
        raise UserError(failures[0])
    return BatchReport(jobs, len(jobs) - len(waiting), failures, seconds, skipped, with_colors, films_done)


def _check(checkpoints: Mapping[str, float], options: BatchOptions) -> None:
    """Refuse what of the blend and of the vividness cannot be, before a checkpoint is loaded."""
    weights, _ = placed(checkpoints, options.vividness)
    if options.blend_mask is not None:
        Masks(options.blend_mask)
        options.blending.check([*weights.values()], masked=True)


def load_colorizer(checkpoints: Mapping[str, float], options: BatchOptions, default_vividness: float) -> Colorizer:
    """The colorizer of ``checkpoints`` with its ``options``, as :meth:`Colorizer.load` gives it."""
    return Colorizer.load(
        checkpoints,
        device=options.device,
        precision=options.precision,
        compile=options.compile,
        vividness=options.vividness,
        default_vividness=default_vividness,
        adjustments=options.adjustments,
        blending=options.blending,
    )


def _not_of_photographs(checkpoints: Mapping[str, float]) -> Iterator[str]:
    """A line for each checkpoint that was trained on something else than photographs, as its file says."""
    for word in checkpoints:
        checkpoint = requested(word).checkpoint
        if about_training(checkpoint).get("data") == "scenes":
            yield (
                f"{checkpoint} was trained on the built-in scenes and knows no other colors; photographs need "
                f"--checkpoint {STARTER}, deoldify-artistic, or a run of yours on photographs"
            )


def colorize_photos(
    colorizer: Colorizer, jobs: Sequence[Job], options: BatchOptions, reporter: Reporter
) -> tuple[list[str], int]:
    """Colorize photographs, reading ahead of the network and writing behind it.

    Returns:
        A line for each that failed, and how many had colors already.
    """
    with reporter.task("photographs", len(jobs)) as advance:
        return _Photographs(colorizer, jobs, options, reporter, advance).run()


class _Photographs:
    """The pipeline of photographs: a thread reads, the caller's runs the network, a third writes."""

    def __init__(
        self, colorizer: Colorizer, jobs: Sequence[Job], options: BatchOptions, reporter: Reporter, advance: Advance
    ) -> None:
        self._colorizer, self._jobs, self._options = colorizer, jobs, options
        self._reporter, self._advance = reporter, advance
        self._failures: list[str] = []
        self._finished = self._with_colors = 0
        self._lock = threading.Lock()
        self._masks = None if options.blend_mask is None else Masks(options.blend_mask)

    def run(self) -> tuple[list[str], int]:
        size = self._options.batch_size or self._colorizer.batch_size
        with WriteBehind(self._write, 1) as writer:
            for batch in _batches(read_ahead(self._read(), 1), size):
                self._colorize(batch, writer)
                del batch  # otherwise the next photographs are read while these are in memory
        return self._failures, self._with_colors

    def _read(self) -> Iterator[tuple[Job, Photo]]:
        limit = self._options.max_megapixels or MAX_MEGAPIXELS
        for job in self._jobs:
            try:
                photos.check_writable(job.target)
                photo = photos.read_photo(job.source, max_megapixels=limit)
                if photos.has_colors(photo.pixels):
                    self._with_colors += 1
                    if self._options.colored == "skip":
                        self._keep(job, photo)
                        continue
            except Exception as error:  # whatever is wrong with one file, the others are done
                self._finish(failure=_failure(job, error))
            else:
                yield job, photo
                del photo  # otherwise it stays in memory while the next is read

    def _keep(self, job: Job, photo: Photo) -> None:
        """Put a photograph that has colors where its result would be: the same file, if its format stays."""
        remarks: tuple[str, ...] = ()
        if job.target.suffix.lower() == job.source.suffix.lower():
            write_atomically(job.target, lambda path: shutil.copyfile(job.source, path))
        else:
            remarks = photo.remarks + photos.write_photo(photo, job.target, quality=self._options.quality)
        for remark in remarks:
            self._reporter.remark(f"{job.source}: {remark}")
        self._finish()

    def _colorize(self, batch: list[tuple[Job, Photo]], writer: WriteBehind[tuple[Job, Photo, np.ndarray]]) -> None:
        try:
            if self._masks is None:
                colored = self._colored(self._colorizer, [photo for _, photo in batch])
            else:
                masked = ((self._colorizer.masked(self._masks(job.source)), photo) for job, photo in batch)
                colored = [self._colored(colorizer, [photo])[0] for colorizer, photo in masked]
        except Exception as error:
            reason = _failure(batch[0][0], error)
        else:
            for (job, photo), result in zip(batch, colored, strict=True):
                writer.put((job, photo, result))
            return
        # Not in the except clause, where the error would keep the memory of the failed pass in use.
        if len(batch) == 1:
            self._finish(failure=reason)
            return
        for photograph in batch:  # one by one: perhaps only the batch was too large, or only one of them is bad
            self._colorize([photograph], writer)

    def _colored(self, colorizer: Colorizer, photographs: list[Photo]) -> list[np.ndarray]:
        return colorizer.colorize_pixels(
            [photo.pixels for photo in photographs],
            self._options.render_factor,
            raw=self._options.raw,
            gamut=self._options.gamut,
            spaces=[photo.space for photo in photographs],
        )

    def _write(self, result: tuple[Job, Photo, np.ndarray]) -> None:
        job, photo, colored = result
        remarks, failure = photo.remarks, None
        try:
            if self._options.compare:
                photo, colored = _side_by_side(photo, colored)
            photo = replace(photo, pixels=colored)
            remarks += photos.write_photo(photo, job.target, quality=self._options.quality)
        except Exception as error:
            failure = _failure(job, error)
        for remark in remarks:
            self._reporter.remark(f"{job.source}: {remark}")
        self._finish(failure)

    def _finish(self, failure: str | None = None) -> None:
        with self._lock:
            if failure is not None:
                self._failures.append(failure)
            self._finished += 1
            self._advance(self._finished, len(self._jobs))


def colorize_films(
    colorizer: Colorizer,
    checkpoints: Mapping[str, float],
    jobs: Sequence[Job],
    options: BatchOptions,
    reporter: Reporter,
) -> list[str]:
    """Colorize films one after the other; returns a line for each that failed."""
    film_options = _film_options(colorizer, checkpoints, options)
    failures = []
    for job in jobs:
        try:
            with _Steps(reporter, job.source.name) as steps:
                chosen, settings = _with_mask(colorizer, film_options, options.blend_mask, job)
                report = film.colorize_film(
                    chosen, job.source, job.target, settings, progress=steps.color, looking=steps.look
                )
        except BrokenPipeError:  # whoever reads the result has gone
            raise
        except Exception as error:  # whatever is wrong with one film, the others are done
            failures.append(_failure(job, error))
        else:
            reporter.finished(report)
    return failures


class _Steps:
    """The steps of a film as tasks of a reporter, one after the other; what is soon done is none."""

    def __init__(self, reporter: Reporter, name: str) -> None:
        self._reporter, self._name = reporter, name
        self._open = ExitStack()
        self._what: str | None = None
        self._began = self._told = 0.0
        self._advance: Advance | None = None

    def look(self, what: str, done: int, total: int | None) -> None:
        """Hear of what comes before the coloring; it becomes a task if it takes longer than :data:`PATIENCE`."""
        if self._what != what:
            self._begin(what)
        now = time.monotonic()
        if now - self._told < _REFRESH:
            return
        self._told = now
        if self._advance is None and now - self._began >= PATIENCE:
            self._advance = self._open.enter_context(self._reporter.task(f"{self._name}: {what}", total))
        if self._advance is not None:
            self._advance(done, total)

    def color(self, done: int, total: int | None) -> None:
        """Hear of the coloring."""
        if self._what != "" or self._advance is None:
            self._begin("")
            self._advance = self._open.enter_context(self._reporter.task(self._name, None))
        self._advance(done, total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _begin(self, what: str) -> None:
        self._open.close()
        self._what, self._began, self._advance = what, time.monotonic(), None


def _with_mask(
    colorizer: Colorizer, options: film.FilmOptions, mask: Path | None, job: Job
) -> tuple[Colorizer, film.FilmOptions]:
    """The colorizer for a film, with its mask, and the options, which must know of that."""
    if mask is None:
        return colorizer, options
    masks = Masks(mask)
    file = masks.file_for(job.source)
    model = [*options.model, ("mask", str(file.resolve()), file.stat().st_mtime_ns)]
    return colorizer.masked(masks(job.source)), replace(options, model=model)


def export_keyframes(
    checkpoints: Mapping[str, float],
    inputs: Sequence[str],
    folder: Path,
    options: BatchOptions | None = None,
    reporter: Reporter | None = None,
) -> film.KeyframesReport:
    """Write one picture of each shot of a film, colored as the film will be (:mod:`nogan.colorize.film.keyframes`).

    Args:
        checkpoints: as in :func:`colorize_files`.
        inputs: that stand for one film.
        folder: of the pictures.
        options: those with which the film will be colored.
        reporter: receives progress and remarks.

    Raises:
        UserError: not one film, or it cannot be read, or the folder cannot be written to.
    """
    options, reporter = options or BatchOptions(), reporter or _Silent()
    jobs, _ = plan_jobs(inputs, None, fps=options.fps)
    if len(jobs) != 1 or not jobs[0].is_film:
        raise UserError(f"--export-keyframes {folder}: expected one film as the input.")
    _check(checkpoints, options)
    for remark in _not_of_photographs(checkpoints):
        reporter.remark(remark)
    colorizer = load_colorizer(checkpoints, options, FILM_VIVIDNESS)
    film_options = _film_options(colorizer, checkpoints, options)
    source = jobs[0].source
    colorizer, film_options = _with_mask(colorizer, film_options, options.blend_mask, jobs[0])
    with _Steps(reporter, f"keyframes of {source.name}") as steps:
        return film.export_keyframes(
            colorizer,
            source,
            folder,
            film_options,
            overwrite=options.overwrite,
            progress=steps.color,
            looking=steps.look,
        )


def _film_options(colorizer: Colorizer, checkpoints: Mapping[str, float], options: BatchOptions) -> film.FilmOptions:
    weights = [(*requested(word), weight) for word, weight in checkpoints.items()]
    model: list[object] = []
    for checkpoint, vividness, weight in weights:
        path = find_weights(checkpoint)
        model.append((str(path.resolve()), path.stat().st_mtime_ns, weight))
        if vividness is not None:
            model.append(("vividness", vividness))
    if options.vividness is not None:
        model.append(("vividness", options.vividness))
    if options.adjustments != NO_ADJUSTMENTS:
        model.append(repr(options.adjustments))
    if options.blending != BY_WEIGHTS:
        model.append(repr(options.blending))
    return film.FilmOptions(
        render_factor=options.render_factor or colorizer.render_factor or FILM_RENDER_FACTOR,
        batch_size=options.batch_size or colorizer.batch_size,
        codec=options.codec,
        crf=options.crf,
        preset=options.preset,
        pix_fmt=options.pix_fmt,
        encoder_options=options.encoder_options,
        stabilize=options.stabilize,
        scenes=options.scenes,
        shot_threshold=options.shot_threshold,
        colored=options.colored,
        reference=options.reference,
        fps=options.fps,
        start=options.start,
        end=options.end,
        deinterlace=options.deinterlace,
        audio=options.audio,
        compare=options.compare,
        raw=options.raw,
        gamut=options.gamut,
        model=model,
    )


def _side_by_side(photo: Photo, colored: np.ndarray) -> tuple[Photo, np.ndarray]:
    original = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None].repeat(3, axis=-1)
    alpha = None if photo.alpha is None else np.hstack([photo.alpha, photo.alpha])
    both = np.hstack([original, colored])
    width = original.shape[1]
    label(both[:, :width], ORIGINAL)
    label(both[:, width:], COLORED)
    return replace(photo, alpha=alpha), both


def _failure(job: Job, error: Exception) -> str:
    """One line that names the job's file; for an error that is not the user's mistake, with its type."""
    reason = " ".join(str(error).split())
    if not isinstance(error, UserError):
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return reason if str(job.source) in reason or str(job.target) in reason else f"{job.source}: {reason}"


def _batches(read: Iterator[tuple[Job, Photo]], size: int) -> Iterator[list[tuple[Job, Photo]]]:
    """Lists of up to ``size`` photographs, fewer where they are large."""
    batch: list[tuple[Job, Photo]] = []
    for job, photo in read:
        batch.append((job, photo))
        if len(batch) == size or sum(photo.pixels.nbytes for _, photo in batch) > MAX_BATCH_BYTES:
            del photo  # otherwise it stays in memory while the next is read
            yield batch
            batch = []
    if batch:
        yield batch
