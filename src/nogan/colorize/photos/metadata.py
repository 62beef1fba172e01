"""The metadata of a photograph: ICC profile, EXIF, XMP, Photoshop's block with IPTC, resolution, comments."""

import re
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

from nogan.colorize.photos import tags
from nogan.colorize.photos.tags import Directory

DESCRIPTIVE_TAGS = frozenset(
    {
        *(269, 270, 271, 272, 285, 305, 306, 315, 316, 33432),  # names, descriptions, dates, author, copyright
        *(18246, 18249, 40091, 40092, 40093, 40094, 40095),  # Windows' ratings, titles, comments, keywords
    }
)
"""Tags of a TIFF's first directory that describe the photograph; the others describe the file."""

PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
IPTC_RESOURCE = 1028
_THUMBNAIL_RESOURCES = (1033, 1036)
_RAW_PROFILE = "Raw profile type exif"  # how PNG stored EXIF before it had a chunk for it


def image_metadata(image: Image.Image, tiff: Directory | None) -> tuple[dict[str, Any], list[str]]:
    """The metadata of a Pillow image, as in :class:`~nogan.colorize.photos.Photo`, and remarks.

    Args:
        image: the image.
        tiff: the directory of the TIFF that it was read from; None where there is none, or it is gone.
    """
    if tiff is not None:
        return tiff_metadata(tiff), []
    info = image.info
    metadata = {name: info[name] for name in ("icc_profile", "comment") if info.get(name)}
    if info.get("xmp"):
        metadata["xmp"] = upright_xmp(info["xmp"] if isinstance(info["xmp"], bytes) else info["xmp"].encode())
    text = getattr(image, "text", None) or {}
    if text := {key: value for key, value in text.items() if key not in ("XML:com.adobe.xmp", _RAW_PROFILE)}:
        metadata["text"] = text
    blocks = [data for name, data in getattr(image, "applist", []) if name == "APP13"]
    # A block of more than 64 kB continues in the next segment.
    photoshop = b"".join(data.removeprefix(PHOTOSHOP_PREFIX) for data in blocks if data.startswith(PHOTOSHOP_PREFIX))
    if photoshop := without_thumbnail(photoshop):
        metadata["photoshop"] = photoshop
    remarks, directory = [], Directory("<")
    try:
        if exif := _exif(image):
            metadata["exif"] = tags.clean_exif(exif)
            directory = tags.decode_exif(exif)
    except Exception:  # for damaged blocks Pillow and the hex digits of PNG raise nearly any error
        metadata.pop("exif", None)
        remarks.append("its EXIF data is damaged and was dropped")
    # Where a JPEG's header has no unit, Pillow takes 72 or a ratio of sides from EXIF.
    dpi = (
        _dpi(directory) if image.format in ("JPEG", "MPO") and info.get("jfif_unit") not in (1, 2) else info.get("dpi")
    )
    if dpi and all(0 < float(value) < 1e5 for value in dpi):
        metadata["dpi"] = tuple(float(value) for value in dpi)
    return metadata, remarks


def tiff_metadata(tiff: Directory) -> dict[str, Any]:
    """The metadata in the first directory of a TIFF."""
    metadata: dict[str, Any] = {}
    for name, code in (("icc_profile", tags.ICC_PROFILE), ("xmp", tags.XMP), ("photoshop", tags.PHOTOSHOP)):
        if code in tiff.tags and tiff.tags[code].data:
            metadata[name] = tiff.tags[code].data
    if "xmp" in metadata:
        metadata["xmp"] = upright_xmp(metadata["xmp"])
    photoshop = without_thumbnail(metadata.pop("photoshop", b""))
    if tags.IPTC in tiff.tags and all(code != IPTC_RESOURCE for code, _, _ in resources(photoshop)):
        iptc = tiff.tags[tags.IPTC].data
        photoshop += b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    if photoshop:
        metadata["photoshop"] = photoshop
    if dpi := _dpi(tiff):
        metadata["dpi"] = dpi
    described = tiff.only(DESCRIPTIVE_TAGS)
    if described.tags or described.children:
        metadata["exif"] = tags.encode_exif(described)
    return metadata


def resources(photoshop: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each resource of a Photoshop block: its number, its data, and all of its bytes."""
    position = 0
    while position + 12 <= len(photoshop):
        code, name = struct.unpack_from(">HB", photoshop, position + 4)
        start = position + 6 + (name + 2) // 2 * 2
        if start + 4 > len(photoshop):
            return
        (size,) = struct.unpack_from(">I", photoshop, start)
        end = start + 4 + size + size % 2
        yield code, photoshop[start + 4 : start + 4 + size], photoshop[position:end]
        position = end


def without_thumbnail(photoshop: bytes) -> bytes:
    """A Photoshop block without its thumbnail, which shows the photograph without colors."""
    found = list(resources(photoshop))
    if all(code not in _THUMBNAIL_RESOURCES for code, _, _ in found):
        return photoshop
    return b"".join(whole for code, _, whole in found if code not in _THUMBNAIL_RESOURCES)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP with the orientation of upright pixels, because some programs turn pictures by it."""
    return re.sub(rb'(tiff:Orientation(?:\s*=\s*["\']|>))[2-8]', rb"\g<1>1", xmp)


def _exif(image: Image.Image) -> bytes:
    info = image.info
    if "exif" in info:
        return info["exif"]
    if _RAW_PROFILE in info:
        return bytes.fromhex("".join(info[_RAW_PROFILE].split("\n")[3:]))
    exif = image.getexif()
    if not len(exif):
        return b""
    if image.format == "TIFF":
        return tags.encode_exif(tags.decode_exif(exif.tobytes()).only(DESCRIPTIVE_TAGS))
    return exif.tobytes()


def _dpi(directory: Directory) -> tuple[float, float] | None:
    """Dots per inch, horizontally and vertically; None where the unit is not one of length."""
    inches = {2: 1.0, 3: 2.54}.get(directory.integer(296, 2))
    x, y = (directory.fractions(code) for code in (282, 283))
    return (x[0] * inches, y[0] * inches) if inches and x and y and 0 < x[0] < 1e5 and 0 < y[0] < 1e5 else None
