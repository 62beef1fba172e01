"""How the colors of several models become one picture: by weights, by luma, by a mask, and never far from the first.

All of it acts on the networks' own pictures, before they are brought to full size. Only the chroma of what comes out is
used, so that luma stays the photograph's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nogan.colorize.photos import PHOTO_SUFFIXES, read_photo
from nogan.colorize.pixels import to_uint8
from nogan.common.errors import UserError
from nogan.common.ycbcr import REC601

LEVELS = 255
"""Levels in the units of ``luma`` and ``limit``, from black to white."""


@dataclass(frozen=True)
class Blending:
    """How models are blended; the default is by their weights alone.

    Attributes:
        luma: two levels of 255: below the first the first model colors alone, above the second the second one, and
            between them they pass smoothly into each other. None for weights.
        limit: levels of 255 by which the chroma (the vector of Cb and Cr) may be away from the first model's at any
            pixel; what is farther comes as near as that, in the same direction. None for no limit.

    Raises:
        UserError: a level out of range.
    """

    luma: tuple[float, float] | None = None
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.luma is not None and not 0 <= self.luma[0] < self.luma[1] <= LEVELS:
            low, high = self.luma
            raise UserError(f"--blend-luma {low:g}-{high:g}: expected two levels from 0 to 255, the lower one first.")
        if self.limit is not None and not 0 <= self.limit < math.inf:
            raise UserError(f"--blend-limit {self.limit:g}: expected 0 or more.")

    def check(self, weights: Sequence[float], *, masked: bool) -> None:
        """Refuse a blend that does not suit the models.

        Args:
            weights: of the models.
            masked: whether there is a mask.

        Raises:
            UserError: luma or a mask without two models, with weights, or both at once; or a limit for one model.
        """
        flags = [flag for flag, given in (("--blend-luma", self.luma), ("--blend-mask", masked)) if given]
        if len(flags) == 2:
            raise UserError("--blend-luma and --blend-mask: expected one of them.")
        for flag in flags:
            if len(weights) != 2:
                raise UserError(f"{flag}: expected two models, --blend FIRST SECOND, and not {len(weights)}.")
            if weights[0] != weights[1]:
                raise UserError(
                    f"{flag} says how much of each model there is: leave their weights out of --blend, and --vividness."
                )
        if self.limit is not None and len(weights) < 2:
            raise UserError("--blend-limit: expected several models, --blend FIRST SECOND.")

    def mixed(
        self, pictures: Sequence[np.ndarray], weights: Sequence[float], gray: np.ndarray, mask: np.ndarray | None
    ) -> np.ndarray:
        """The picture of all models together.

        Args:
            pictures: of each model, RGB ``(B, S, S, 3)`` float32 in [0, 1].
            weights: of each, whose sum is 1.
            gray: what they were shown, ``(B, S, S)`` float32 in [0, 1].
            mask: the share of the second model, ``(S, S)`` float32 in [0, 1]; None without one.

        Returns:
            RGB of the same shape and range.
        """
        first = pictures[0]
        if mask is not None:
            mixed = first + mask[None, ..., None] * (pictures[1] - first)
        elif self.luma is not None:
            low, high = (np.float32(level / LEVELS) for level in self.luma)
            step = ((gray - low) / (high - low)).clip(0, 1)
            mixed = first + (step**2 * (3 - 2 * step))[..., None] * (pictures[1] - first)
        else:
            mixed = first * weights[0]
            for picture, weight in zip(pictures[1:], weights[1:], strict=True):
                mixed = mixed + picture * weight
        return mixed if self.limit is None else first + _within(self.limit / LEVELS, mixed - first)


@dataclass(frozen=True)
class Masks:
    """Where the masks of a blend are: one gray picture for all, or a folder with one for each file, by its name.

    Attributes:
        path: the picture, or the folder.

    Raises:
        UserError: there is no such file or folder.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise UserError(f"--blend-mask {self.path}: no such picture or folder.")

    def file_for(self, source: Path) -> Path:
        """The mask for a photograph or film: in a folder, the picture with its name, whatever its suffix.

        Raises:
            UserError: there is none.
        """
        if not self.path.is_dir():
            return self.path
        for file in sorted(self.path.iterdir()):
            if file.stem == source.stem and file.suffix.lower() in PHOTO_SUFFIXES:
                return file
        raise UserError(f"{source}: --blend-mask {self.path}: no picture with the name {source.stem} in it.")

    def __call__(self, source: Path) -> np.ndarray:
        """The mask for a photograph or film, ``(H, W)`` float32 in [0, 1]; colors are taken for their luma.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        pixels = to_uint8(read_photo(self.file_for(source)).pixels)
        gray = pixels if pixels.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
        return gray.astype(np.float32) / np.float32(255)


def _within(limit: float, away: np.ndarray) -> np.ndarray:
    """Differences of RGB, shortened where those of Cb and Cr are longer than ``limit``."""
    red, green, blue = away[..., 0], away[..., 1], away[..., 2]
    cb, cr = REC601.chroma(REC601.luma(red, green, blue), red, blue)
    distance = np.hypot(cb, cr)
    factor = np.minimum(1, limit / np.maximum(distance, 1e-6)).astype(np.float32)
    return away * factor[..., None]
