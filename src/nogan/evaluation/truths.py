"""The photographs that colorizers are measured on, brought to the size that the protocol says."""

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from nogan.colorize.photos import Photo, from_image, read_photo
from nogan.colorize.pixels import to_uint8
from nogan.common.errors import UserError
from nogan.common.image_files import open_image, printable
from nogan.data.images import BadImage
from nogan.data.sources.base import FileSource, fingerprint
from nogan.evaluation.protocols import Protocol


@dataclass(frozen=True)
class Truth:
    """A photograph with its colors.

    Attributes:
        name: its path below ``--data``, without its suffix.
        pixels: RGB ``(H, W, 3)`` uint8, brought to the protocol's size.
        full_size: height and width of the file itself.
    """

    name: str
    pixels: np.ndarray
    full_size: tuple[int, int]


class Truths:
    """The photographs of ``source`` that a protocol means, in its order.

    Raises:
        UserError: two have one name.
    """

    def __init__(self, source: FileSource, protocol: Protocol, label: str) -> None:
        self.protocol, self.label, self._source = protocol, label, source
        files = [source.name(index) for index in range(len(source))]
        key = PurePosixPath if protocol.order == "path" else (lambda name: (PurePosixPath(name).name, name))
        order = sorted(range(len(files)), key=lambda index: key(files[index]))
        self.fingerprint = fingerprint(source)
        self._indices = order[: protocol.images]
        self.files = [files[index] for index in self._indices]
        self.names = [name_of(file) for file in self.files]
        taken: dict[str, str] = {}
        for name, file in zip(self.names, self.files, strict=True):
            if name in taken:
                raise UserError(f"--data {label}: {taken[name]} and {file} have one name; rename or remove one of them")
            taken[name] = file

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, number: int) -> Truth:
        """Photograph ``number`` in the protocol's order.

        Raises:
            UserError: it cannot be read.
        """
        pixels = to_rgb(self._read(number).pixels)
        return Truth(self.names[number], fitted(pixels, self.protocol), pixels.shape[:2])

    def _read(self, number: int) -> Photo:
        where = f"--data {self.label}: {printable(self.files[number])}"
        root = getattr(self._source, "path", None)
        try:
            if root is not None and (path := Path(root) / self.files[number]).is_file():
                return read_photo(path)
            with open_image(io.BytesIO(self._source.read(self._indices[number]))) as image:
                return from_image(image)
        except (UserError, BadImage, OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{where}: cannot be read ({error}); remove it, or mend it") from error


def name_of(file: str) -> str:
    """A file's path without its suffix, by which the pictures of other programs are matched."""
    return PurePosixPath(file).with_suffix("").as_posix()


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Pixels of any type, gray or RGB, as RGB ``(H, W, 3)`` uint8."""
    pixels = to_uint8(pixels)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def fitted(pixels: np.ndarray, protocol: Protocol) -> np.ndarray:
    """RGB ``(H, W, 3)`` uint8, brought to the protocol's size by Pillow's bilinear filter."""
    if protocol.size is None:
        return pixels
    if protocol.fit == "crop":
        height, width = pixels.shape[:2]
        side = min(height, width)
        top, left = round((height - side) / 2), round((width - side) / 2)
        pixels = pixels[top : top + side, left : left + side]
    if pixels.shape[:2] == (protocol.size, protocol.size):
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((protocol.size, protocol.size), Image.Resampling.BILINEAR))
