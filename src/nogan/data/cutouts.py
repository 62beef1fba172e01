"""Things cut out of their background, composed onto photographs: more to learn from where photographs are few.

Half of what a colorizer has to tell apart is what stands where. A hundred animals, plants and fruits on a hundred
backgrounds are ten thousand pictures, each with true colors.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from nogan.common.errors import UserError
from nogan.common.image_files import open_image
from nogan.common.rng import Key, numpy_rng

SIDE = 400
"""Longest side, px, at which a cut-out is kept in memory."""

KEPT = 256
"""Cut-outs that a process keeps in memory; about half a megabyte each."""

EXTENT = (0.3, 0.9)
"""Longest side of a pasted cut-out, as a share of the photograph's shorter side."""


class Cutouts:
    """The image files with transparency below a folder, each the outline of one thing.

    Args:
        path: the folder (``data.cutouts``).
        share: of the photographs that get one (``data.cutouts_share``).
        keys: of the draws.

    Raises:
        UserError: there is no such folder, or no PNG or WebP file in it.
    """

    def __init__(self, path: str | Path, share: float, *keys: Key) -> None:
        root = Path(path).expanduser()
        self.files = sorted(file for file in root.rglob("*") if file.suffix.lower() in (".png", ".webp"))
        if not self.files:
            raise UserError(
                f"data.cutouts={path} holds no cut-outs: expected a folder of .png or .webp files with transparency"
            )
        self.share, self.keys = share, keys

    def paste(self, picture: np.ndarray, *keys: Key) -> None:
        """Lay a cut-out on ``picture``, uint8 RGB ``(H, W, 3)``, in place, or leave it: ``keys`` decide.

        It is turned left or right, and its middle lies anywhere in the picture.

        Raises:
            UserError: its file cannot be read, or nothing in it is transparent.
        """
        rng = numpy_rng("cutout", *self.keys, *keys)
        if rng.random() >= self.share:
            return
        rgba = _read(self.files[int(rng.integers(len(self.files)))])
        height, width = picture.shape[:2]
        scale = rng.uniform(*EXTENT) * min(height, width) / max(rgba.size)
        size = (max(round(rgba.width * scale), 1), max(round(rgba.height * scale), 1))
        layer = np.asarray(rgba.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR))
        if rng.random() < 0.5:
            layer = layer[:, ::-1]
        top, left = (int(rng.integers(room)) - side // 2 for room, side in ((height, size[1]), (width, size[0])))
        layer = layer[max(-top, 0) : height - top, max(-left, 0) : width - left]
        top, left = max(top, 0), max(left, 0)
        target = picture[top : top + layer.shape[0], left : left + layer.shape[1]]
        alpha = layer[..., 3:].astype(np.float32) / 255
        target[...] = np.round(target + alpha * (layer[..., :3].astype(np.float32) - target)).astype(np.uint8)


@lru_cache(KEPT)
def _read(file: Path) -> Image.Image:
    """The cut-out in ``file``, RGBA, cut to what is not transparent, and no larger than :data:`SIDE`."""
    try:
        with open_image(file) as opened:
            rgba = opened.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"data.cutouts: {file} cannot be read ({' '.join(str(error).split())})") from error
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == 255 or (box := alpha.getbbox()) is None:
        raise UserError(f"data.cutouts: {file} is no cut-out: expected one thing on a transparent background")
    rgba = rgba.crop(box)
    rgba.thumbnail((SIDE, SIDE))
    return rgba
