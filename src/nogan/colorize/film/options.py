"""Which files are films, and the options of colorizing one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from nogan.colorize.composite import Gamut
from nogan.colorize.film.shots import CUT_THRESHOLD
from nogan.colorize.square import FILM_RENDER_FACTOR, RenderFactor

KEPT_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".ts", ".m2ts", ".mts"})
"""Containers that results keep; films in others become ``.mkv``, which holds every kind of stream."""

FILM_SUFFIXES = (
    KEPT_SUFFIXES
    | frozenset(
        {
            ".avi",
            ".webm",
            ".mpg",
            ".mpeg",
            ".wmv",
            ".flv",
            ".ogv",
            ".mxf",
            ".vob",
            ".3gp",
            ".dv",
            ".m2v",
            ".asf",
            ".divx",
        }
    )
    | frozenset({".y4m", ".rm", ".rmvb", ".mjpeg", ".mjpg", ".h264", ".264", ".h265", ".265", ".hevc", ".apng"})
)

PIPE = Path("-")
"""Stands for stdin as a source, and for stdout as a target."""

SEGMENT_FRAMES = 250
SEGMENT_SECONDS = 120.0
"""A segment ends after this many frames (x264's default distance of key frames) or seconds of work."""


@dataclass(frozen=True)
class FilmOptions:
    """How a film is colorized and encoded.

    Attributes:
        render_factor: the network sees 16 x this many pixels a side; "auto" chooses one for each shot.
        batch_size: frames in one pass of the network.
        codec: name of an ffmpeg encoder.
        crf: its constant quality, on its own scale, lower is better; None is 17 for H.264, H.265 and AV1, and what is
            good for the others (:mod:`nogan.colorize.film.quality`).
        preset: of the encoder, such as "slow".
        pix_fmt: its pixel format, by ffmpeg's name; None is the one nearest to the film's.
        encoder_options: further options of the encoder, by ffmpeg's names.
        stabilize: how far to smooth the chroma along the motion (:mod:`nogan.colorize.film.stabilize`), from 0 to 1.
        scenes: a table of scenes (:mod:`nogan.colorize.film.shots`): read if it exists, otherwise written.
        shot_threshold: how unlike two frames must be for a cut; lower finds more.
        colored: what becomes of shots that have colors of their own: "redo" colors them anew, "skip" keeps them.
        reference: folder of pictures of the film whose colors are carried through their shots
            (:mod:`nogan.colorize.film.references`).
        audio: copy the sound as it is ("copy"), encode it again ("transcode"), leave it out ("none"), or copy what the
            container takes and encode the rest ("auto").
        compare: write the original and the result side by side.
        raw: the network's own picture, including its luma.
        gamut: what becomes of chroma that is too strong for its luma (:mod:`nogan.colorize.composite`).
        fps: frames a second of numbered pictures, and of files that do not know theirs.
        start: seconds since the first frame at which the part begins that is colored; None for the beginning.
        end: and where it ends; None for the end.
        deinterlace: make whole frames of interlaced ones ("auto"), or take them as they are ("off").
        model: identifies the checkpoints, so that a run is continued with the same ones only.
        segment_frames: number of frames in a segment.
    """

    render_factor: RenderFactor = FILM_RENDER_FACTOR
    batch_size: int = 1
    codec: str = "libx264"
    crf: int | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    encoder_options: Mapping[str, str] = field(default_factory=dict)
    stabilize: float = 0.0
    scenes: Path | None = None
    shot_threshold: float = CUT_THRESHOLD
    colored: Literal["skip", "redo"] = "redo"
    reference: Path | None = None
    audio: Literal["auto", "copy", "transcode", "none"] = "auto"
    compare: bool = False
    raw: bool = False
    gamut: Gamut = "fit"
    fps: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    deinterlace: Literal["auto", "off"] = "auto"
    model: Any = None
    segment_frames: int = SEGMENT_FRAMES


def work_folder(target: Path) -> Path:
    """Where the segments and the state of a film are until it is done."""
    return target.with_name(f"{target.name}.parts")
