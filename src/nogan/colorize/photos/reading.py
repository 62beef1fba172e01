"""Reading photographs: any mode to upright gray or RGB pixels of 8 or 16 bits, and their metadata."""

import contextlib
import io
import stat
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from nogan.colorize.photos import special, tags, tiff16
from nogan.colorize.photos.color_space import SRGB, gray_curve, space_of
from nogan.colorize.photos.metadata import image_metadata, tiff_metadata
from nogan.colorize.photos.photo import Photo, upright
from nogan.colorize.photos.tags import Directory
from nogan.common.errors import UserError
from nogan.common.image_files import is_bomb, open_image

MAX_MEGAPIXELS = 500
"""More megapixels than these are refused: a scan of 20,000 x 20,000 px passes, a decompression bomb does not."""

_NO_WHITE = "of mode {mode!r} (32 bits a pixel) has no fixed white: convert it to 16 bits first."
_STRIP_PIXELS = 1 << 20
_EXR_SIGNATURE = b"\x76\x2f\x31\x01"
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def read_photo(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Read a photograph of any kind that Pillow knows, or of 16-bit color.

    Palettes, CMYK and gray with an ICC profile become RGB or gray in sRGB; an RGB profile stays with its pixels.

    Args:
        path: the file.
        max_megapixels: larger photographs are refused.

    Raises:
        UserError: in one line: the file is missing, empty, truncated, damaged, not an image, or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path}: not a file, but a pipe, a socket or a device.")
        if status.st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes).")
        if path.suffix.lower() in special.RAW_SUFFIXES:
            return special.read_raw(path)
        with path.open("rb") as file:
            start = file.read(64)
            tiff = tags.read_directory(file) if start[:4] in tags.TIFF_SIGNATURES else None
        if tiff is not None and tiff16.is_deep(path, tiff):
            size = tiff.integer(tiff16.WIDTH, 0), tiff.integer(tiff16.HEIGHT, 0)
            _check_size(path, size, max_megapixels)
            return _read_tiff16(path, tiff)
        if start[:4] == _EXR_SIGNATURE:
            return special.read_exr(path)
        more: tuple[str, ...] = ()
        if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS and b"avif" not in start:
            _open_heic(path)
            more = ("HEIF",)
        with _any_size(), open_image(path, *more) as image:
            _check_size(path, image.size, max_megapixels, status.st_size)
            if image.mode in ("I", "F") and image.format != "PPM":
                raise UserError(f"{path}: an image {_NO_WHITE.format(mode=image.mode)}")
            flat, orientation = _read_png16(path, image) if _is_png16(image) else _flat(image, tiff)
            if image.format == "WEBP" and _is_lossless(path):
                flat.metadata["lossless"] = True
        # Turned after the image is closed, because the open image holds the pixels a second time.
        return _turned(flat, orientation)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not an image that can be read (whatever its name says).") from error
    except MemoryError as error:
        raise UserError(f"{path}: not enough memory to read it.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of a decoder
            raise UserError(f"{path}: cannot be read: {error.strerror}.") from error
        # For damaged files the decoders raise nearly any error: struct.error, KeyError, zlib.error.
        raise UserError(
            f"{path}: truncated or damaged: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def from_image(image: Image.Image) -> Photo:
    """Read a Pillow image as a file of its kind would be read. The image is not changed.

    Raises:
        UserError: its mode has 32 bits a pixel, and so no fixed white.
    """
    file = getattr(image, "fp", None)
    tiff = None
    if image.format == "TIFF" and file is not None and not file.closed:
        position = file.tell()
        with contextlib.suppress(ValueError):  # no longer the same file; Pillow has kept some of its tags
            tiff = tags.read_directory(file)
        file.seek(position)
    return _turned(*_flat(image, tiff))


def to_pixels(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """The pixels of a Pillow image of any mode.

    Returns:
        Gray ``(H, W)`` or RGB ``(H, W, 3)``, and alpha ``(H, W)`` or None; uint8, or uint16 for the 16-bit gray modes.

    Raises:
        UserError: its mode has 32 bits a pixel, and so no fixed white.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # PPM of up to 16 bits
        return np.array(image).astype(np.uint16), None
    if image.mode in ("I", "F"):
        raise UserError(f"An image {_NO_WHITE.format(mode=image.mode)}")
    alpha = None
    if image.has_transparency_data:
        gray = image.mode in ("L", "LA", "La")
        image = image.convert("LA" if gray else "RGBA")
        alpha = np.array(image.getchannel("A"))
    if image.mode in ("L", "LA", "1"):
        return np.array(image.getchannel("L") if image.mode == "LA" else image.convert("L")), alpha
    if image.mode == "LAB":
        image = _to_srgb(image, ImageCms.createProfile("LAB"))
    return _rgb(image), alpha


def _rgb(image: Image.Image) -> np.ndarray:
    """RGB ``(H, W, 3)``, strip by strip, because ``np.array(image)`` copies the whole picture twice more."""
    width, height = image.size
    result = np.empty((height, width, 3), np.uint8)
    step = max(1, _STRIP_PIXELS // max(width, 1))
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(top + step, height)))
        result[top : top + step] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return result


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lift Pillow's size limit, which large scans exceed, and check ours in its place."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: Path, size: tuple[int, int], max_megapixels: float, file_size: int | None = None) -> None:
    """Refuse what is too large; up to the usual limit also what is too large for a file of ``file_size`` bytes."""
    width, height = size
    suspicious = file_size is not None and max_megapixels <= MAX_MEGAPIXELS and is_bomb(width, height, file_size)
    if suspicious or width * height > max_megapixels * 1e6:
        raise UserError(
            f"{path}: {width} x {height} px, {width * height / 1e6:,.0f} megapixels, may be a decompression bomb; "
            f"--max-megapixels (now {max_megapixels:g}) allows more."
        )


def _open_heic(path: Path) -> None:
    """Let Pillow read HEIC, the format of phones.

    Raises:
        UserError: the package for it is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise UserError(f"{path}: a HEIC image needs pillow-heif: pip install pillow-heif.") from error
    pillow_heif.register_heif_opener()


def _is_lossless(path: Path) -> bool:
    """Whether a WebP file holds its pixels without loss."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            if head[:4] in (b"VP8 ", b"VP8L"):
                return head[:4] == b"VP8L"
            (size,) = struct.unpack("<I", head[4:])
            file.seek(size + size % 2, io.SEEK_CUR)
    return False


def _is_png16(image: ImageFile.ImageFile) -> bool:
    """Whether the file has 16 bits a channel, which Pillow would cut to 8 for color."""
    return image.format == "PNG" and any(tile.args in ("I;16B", "RGB;16B", "LA;16B", "RGBA;16B") for tile in image.tile)


def _flat(image: Image.Image, tiff: Directory | None) -> tuple[Photo, int]:
    """A photograph as it lies in the file, and the orientation that turns it upright."""
    frames = getattr(image, "n_frames", 1)
    compression = image.info.get("compression")
    image.load()  # PNG may have its EXIF after the pixels; a TIFF is turned upright by this
    metadata, remarks = image_metadata(image, tiff)
    if frames > 1:
        remarks.append(f"it has {frames} pages or frames; the first one was used")
    orientation = _orientation(image)
    if image.mode == "1":
        remarks.append("it is black and white without grays, on which no color shows (--gamut clip tints it)")
    if image.mode == "CMYK":
        image, remark = _from_cmyk(image, metadata.get("icc_profile", b""))
        remarks += remark
    pixels, alpha = to_pixels(image)
    pixels, metadata, more = _to_rgb_profile(pixels, metadata)
    if compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"):
        metadata["tiff_compression"] = compression
    return Photo(pixels, alpha, metadata, (*remarks, *more)), orientation


def _turned(photo: Photo, orientation: int) -> Photo:
    alpha = None if photo.alpha is None else upright(photo.alpha, orientation)
    return replace(photo, pixels=upright(photo.pixels, orientation), alpha=alpha)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(tags.ORIENTATION, 1)
    except Exception:  # a damaged block, for which image_metadata adds a remark
        return 1


def _from_cmyk(image: Image.Image, profile: bytes) -> tuple[Image.Image, list[str]]:
    """sRGB by the CMYK profile, and a remark if that is damaged; the image as it is without such a profile."""
    if profile[16:20] == b"CMYK":
        try:
            return _to_srgb(image, io.BytesIO(profile)), []
        except ImageCms.PyCMSError:
            return image, ["its CMYK profile is damaged; converted without it"]
    return image, []


def _to_srgb(image: Image.Image, profile: io.BytesIO | ImageCms.core.CmsProfile) -> Image.Image:
    result = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert result is not None  # it is None only for conversions in place
    return result


def _read_png16(path: Path, image: ImageFile.ImageFile) -> tuple[Photo, int]:
    import cv2

    gray = image.mode in ("L", "LA", "I;16")
    metadata, remarks = image_metadata(image, None)
    orientation = _orientation(image)
    image.close()
    data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None or data.dtype != np.uint16:
        raise UserError(f"{path}: truncated or damaged, or a kind of 16-bit file that cannot be read.")
    alpha = data[..., 3] if data.ndim == 3 and data.shape[2] == 4 else None
    if data.ndim == 3:
        data = data[..., 0] if gray else data[..., 2::-1]
    pixels, metadata, more = _to_rgb_profile(data, metadata)
    return Photo(pixels, alpha, metadata, (*remarks, *more)), orientation


def _read_tiff16(path: Path, tiff: Directory) -> Photo:
    metadata, profile = tiff_metadata(tiff), tiff.tags.get(tags.ICC_PROFILE)
    if tiff.integer(tiff16.COMPRESSION, 1) == 1:
        metadata["tiff_compression"] = "raw"
    pixels, alpha, remarks = tiff16.read_samples(path, tiff)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        image = Image.fromarray((pixels >> 8).astype(np.uint8), "CMYK")
        image, remark = _from_cmyk(image, profile.data if profile else b"")
        pixels = _rgb(image)
        alpha = None if alpha is None else (alpha >> 8).astype(np.uint8)
        remarks += ["its 16-bit CMYK was read as 8-bit", *remark]
    if tiff.next:
        remarks.append("it has several pages; the first one was used")
    pixels, metadata, more = _to_rgb_profile(pixels, metadata)
    alpha = None if alpha is None else np.ascontiguousarray(alpha)
    return Photo(np.ascontiguousarray(pixels), alpha, metadata, (*remarks, *more))


def _to_rgb_profile(pixels: np.ndarray, metadata: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any], list[str]]:
    """Keep the profile if it is one for RGB, apply it if it is one for gray (the result is sRGB), else drop it."""
    profile = metadata.get("icc_profile", b"")
    if not profile:
        return pixels, metadata, []
    if profile[16:20] == b"RGB ":
        try:
            space_of(profile)
        except ValueError:
            return pixels, metadata, ["its ICC profile is damaged, or leads one way only: its colors are those of sRGB"]
        return pixels, metadata, []
    metadata = {name: value for name, value in metadata.items() if name != "icc_profile"}
    if profile[16:20] == b"CMYK":
        return pixels, {**metadata, "icc_profile": SRGB}, []
    if profile[16:20] != b"GRAY" or pixels.ndim == 3:
        return pixels, metadata, ["its ICC profile does not fit its pixels and was dropped"]
    top = np.iinfo(pixels.dtype).max
    try:
        curve = np.round(gray_curve(profile, top + 1) * top).astype(pixels.dtype)
    except ValueError:
        return pixels, metadata, ["its ICC profile is damaged and was dropped"]
    return curve[pixels], {**metadata, "icc_profile": SRGB}, []
