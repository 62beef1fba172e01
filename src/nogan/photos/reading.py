"""Reading photographs: any mode to upright gray or RGB pixels, 8 or 16 bits, and what goes along with them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

from nogan.errors import UserError
from nogan.photos.photo import Photo

MAX_MEGAPIXELS = 500
"""A photograph with more pixels is refused: a 20,000 px square scan passes, a decompression bomb does not."""

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_ORIENTATION = ExifTags.Base.Orientation
_DESCRIPTIVE_TAGS = frozenset(
    {
        *(269, 270, 271, 272, 285, 305, 306, 315, 316, 33432),  # names, descriptions, dates, author, copyright
        *(700, 33723, 34377),  # XMP, IPTC, Photoshop
        *(34665, 34853),  # the EXIF and GPS directories
    }
)


def read_photo(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Read any photograph that Pillow knows, and 16-bit colour too.

    Palettes, CMYK and gray with a profile of its own become RGB or gray in sRGB; an RGB profile stays with its pixels.

    Raises:
        UserError: in one line, for a file that is missing, empty, truncated, damaged, no image, or too large.
    """
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes).")
        with _any_size(), Image.open(path) as image:
            _check_size(path, image.size, max_megapixels)
            return _read_deep(path, image) if _is_deep(image) else _read_8bit(image)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: no image that can be read (whatever its name says).") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from error
    except MemoryError as error:
        raise UserError(f"{path}: not enough memory to read it.") from error
    except Exception as error:
        # On damaged files the decoders raise nearly everything: struct.error, KeyError, zlib.error.
        raise UserError(
            f"{path}: truncated or damaged: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def to_pixels(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """A Pillow image of any mode as ``(H, W)`` gray or ``(H, W, 3)`` RGB, and its alpha ``(H, W)`` or None.

    uint8, but uint16 for the 16-bit gray modes.
    """
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16), None
    if image.mode in ("I", "F"):
        raise UserError(
            f"An image of mode {image.mode!r} (32 bits a pixel) has no fixed white: convert it to 16 bits first."
        )
    alpha = None
    if image.has_transparency_data:
        gray = image.mode in ("L", "LA", "La")
        image = image.convert("LA" if gray else "RGBA")
        alpha = np.array(image.getchannel("A"))
    if image.mode in ("L", "LA", "1"):
        return np.array(image.getchannel("L") if image.mode == "LA" else image.convert("L")), alpha
    if image.mode == "LAB":
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    return np.array(image if image.mode == "RGB" else image.convert("RGB")), alpha


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels ``(H, W, ...)`` by an EXIF orientation (1 to 8; others are taken as 1)."""
    turned = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }.get(orientation, lambda a: a)(array)
    return np.ascontiguousarray(turned)


@contextmanager
def _any_size() -> Iterator[None]:
    """Lift Pillow's own limit, which a large scan exceeds, while ours is checked."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: Path, size: tuple[int, int], max_megapixels: float) -> None:
    width, height = size
    if width * height > max_megapixels * 1e6:
        raise UserError(
            f"{path}: {width} x {height} px, {width * height / 1e6:,.0f} megapixels, may be a decompression bomb; "
            f"--max-megapixels (now {max_megapixels:g}) allows more."
        )


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file has 16 bits a channel, which Pillow would cut to 8 for colour."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,))) == 16 and image.tag_v2.get(339, (1,))[0] == 1
    return image.format == "PNG" and any(tile.args in ("I;16B", "RGB;16B", "LA;16B", "RGBA;16B") for tile in image.tile)


def _read_8bit(image: ImageFile.ImageFile) -> Photo:
    frames = getattr(image, "n_frames", 1)
    compression = image.info.get("compression")
    image.load()
    metadata = _metadata(image)
    orientation = image.getexif().get(_ORIENTATION, 1)
    profile = metadata.get("icc_profile", b"")
    remarks = [f"it has {frames} pages or frames; the first one was used"] if frames > 1 else []
    try:
        if image.mode == "CMYK" and profile[16:20] == b"CMYK":
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError:
        remarks.append("its CMYK profile is damaged; converted without it")
    pixels, alpha = to_pixels(image)
    pixels, metadata, more = _to_rgb_profile(pixels, metadata)
    if compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"):
        metadata["tiff_compression"] = compression
    alpha = None if alpha is None else upright(alpha, orientation)
    return Photo(upright(pixels, orientation), alpha, metadata, (*remarks, *more))


def _read_deep(path: Path, image: ImageFile.ImageFile) -> Photo:
    import cv2

    metadata = _metadata(image)
    if image.format == "TIFF" and image.info.get("compression") == "raw":
        metadata["tiff_compression"] = "raw"
    # OpenCV turns a TIFF upright by itself (and only in imdecode: its imread fails on a turned one).
    orientation = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)
    frames = getattr(image, "n_frames", 1)
    remarks = [f"it has {frames} pages; the first one was used"] if frames > 1 else []
    data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None or data.dtype != np.uint16:
        raise UserError(f"{path}: truncated or damaged, or a kind of 16-bit file that cannot be read.")
    alpha = None
    if data.ndim == 3:
        if data.shape[2] == 4:
            alpha = upright(data[..., 3], orientation)
        data = data[..., 2::-1]
        if image.mode in ("L", "LA", "I;16"):
            data = data[..., 0]
    if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # white is zero
        data = 65535 - data
    pixels, metadata, more = _to_rgb_profile(data, metadata)
    return Photo(upright(pixels, orientation), alpha, metadata, (*remarks, *more))


def _to_rgb_profile(pixels: np.ndarray, metadata: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any], list[str]]:
    """Leave only a profile that fits RGB pixels: a gray one is applied (the result is sRGB), any other is dropped."""
    profile = metadata.get("icc_profile", b"")
    if not profile or profile[16:20] == b"RGB ":
        return pixels, metadata, []
    metadata = {name: value for name, value in metadata.items() if name != "icc_profile"}
    if profile[16:20] == b"CMYK":
        return pixels, {**metadata, "icc_profile": _SRGB}, []
    if profile[16:20] != b"GRAY" or pixels.ndim == 3:
        return pixels, metadata, ["its ICC profile does not fit its pixels and was dropped"]
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    try:
        srgb = ImageCms.createProfile("sRGB")
        curve = np.array(ImageCms.profileToProfile(ramp, io.BytesIO(profile), srgb, outputMode="RGB"))[0, :, 1]
    except ImageCms.PyCMSError:
        return pixels, metadata, ["its ICC profile is damaged and was dropped"]
    if pixels.dtype == np.uint16:
        # A table of all 16-bit values, through the 8-bit curve that the colour engine gives.
        curve = np.interp(np.arange(65536) / 257, np.arange(256), curve.astype(np.float64)) * 257
        curve = np.round(curve).astype(np.uint16)
    return curve[pixels], {**metadata, "icc_profile": _SRGB}, []


def _metadata(image: ImageFile.ImageFile) -> dict[str, Any]:
    """What travels along, in the form that :mod:`nogan.photos.writing` understands."""
    info = image.info
    metadata = {name: info[name] for name in ("icc_profile", "xmp", "comment") if info.get(name)}
    if isinstance(metadata.get("xmp"), str):
        metadata["xmp"] = metadata["xmp"].encode()
    if info.get("dpi") and all(0 < float(value) < 1e5 for value in info["dpi"]):
        metadata["dpi"] = tuple(float(value) for value in info["dpi"])
    if getattr(image, "text", None):
        metadata["text"] = {key: value for key, value in image.text.items() if key != "XML:com.adobe.xmp"}
    blocks = [block for name, block in getattr(image, "applist", []) if name == "APP13"]
    if blocks:
        metadata["photoshop"] = blocks
    exif = image.getexif()
    if _ORIENTATION in exif or image.format == "TIFF" or "exif" not in info:
        kept = Image.Exif()
        for tag in set(exif) & _DESCRIPTIVE_TAGS if image.format == "TIFF" else set(exif) - {_ORIENTATION}:
            kept[tag] = exif.get_ifd(tag) if tag in (34665, 34853) else exif[tag]
        if len(kept):
            metadata["exif"] = kept.tobytes()
    else:
        metadata["exif"] = info["exif"]  # to the byte: maker notes do not survive being written anew
    return metadata
