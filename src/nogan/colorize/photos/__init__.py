"""Photographs as files: pixels upright and ready to color, and everything else about them kept.

8-bit files are read and written by Pillow. 16-bit color, which Pillow has no mode for, is read by OpenCV or tifffile
and written by OpenCV (PNG) or tifffile (TIFF). What a photograph carries beside its pixels (EXIF, ICC profile, XMP,
IPTC, resolution, comments) goes with it, to the byte, where the output format has a place for it; only the orientation
becomes 1, because the pixels come out upright, and the thumbnail goes, because it shows the photograph as it was.
"""

from nogan.colorize.photos.photo import Photo, upright
from nogan.colorize.photos.reading import MAX_MEGAPIXELS, from_image, read_photo, to_pixels
from nogan.colorize.photos.writing import PHOTO_SUFFIXES, check_writable, write_photo

__all__ = [
    "MAX_MEGAPIXELS",
    "PHOTO_SUFFIXES",
    "Photo",
    "check_writable",
    "from_image",
    "read_photo",
    "to_pixels",
    "upright",
    "write_photo",
]
