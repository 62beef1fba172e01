"""Kinds of photographs that Pillow does not read, each by a package of its own: camera raw and OpenEXR."""

from pathlib import Path
from typing import Any

import numpy as np

from nogan.colorize.photos import tags
from nogan.colorize.photos.metadata import tiff_metadata
from nogan.colorize.photos.photo import Photo
from nogan.common.errors import UserError

RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".iiq", ".3fr"}
)
EXR_SUFFIXES = frozenset({".exr"})

_SRGB_CURVE = (2.4, 12.92)  # the exponent and the slope of its straight part, as LibRaw takes them


def read_raw(path: Path) -> Photo:
    """Develop a camera's raw file with its own white balance: 16 bits in sRGB, upright.

    Raises:
        UserError: rawpy is not installed, or the file cannot be read.
    """
    try:
        import rawpy
    except ImportError as error:
        raise UserError(f"{path}: a camera's raw file needs rawpy: pip install rawpy.") from error
    try:
        with rawpy.imread(str(path)) as raw:
            pixels = raw.postprocess(use_camera_wb=True, output_bps=16, gamma=_SRGB_CURVE)
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise UserError(f"{path}: not a raw file that can be developed: {reason}.") from error
    metadata: dict[str, Any] = {}
    with path.open("rb") as file:
        if file.read(4) in tags.TIFF_SIGNATURES:
            found = tiff_metadata(tags.read_directory(file))
            metadata = {name: found[name] for name in ("exif", "xmp") if name in found}
    return Photo(
        np.ascontiguousarray(pixels), metadata=metadata, remarks=("developed with its camera's white balance",)
    )


def read_exr(path: Path) -> Photo:
    """Read an OpenEXR picture of linear light: 16 bits in sRGB, with white at 1.

    Raises:
        UserError: OpenEXR is not installed, or the file has no channels of gray or color.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise UserError(f"{path}: an OpenEXR picture needs a package: pip install openexr.") from error
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    names = next((names for names in ("RGB", "Y") if set(names) <= set(channels)), None)
    if names is None:
        raise UserError(f"{path}: has the channels {', '.join(channels)}; expected R, G, B or Y.")
    light = np.stack([channels[name].astype(np.float32) for name in names], axis=-1)
    light = np.nan_to_num(light, nan=0, posinf=1, neginf=0)
    remarks = ["its linear light became 16 bits of sRGB"]
    if light.max() > 1:
        remarks.append(f"{np.mean(light.max(axis=-1) > 1):.1%} of it is brighter than white (1) and was cut off")
    light = light.clip(0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    pixels = _to_uint16(curved[..., 0] if names == "Y" else curved)
    return Photo(pixels, _to_uint16(channels["A"]) if "A" in channels else None, remarks=tuple(remarks))


def _to_uint16(values: np.ndarray) -> np.ndarray:
    return np.round(values.astype(np.float32).clip(0, 1) * 65535).astype(np.uint16)
