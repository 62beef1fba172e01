"""What a film becomes: a container with everything copied into it, numbered pictures, or an animation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from nogan.colorize.film.encoding import Encoding
from nogan.colorize.film.joining import check_container, join, joined_packets
from nogan.colorize.film.options import FilmOptions
from nogan.colorize.film.pictures import is_pattern
from nogan.colorize.film.reading import Film
from nogan.colorize.film.recorder import KINDS, Y4M, Kind, Recorder
from nogan.colorize.film.segments import Colored, Files, SegmentEnd, SegmentWriter, State
from nogan.colorize.film.sequence import PICTURES, SEGMENT_PICTURES, PictureWriter, Sequence, encoded
from nogan.common.errors import UserError
from nogan.common.files import write_atomically

_GRAY = np.full((16, 16, 3), 0.5, np.float32)
_LOSSLESS = "ffv1"  # encoder of what is encoded again at the end


class Writer(Protocol):
    """Takes the colored frames, and the ends of segments."""

    def __call__(self, item: Colored | SegmentEnd) -> None:
        """Take a frame with the square to encode it with, or the end of a segment."""
        ...

    def abandon(self) -> None:
        """Close what is open as it is."""
        ...


class Output(Protocol):
    """What a film becomes. It is tried before any work.

    Attributes:
        options: as given, as far as the kind of result does not decide otherwise.
        encoding: of its frames.
        files: gives the files of a segment; None for those of :class:`SegmentWriter`.
    """

    options: FilmOptions
    encoding: Encoding
    files: Files | None

    def writer(self, state: State, work: Path) -> Writer:
        """Takes the frames from where ``state`` stands."""
        ...

    def finish(self, state: State, work: Path) -> None:
        """Make the result of the segments."""
        ...


def output_for(film: Film, target: Path, options: FilmOptions) -> Output:
    """The output for ``target``: numbered pictures (``frame_%04d.png``), or a film of the kind of its suffix.

    Raises:
        UserError: the encoder, the kind of file or an option does not work.
    """
    if is_pattern(target):
        return _Pictures(film, target, options)
    if target.suffix.lower() in PICTURES:
        raise UserError(f"{target}: a film is no single picture; numbered ones are %04d{target.suffix}.")
    if target.suffix.lower() in KINDS:
        return _Animation(film, target, options)
    return _Container(film, target, options)


class _Container:
    """A film with sound, subtitles and chapters, joined from segments without encoding them again."""

    files: Files | None = None

    def __init__(self, film: Film, target: Path, options: FilmOptions) -> None:
        self.options, self.encoding = options, Encoding.of(film, options)
        self._film, self._target = film, target
        self._sound = check_container(film, self.encoding, target, options.audio)

    def writer(self, state: State, work: Path) -> Writer:
        return SegmentWriter(self.encoding, state, work)

    def finish(self, state: State, work: Path) -> None:
        write_atomically(
            self._target,
            lambda temporary: join(self._film, self.encoding, state, work, temporary, self._target, self._sound),
        )


class _Animation:
    """A film without sound, which is encoded in one go at the end, from segments without loss."""

    files: Files | None = None

    def __init__(self, film: Film, target: Path, options: FilmOptions) -> None:
        kind = KINDS[target.suffix.lower()]
        self.options = options_of(kind, options, target)
        self.encoding = Encoding.of(film, self.options)
        self._film, self._target, self._kind = film, target, kind
        trial = target.with_name(f".{target.stem}.trial{target.suffix}")
        _tried(target, lambda: record_one(film, self.encoding, kind, trial), trial)
        film.scan()
        say_what_is_left_out(film, f"{target.suffix} files hold pictures only")
        if kind is Y4M and not film.even:
            film.remarks.append(
                f"{target.suffix} files keep no timestamps, and its frames do not all last equally long: they move; "
                ".mkv would keep them"
            )

    def writer(self, state: State, work: Path) -> Writer:
        return SegmentWriter(self.encoding, state, work)

    def finish(self, state: State, work: Path) -> None:
        write_atomically(self._target, lambda temporary: self._record(state, work, temporary))

    def _record(self, state: State, work: Path, temporary: Path) -> None:
        with Recorder(self.encoding, temporary, self._kind) as recorder:
            for packet in joined_packets(self._film, state, work, by_decoding=False):
                for frame in packet.decode():
                    frame.pts, frame.time_base = packet.pts, self._film.time_base  # there is no reordering
                    recorder.put(frame)


class _Pictures:
    """Numbered pictures, each of which is whole as soon as it is there."""

    def __init__(self, film: Film, target: Path, options: FilmOptions) -> None:
        kind = PICTURES.get(target.suffix.lower())
        if kind is None:
            raise UserError(f"{target}: numbered pictures are {', '.join(sorted(PICTURES))}.")
        if options.codec != FilmOptions.codec:
            raise UserError(f"--codec {options.codec}: {target.suffix} pictures have an encoder of their own.")
        deep = max(component.bits for component in film.first.format.components) > 8
        self.options = replace(
            options,
            codec=kind.encoder,
            pix_fmt=options.pix_fmt or (kind.deep if deep else kind.usual),
            segment_frames=min(options.segment_frames, SEGMENT_PICTURES),
        )
        self.encoding = Encoding.of(film, self.options)
        _tried(target, lambda: encoded(self.encoding.picture_encoder(), self.encoding.colored(film.first, _GRAY)))
        film.scan()
        say_what_is_left_out(film, "pictures have none")
        self._film, self._sequence = film, Sequence.of(film, target)
        self.files: Files | None = self._sequence.files

    def writer(self, state: State, work: Path) -> Writer:
        return PictureWriter(self.encoding, state, work, self._sequence)

    def finish(self, state: State, work: Path) -> None:
        if left := self._sequence.left_over(state.frames):
            self._film.remarks.append(f"{left} pictures with other numbers were there before, and stay")


def options_of(kind: Kind, options: FilmOptions, target: Path) -> FilmOptions:
    """The options for a kind of film with an encoder of its own, which knows none of the usual ones.

    Raises:
        UserError: one of these is given.
    """
    name = "the pipe" if target.name == "-" else f"{target.suffix} files"
    usual = FilmOptions()
    for flag, is_given in (
        (f"--codec {options.codec}", options.codec != usual.codec),
        (f"--crf {options.crf}", options.crf is not None),
        (f"--preset {options.preset}", options.preset is not None),
        (f"--pix-fmt {options.pix_fmt}", options.pix_fmt is not None and kind.pixel_format is not None),
        ("--encoder-option", bool(options.encoder_options)),
    ):
        if is_given:
            raise UserError(f"{flag}: {name} have an encoder of their own; leave it out.")
    return replace(options, codec=_LOSSLESS, pix_fmt=options.pix_fmt or kind.planes)


def record_one(film: Film, encoding: Encoding, kind: Kind | None, into: Path) -> None:
    """Write the first frame as a film."""
    with Recorder(encoding, into, kind) as recorder:
        recorder.put(encoding.colored(film.first, _GRAY))


def say_what_is_left_out(film: Film, why: str) -> None:
    """Add a remark if the film has sound or subtitles, which the result has not."""
    with film.opened() as container:
        types = {stream.type for stream in container.streams if stream.index != film.stream_index}
    words = {"audio": "sound", "subtitle": "subtitles"}
    lost = [word for name, word in words.items() if name in types]
    if lost:
        verb = "is" if lost == ["sound"] else "are"
        film.remarks.append(f"its {' and '.join(lost)} {verb} left out: {why}")


def _tried(target: Path, attempt: Callable[[], object], trial: Path | None = None) -> None:
    import av

    try:
        attempt()
    except (av.FFmpegError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{target}: a {target.suffix} file does not work here: {reason}.") from error
    finally:
        if trial is not None:
            trial.unlink(missing_ok=True)
