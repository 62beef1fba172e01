"""Writing photographs in the format of the suffix, with all metadata that this format has a place for."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from nogan.colorize.photos import tags
from nogan.colorize.photos.metadata import DESCRIPTIVE_TAGS, IPTC_RESOURCE, PHOTOSHOP_PREFIX, resources
from nogan.colorize.photos.photo import Photo
from nogan.colorize.pixels import to_uint8
from nogan.common.errors import UserError
from nogan.common.files import write_atomically

_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
}
PHOTO_SUFFIXES = frozenset(_FORMATS)
"""Suffixes of photographs that can be written."""

_WITH_ALPHA = ("PNG", "TIFF", "WEBP")
_WITH_16_BITS = ("PNG", "TIFF")
_SEGMENT = 65533
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_BYTES = 1  # TIFF's type


def write_photo(photo: Photo, path: Path, *, quality: int = 95) -> tuple[str, ...]:
    """Write a photograph, whole or not at all, in the format of the suffix.

    Args:
        photo: 16 bits are kept in PNG and TIFF, and become 8 in other formats; alpha is kept in PNG, TIFF and WebP,
            and dropped in other formats.
        path: with one of :data:`PHOTO_SUFFIXES`.
        quality: of JPEG and WebP, 1 to 100; a photograph from a lossless WebP stays lossless in one.

    Returns:
        Remarks on what does not fit in the format and was left out.

    Raises:
        UserError: in one line: the suffix is unknown, or the file cannot be written.
    """
    form = check_writable(path)
    remarks = _lost(photo, form)
    if form == "JPEG":
        photo, more = _fitted(photo)
        remarks += more
    _save(path, lambda temporary: _write(photo, temporary, form, quality))
    return remarks


def _write(photo: Photo, path: Path, form: str, quality: int) -> None:
    pixels, alpha = photo.pixels, photo.alpha if form in _WITH_ALPHA else None
    if pixels.dtype == np.uint16 and form in _WITH_16_BITS:
        (_write_png16 if form == "PNG" else _write_tiff16)(path, photo)
    else:
        if pixels.dtype == np.uint16:
            pixels, alpha = to_uint8(pixels), None if alpha is None else to_uint8(alpha)
        image = Image.fromarray(pixels)
        if alpha is not None:
            image = image.convert("RGB")
            image.putalpha(Image.fromarray(alpha))
        image.save(path, format=form, **_options(photo, form, quality))
    if form == "TIFF":
        _add_tiff_tags(path, photo.metadata)


def check_writable(path: Path) -> str:
    """Pillow's name of the format of ``path``, by its suffix.

    Raises:
        UserError: photographs cannot be written in a format of this suffix.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise UserError(
            f"{path}: cannot write a photograph as {path.suffix or 'a file without suffix'!r}; "
            f"expected one of {', '.join(sorted(PHOTO_SUFFIXES))}."
        )
    return form


def _options(photo: Photo, form: str, quality: int) -> dict[str, Any]:
    """Arguments for ``Image.save``."""
    metadata = photo.metadata
    places = {"BMP": (), "TIFF": ("icc_profile", "dpi")}.get(form, ("icc_profile", "exif", "dpi"))
    options = {name: metadata[name] for name in places if name in metadata}
    if form in ("JPEG", "WEBP"):
        options |= {"quality": quality}
        if "xmp" in metadata:
            options["xmp"] = metadata["xmp"]
    if form == "WEBP" and metadata.get("lossless"):
        options |= {"lossless": True, "exact": True, "quality": 75}  # which is here the effort
    if form == "JPEG":
        # Chroma comes from a square of a few hundred pixels, so that large photographs lose nothing by halving it.
        options["subsampling"] = "4:2:0" if min(photo.pixels.shape[:2]) > 1500 else "4:4:4"
        if "comment" in metadata:
            options["comment"] = metadata["comment"]
        if "photoshop" in metadata:
            options["extra"] = _photoshop_segments(metadata["photoshop"])
    if form == "PNG":
        chunks = PngImagePlugin.PngInfo()
        for key, value in metadata.get("text", {}).items():
            chunks.add_text(key, value) if value.isascii() else chunks.add_itxt(key, value)
        if "xmp" in metadata:
            chunks.add_itxt("XML:com.adobe.xmp", metadata["xmp"].decode("utf-8", "replace"))
        options |= {"pnginfo": chunks, "compress_level": 3}
    if form == "TIFF":
        options["compression"] = metadata.get("tiff_compression", "tiff_adobe_deflate")
    return options


def _lost(photo: Photo, form: str) -> tuple[str, ...]:
    remarks = []
    if photo.alpha is not None and form not in _WITH_ALPHA and photo.alpha.min() < np.iinfo(photo.alpha.dtype).max:
        remarks.append("its transparency was left out (.png, .tif and .webp keep it)")
    if photo.pixels.dtype == np.uint16 and form not in _WITH_16_BITS:
        remarks.append("its 16 bits a channel became 8 (.png and .tif keep 16)")
    return tuple(remarks)


def _fitted(photo: Photo) -> tuple[Photo, tuple[str, ...]]:
    """A photograph with no more metadata than JPEG's segments hold, and remarks on what was left out."""
    metadata, remarks = dict(photo.metadata), []
    exif = metadata.get("exif", b"")
    if len(exif) > _SEGMENT:
        directory = tags.decode_exif(exif)
        while len(exif) > _SEGMENT:
            _, tags_of_it, code = max(_sizes(directory), key=lambda entry: entry[0])
            del tags_of_it[code]
            exif = tags.encode_exif(directory)
        metadata["exif"] = exif
        remarks.append("its EXIF data is over the 64 kB of JPEG; the largest tags were left out")
    for name, room in (("xmp", _SEGMENT - len(_XMP_PREFIX)), ("comment", _SEGMENT)):
        if len(metadata.get(name, b"")) > room:
            del metadata[name]
            remarks.append(f"its {name} is over the 64 kB of JPEG and was left out")
    return replace(photo, metadata=metadata), tuple(remarks)


def _sizes(directory: tags.Directory) -> Iterator[tuple[int, dict[int, tags.Tag], int]]:
    """Each tag in this directory and below: the length of its values, the dictionary that holds it, and its number."""
    for code, tag in directory.tags.items():
        yield len(tag.data), directory.tags, code
    for child in directory.children.values():
        yield from _sizes(child)


def _photoshop_segments(photoshop: bytes) -> bytes:
    """Photoshop's block, divided into JPEG segments."""
    room = _SEGMENT - len(PHOTOSHOP_PREFIX)
    segments = [PHOTOSHOP_PREFIX + photoshop[start : start + room] for start in range(0, len(photoshop), room)]
    return b"".join(b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment for segment in segments)


def _write_png16(path: Path, photo: Photo) -> None:
    """Write pixels by OpenCV, and insert the chunks of metadata, made by Pillow, after the header."""
    import cv2

    ok, encoded = cv2.imencode(".png", _bgr(photo), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise OSError("the PNG encoder failed")
    blank = io.BytesIO()
    Image.new("RGB", (1, 1)).save(blank, "PNG", **_options(photo, "PNG", 0))
    data = encoded.tobytes()
    header = 8 + 25  # signature and IHDR
    chunks = [chunk for kind, chunk in _png_chunks(blank.getvalue()) if kind not in (b"IHDR", b"IDAT", b"IEND")]
    path.write_bytes(data[:header] + b"".join(chunks) + data[header:])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(data):
        end = position + 12 + struct.unpack_from(">I", data, position)[0]
        yield data[position + 4 : position + 8], data[position:end]
        position = end


def _bgr(photo: Photo) -> np.ndarray:
    planes = photo.pixels[..., ::-1] if photo.pixels.ndim == 3 else photo.pixels[..., None].repeat(3, axis=-1)
    return planes if photo.alpha is None else np.dstack([planes, photo.alpha])


def _write_tiff16(path: Path, photo: Photo) -> None:
    import tifffile

    metadata = photo.metadata
    pixels = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    dpi = {"resolution": metadata["dpi"], "resolutionunit": "INCH"} if "dpi" in metadata else {}
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression=None if metadata.get("tiff_compression") == "raw" else "zlib",
        iccprofile=metadata.get("icc_profile"),
        software=False,
        metadata=None,
        bigtiff=pixels.nbytes > 3.9e9,
        rowsperstrip=max(1, (1 << 20) // (pixels.nbytes // len(pixels))),
        **dpi,
    )


def _add_tiff_tags(path: Path, metadata: dict[str, Any]) -> None:
    """Add EXIF, GPS, XMP, IPTC and Photoshop's block to the byte; Pillow and tifffile would encode the text again."""
    exif = metadata.get("exif")
    described = tags.decode_exif(exif).only(DESCRIPTIVE_TAGS) if exif else tags.Directory("<")
    photoshop = metadata.get("photoshop", b"")
    iptc = b"".join(data for code, data, _ in resources(photoshop) if code == IPTC_RESOURCE)
    for code, data in ((tags.XMP, metadata.get("xmp")), (tags.PHOTOSHOP, photoshop), (tags.IPTC, iptc)):
        if data:
            described.tags[code] = tags.Tag(_BYTES, len(data), data)
    if described.tags or described.children:
        tags.add_tags(path, described)


def _save(path: Path, write: Callable[[Path], None]) -> None:
    try:
        write_atomically(path, write)
    except (OSError, ValueError, OverflowError, SystemError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path}: cannot be written: {reason}.") from error
