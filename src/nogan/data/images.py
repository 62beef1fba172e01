"""Decodes image files of every kind to pixels: 8-bit RGB, upright, opaque, and no larger than a loader needs.

JPEG takes a fast path: libjpeg-turbo through ``simplejpeg``, which can reduce while it decodes. Everything else, and
unusual JPEG files, go through Pillow. Nothing here imports torch, so that a worker process starts quickly.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nogan.common.image_files import is_bomb, open_image

# A picture whose longer side is more than this many times its shorter side is cut to its middle, to bound the memory of
# a batch.
MAX_ASPECT = 2

# A picture counts as gray where the 99th percentile of its pixels' max(R, G, B) - min(R, G, B) is at most this. JPEG
# and scanning add up to 8 to photographs without color; dull photographs with color reach 20 and more.
GRAY_SPREAD = 10

GRAY = "gray photograph"
"""Why a photograph without color is left out, as :class:`BadImage` says it."""

# Pixels of a file, and pixels that are decoded of it (JPEG is reduced while it is decoded), so that no file costs more
# than about a gigabyte. Gray of more than 8 bits takes more for each.
MAX_PIXELS = 180_000_000
MAX_DECODED = 100_000_000
MAX_DEEP = 25_000_000
_STRIP = 1 << 24

_JPEG_MAGIC = b"\xff\xd8\xff"


class BadImage(Exception):
    """A file that cannot be decoded; the message is the reason in a word or two: "zero bytes", "truncated", …"""


def decode(data: bytes, size: int | None = None) -> np.ndarray:
    """Decode the bytes of an image file to uint8 RGB ``(H, W, 3)``.

    Upright by its EXIF tag, transparency laid over white, 16-bit scaled to 8, CMYK by its color profile where it has
    one, the first frame of an animation; cut to its middle where it is longer than 2:1.

    Args:
        data: the whole file.
        size: reduce by area-averaging (libjpeg's DCT scaling, or a box filter) until the shorter side is at most
            ``2 * size``; it stays at least ``size`` where the file allows it, for nothing is ever enlarged.

    Raises:
        BadImage: the file is empty, truncated, too large to be a photograph, or not an image.
    """
    if not data:
        raise BadImage("zero bytes")
    pixels = _decode_jpeg(data, size) if data.startswith(_JPEG_MAGIC) else None
    if pixels is None:
        pixels = _decode_any(data, size)
    return cut_to_aspect(pixels)


def decode_color(data: bytes, size: int | None = None) -> np.ndarray:
    """The same as :func:`decode`, for a photograph that a colorizer is to learn from.

    Raises:
        BadImage: also for a gray photograph, which would teach gray (:data:`GRAY`).
    """
    pixels = decode(data, size)
    if is_gray(pixels):
        raise BadImage(GRAY)
    return pixels


def cut_to_aspect(pixels: np.ndarray, limit: int = MAX_ASPECT) -> np.ndarray:
    """The middle of ``pixels`` ``(H, W, 3)``, at most ``limit`` times as long as its shorter side (a view)."""
    height, width = pixels.shape[:2]
    longest = limit * min(height, width)
    top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
    return pixels[top : top + longest, left : left + longest]


def is_gray(pixels: np.ndarray) -> bool:
    """Whether the picture, uint8 RGB ``(H, W, 3)``, has no color of its own: see :data:`GRAY_SPREAD`."""
    enough = 0.01 * pixels.shape[0] * pixels.shape[1]
    # Where a sixteenth of the pixels has enough color already, the others need not be looked at.
    return _colored(pixels[::4, ::4]) <= enough and _colored(pixels) <= enough


def _colored(pixels: np.ndarray) -> int:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]  # faster than a reduction over an axis of three
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return int(np.count_nonzero(spread > GRAY_SPREAD))


@cache
def _simplejpeg() -> ModuleType | None:
    """The fast decoder; None on platforms that have no wheel of it, where Pillow does all the work."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _scale_divisor(shorter: int, size: int | None) -> int:
    """The smallest of 1, 2, 4, 8 (libjpeg's fast scales) that brings ``shorter`` to at most ``2 * size``."""
    return 1 if size is None else next((n for n in (1, 2, 4) if -(-shorter // n) <= 2 * size), 8)


def _decode_jpeg(data: bytes, size: int | None) -> np.ndarray | None:
    """Decode by the fast path; None if Pillow must: CMYK, pictures to be turned, and files with flaws."""
    turbo = _simplejpeg()
    if turbo is None or (data.find(b"Exif\0\0", 0, 1 << 16) >= 0 and _is_turned(data)):
        return None
    try:
        height, width, space, _ = turbo.decode_jpeg_header(data)
        if space not in ("YCbCr", "RGB", "Gray"):
            return None
        divisor = _scale_divisor(min(height, width), size)
        _check_size(width, height, divisor, len(data))
        pixels = turbo.decode_jpeg(data, min_height=-(-height // divisor), min_width=-(-width // divisor))
    except ValueError:
        return None
    return _shrink(pixels, size)


def _check_size(width: int, height: int, divisor: int, file_size: int, limit: int = MAX_DECODED) -> None:
    """Refuse, before it is decoded, what would cost too much memory when reduced by ``divisor``."""
    pixels = width * height
    if pixels > MAX_PIXELS or pixels // divisor**2 > limit or is_bomb(width, height, file_size):
        raise BadImage("too large")


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _is_turned(data: bytes) -> bool:
    with _pillow_errors(), open_image(io.BytesIO(data)) as image:
        return image.getexif().get(0x0112, 1) != 1


def _decode_any(data: bytes, size: int | None) -> np.ndarray:
    with _pillow_errors(), open_image(io.BytesIO(data)) as image:
        _check_size(*image.size, 1 if image.format != "JPEG" else 8, len(data))
        divisor = _scale_divisor(min(image.size), size)
        image.draft(None, (image.width // divisor, image.height // divisor))  # reduces JPEG, leaves the rest alone
        _check_size(*image.size, 1, len(data), MAX_DEEP if _is_deep(image) else MAX_DECODED)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        pixels = np.asarray(_to_rgb(image))
    return _shrink(pixels, size)


@contextlib.contextmanager
def _pillow_errors() -> Iterator[None]:
    """Turn what Pillow raises into a :class:`BadImage`, and silence its warnings about harmless flaws.

    Pillow's plugins raise errors of many kinds: OSError, SyntaxError, ValueError, struct.error, …
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except BadImage:
            raise
        except UnidentifiedImageError as error:
            raise BadImage("not an image") from error
        except Image.DecompressionBombError as error:
            raise BadImage("too large") from error
        except Exception as error:
            raise BadImage("truncated" if "truncated" in str(error).lower() else f"damaged ({error})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if _is_deep(image):  # Pillow's own conversion clips to 255 instead of scaling
        return Image.fromarray(_to_8_bit(np.asarray(image), image.mode)).convert("RGB")
    if image.mode == "CMYK" and image.info.get("icc_profile"):
        return _by_profile(image) or image.convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """``image``, with transparency, laid on white; by strips, since it takes four copies."""
    result = Image.new("RGB", image.size)
    rows = max(_STRIP // image.width, 1)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        result.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return result


def _to_8_bit(values: np.ndarray, mode: str) -> np.ndarray:
    """Gray of any depth to uint8: 16-bit values by their full range, others by the range that they seem to use."""
    values = np.nan_to_num(values.astype(np.float64)).clip(min=0)
    top = 65535 if mode.startswith("I;16") else next((t for t in (1, 255, 65535) if values.max() <= t), values.max())
    return np.round(255 / top * values).astype(np.uint8)


def _by_profile(image: Image.Image) -> Image.Image | None:
    """``image`` in sRGB by its embedded color profile; None where the profile cannot be used."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _shrink(pixels: np.ndarray, size: int | None) -> np.ndarray:
    """Box-filter ``pixels`` so that the shorter side is ``2 * size``, where it is longer."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    if size is None or shorter <= 2 * size:
        return pixels
    new = (round(width * 2 * size / shorter), round(height * 2 * size / shorter))
    return np.asarray(Image.fromarray(pixels).resize(new, Image.Resampling.BOX))
