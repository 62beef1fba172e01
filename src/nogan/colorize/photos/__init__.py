"""Photographs as files: their pixels upright, and everything else about them kept.

8-bit files are read and written by Pillow. 16-bit color, for which Pillow has no mode, is read and written by OpenCV
(PNG) or tifffile (TIFF); camera raw and OpenEXR are read by packages of their own. EXIF, ICC profile, XMP, IPTC,
resolution and comments are copied to the byte, where the output format has a place for them. Only the orientation
becomes 1, because the pixels come out upright, and the thumbnail is removed, because it shows the photograph without
colors.
"""

from nogan.colorize.photos.color_space import ColorSpace
from nogan.colorize.photos.own_colors import has_colors
from nogan.colorize.photos.photo import Photo, upright
from nogan.colorize.photos.reading import MAX_MEGAPIXELS, from_image, read_photo, to_pixels
from nogan.colorize.photos.writing import PHOTO_SUFFIXES, check_writable, write_photo

__all__ = [
    "MAX_MEGAPIXELS",
    "PHOTO_SUFFIXES",
    "ColorSpace",
    "Photo",
    "check_writable",
    "from_image",
    "has_colors",
    "read_photo",
    "to_pixels",
    "upright",
    "write_photo",
]
