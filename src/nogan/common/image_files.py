"""Which image files are read: one list of kinds for training, preparing and coloring, and the only way to open one."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

_KINDS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TGA": (".tga",),
}
HEIF_SUFFIXES = (".heic", ".heif")
HEIF_INSTALLED = find_spec("pillow_heif") is not None
if HEIF_INSTALLED:
    _KINDS["HEIF"] = HEIF_SUFFIXES

IMAGE_SUFFIXES = tuple(suffix for suffixes in _KINDS.values() for suffix in suffixes)
"""What the name of a photograph ends with, in lower case; HEIC's only where its package is installed."""

_LARGE = 50_000_000  # pixels; smaller files cannot cost much, whatever is in them
_PIXELS_A_BYTE = 300  # more than a white sheet has as a JPEG


def open_image(file: str | Path | IO[bytes], *more: str) -> ImageFile.ImageFile:
    """Open an image file as Pillow does, but only as one of the kinds above, and of those named in ``more``.

    What a file is decoded as follows from what is in it, not from its name, and some of Pillow's kinds start a program:
    PostScript starts Ghostscript.

    Raises:
        PIL.UnidentifiedImageError: it is of no such kind.
    """
    try:
        return Image.open(file, formats=_common_formats())
    except UnidentifiedImageError:
        return Image.open(file, formats=[*_formats(), *more])


@cache
def _common_formats() -> tuple[str, ...]:
    """JPEG, PNG and whatever else needs few imports."""
    Image.preinit()
    return tuple(kind for kind in _KINDS if kind in Image.OPEN)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    if HEIF_INSTALLED:
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(kind for kind in _KINDS if kind in Image.OPEN)  # some versions of Pillow lack one


def is_bomb(width: int, height: int, file_size: int) -> bool:
    """Whether a picture is far larger than a file of ``file_size`` bytes can hold a photograph of."""
    return width * height > max(_LARGE, _PIXELS_A_BYTE * file_size)


def printable(name: str | Any) -> str:
    """A file's name for a message: what of it is not UTF-8 is written as ``\\xff``."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
