"""Photographs as files: pixels upright and ready to colour, and everything else about them kept.

8-bit files are read and written by Pillow. 16-bit colour, which Pillow has no mode for, is read by OpenCV and written
by OpenCV (PNG) or tifffile (TIFF). What a photograph carries beside its pixels (EXIF, ICC profile, XMP, IPTC,
resolution, comments) goes with it where the output format has a place for it; only the orientation tag goes, because
the pixels come out upright.
"""

from nogan.photos.photo import Photo
from nogan.photos.reading import MAX_MEGAPIXELS, read_photo, to_pixels, upright
from nogan.photos.writing import PHOTO_SUFFIXES, check_writable, write_photo

__all__ = [
    "MAX_MEGAPIXELS",
    "PHOTO_SUFFIXES",
    "Photo",
    "check_writable",
    "read_photo",
    "to_pixels",
    "upright",
    "write_photo",
]
