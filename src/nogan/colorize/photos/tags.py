"""The tags of TIFF and EXIF, as bytes: texts are never decoded, so that no wrong encoding can damage them."""

import io
import struct
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

ORIENTATION, ICC_PROFILE, XMP, IPTC, PHOTOSHOP = 274, 34675, 700, 33723, 34377
EXIF, GPS, INTEROP = 34665, 34853, 40965
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
EXIF_PREFIX = b"Exif\0\0"

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WORDS = _SIZES | {5: 4, 10: 4}  # bytes that the byte order applies to: a fraction is two numbers
_FRACTION = 5
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


@dataclass(frozen=True)
class Tag:
    """The values of a tag as they are stored: their TIFF type, their number, and their bytes."""

    type: int
    count: int
    data: bytes


@dataclass
class Directory:
    """One directory of tags (IFD), with the directories of EXIF, GPS and interoperability that it points to.

    Attributes:
        order: "<" or ">", the byte order of the values.
        tags: by number.
        children: directories, by the number of the tag that points to them.
        big: whether it is in a BigTIFF.
        next: position of the file's next directory; 0 for none.
    """

    order: str
    tags: dict[int, Tag] = field(default_factory=dict)
    children: dict[int, "Directory"] = field(default_factory=dict)
    big: bool = False
    next: int = 0

    def integers(self, code: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The whole numbers of a tag; ``default`` where it is missing or holds something else."""
        tag = self.tags.get(code)
        if tag is None or tag.count == 0 or tag.type not in _INTEGERS:
            return default
        return struct.unpack(f"{self.order}{tag.count}{_INTEGERS[tag.type]}", tag.data)

    def integer(self, code: int, default: int) -> int:
        """The first of :meth:`integers`."""
        return self.integers(code, (default,))[0]

    def fractions(self, code: int) -> tuple[float, ...]:
        """The fractions of a tag, 0 where a denominator is 0; empty where it is missing or holds something else."""
        tag = self.tags.get(code)
        if tag is None or tag.type != _FRACTION:
            return ()
        parts = struct.unpack(f"{self.order}{2 * tag.count}I", tag.data)
        return tuple(a / b if b else 0.0 for a, b in zip(parts[::2], parts[1::2], strict=True))

    def only(self, codes: Collection[int]) -> "Directory":
        """The same directory with only these tags; the directories below it stay whole."""
        tags = {code: tag for code, tag in self.tags.items() if code in codes}
        return Directory(self.order, tags, self.children)

    def in_order(self, order: str) -> "Directory":
        """The same directory with its values in another byte order; bytes of unknown meaning stay as they are."""
        if order == self.order:
            return self
        tags = {}
        for code, tag in self.tags.items():
            word = _WORDS[tag.type]
            turned = np.frombuffer(tag.data, f"u{word}").byteswap().tobytes() if word > 1 else tag.data
            tags[code] = replace(tag, data=turned)
        children = {code: child.in_order(order) for code, child in self.children.items()}
        return replace(self, order=order, tags=tags, children=children)


def read_directory(stream: BinaryIO) -> Directory:
    """The first directory of a TIFF, a BigTIFF, or an EXIF block without its prefix.

    Raises:
        ValueError: the stream is none of these, or ends within the directory.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(16)
    if head[:4] not in TIFF_SIGNATURES or len(head) < 8:
        raise ValueError("it has no TIFF header")
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    try:
        (offset,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
        return _read(stream, size, order, big, offset, (EXIF, GPS))
    except struct.error as error:
        raise ValueError("its directory of tags is cut off") from error


def _read(stream: BinaryIO, size: int, order: str, big: bool, offset: int, pointers: Collection[int]) -> Directory:
    entry_size, entry_form, link = (20, "HHQ", "Q") if big else (12, "HHI", "I")
    stream.seek(min(offset, size))
    (count,) = struct.unpack(order + ("Q" if big else "H"), stream.read(8 if big else 2))
    if count * entry_size > size:
        raise ValueError("its directory of tags is cut off")
    table = stream.read(count * entry_size)
    if len(table) < count * entry_size:
        raise ValueError("its directory of tags is cut off")
    directory = Directory(order, big=big)
    following = stream.read(8 if big else 4)
    if len(following) == (8 if big else 4):
        (directory.next,) = struct.unpack(order + link, following)
    left = size  # bytes that values may take: they do not overlap, except in files made to fill the memory
    for position in range(0, len(table), entry_size):
        code, kind, number = struct.unpack_from(order + entry_form, table, position)
        length = _SIZES.get(kind, 0) * number
        data = table[position + struct.calcsize("=" + entry_form) : position + entry_size]
        if code in pointers:
            (where,) = struct.unpack_from(order + ("Q" if kind in (16, 18) else "I"), data)
            try:
                directory.children[code] = _read(stream, size, order, big, where, (INTEROP,))
            except (ValueError, struct.error):
                continue  # the pointer is damaged; the other tags can be used
        elif kind in _SIZES and length <= left:
            if length > len(data):
                stream.seek(min(struct.unpack(order + link, data)[0], size))
                data = stream.read(length)
                left -= length
            if len(data) >= length:
                directory.tags[code] = Tag(kind, number, data[:length])
    return directory


def encode_directory(directory: Directory, offset: int) -> bytes:
    """The bytes of a directory at the (even) ``offset`` of a file, followed by its values and directories."""
    entries: dict[int, Tag | Directory] = {**directory.tags, **directory.children}
    order, big = directory.order, directory.big
    entry_form, link, room = ("HHQ", "Q", 8) if big else ("HHI", "I", 4)
    table, values = struct.pack(order + ("Q" if big else "H"), len(entries)), bytearray()
    start = offset + len(table) + len(entries) * (struct.calcsize("=" + entry_form) + room) + room
    for code in sorted(entries):
        entry, position = entries[code], start + len(values)
        if isinstance(entry, Directory):
            values += encode_directory(replace(entry, big=big), position)
            table += struct.pack(order + entry_form + link, code, 16 if big else 4, 1, position)
            continue
        table += struct.pack(order + entry_form, code, entry.type, entry.count)
        if len(entry.data) <= room:
            table += entry.data.ljust(room, b"\0")
        else:
            table += struct.pack(order + link, position)
            values += entry.data + bytes(len(entry.data) % 2)
    return table + struct.pack(order + link, directory.next) + bytes(values)


def encode_exif(directory: Directory) -> bytes:
    """An EXIF block with its prefix, in the directory's byte order."""
    head = (b"II*\0" if directory.order == "<" else b"MM\0*") + struct.pack(directory.order + "I", 8)
    return EXIF_PREFIX + head + encode_directory(replace(directory, big=False, next=0), 8)


def decode_exif(exif: bytes) -> Directory:
    """The tags of an EXIF block, with or without its prefix.

    Raises:
        ValueError: it is not an EXIF block.
    """
    return read_directory(io.BytesIO(exif.removeprefix(EXIF_PREFIX)))


def clean_exif(exif: bytes) -> bytes:
    """An EXIF block with orientation 1 and without its thumbnail, and otherwise the same to the byte.

    It is edited in place, because maker notes hold offsets into the block.

    Raises:
        ValueError: it is not an EXIF block.
    """
    body = bytearray(exif.removeprefix(EXIF_PREFIX).removeprefix(EXIF_PREFIX))
    if bytes(body[:4]) not in TIFF_SIGNATURES[:2]:
        raise ValueError("it has no TIFF header")
    order = "<" if body[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        entries = _entries(body, order, start)
    except struct.error as error:
        raise ValueError("its directory of tags is cut off") from error
    for position, code, kind, count in entries:
        if code == ORIENTATION and kind in _INTEGERS and count == 1:
            struct.pack_into(order + _INTEGERS[kind], body, position + 8, 1)
    link = start + 2 + 12 * len(entries)
    if link + 4 <= len(body):
        (thumbnail,) = struct.unpack_from(order + "I", body, link)
        struct.pack_into(order + "I", body, link, 0)
        _erase(body, order, thumbnail, link + 4)
    return EXIF_PREFIX + bytes(body)


def _entries(body: bytearray, order: str, start: int) -> list[tuple[int, int, int, int]]:
    """Position, tag, type and count of every entry of the directory at ``start``."""
    (count,) = struct.unpack_from(order + "H", body, start)
    positions = range(start + 2, start + 2 + 12 * count, 12)
    return [(position, *struct.unpack_from(order + "HHI", body, position)) for position in positions]


def _erase(body: bytearray, order: str, start: int, floor: int) -> None:
    """Zero the directory at ``start`` and everything that it points to; remove those bytes at the end of the block."""
    if start < floor:
        return
    try:
        entries = _entries(body, order, start)
        spans, picture = [(start, 6 + 12 * len(entries))], {}
        for position, code, kind, count in entries:
            (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), body, position + 8)
            length = _SIZES.get(kind, 0) * count
            if length > 4:
                spans.append((struct.unpack_from(order + "I", body, position + 8)[0], length))
            elif count == 1:
                picture[code] = value
    except struct.error:
        return  # damaged; nothing points to it anymore
    # The thumbnail is a JPEG, or one strip of pixels.
    spans += [(picture[a], picture[b]) for a, b in ((513, 514), (273, 279)) if a in picture and b in picture]
    for begin, length in sorted(spans, reverse=True):
        end = min(begin + length, len(body))
        if floor <= begin < end:
            body[begin:end] = bytes(end - begin)
            if end >= len(body) - 1:  # there may be a byte of padding
                del body[begin:]


def add_tags(path: Path, extra: Directory) -> None:
    """Add tags and directories to a TIFF; tags that it has already are kept."""
    with path.open("r+b") as file:
        own = read_directory(file)
        extra = extra.in_order(own.order)
        whole = replace(own, tags=extra.tags | own.tags, children=extra.children | own.children)
        position = file.seek(0, io.SEEK_END)
        position += file.write(bytes(position % 2))
        file.write(encode_directory(whole, position))
        file.seek(8 if own.big else 4)
        file.write(struct.pack(own.order + ("Q" if own.big else "I"), position))
