"""EXIF, GPS, XMP, IPTC and resolution of photographs, kept to the byte."""

import struct

import numpy as np
import pytest
import tifffile
from media import jpeg, scene
from PIL import ExifTags, Image, ImageCms

from nogan.colorize.photos import read_photo, tags, write_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>attic</note></x:xmpmeta>'
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0a\x1c\x02\x78\x00\x05attic"


MAKER_NOTE = bytes(range(256)) * 3


def exif_of(artist, *, orientation=1, order="<", thumbnail=b"", note=MAKER_NOTE):
    """EXIF with GPS, a maker note, and a thumbnail in a directory of its own; ``artist`` in bytes."""
    directory = tags.Directory(order)
    number = "<I".replace("<", order)
    directory.tags[274] = tags.Tag(3, 1, struct.pack(order + "H", orientation))
    directory.tags[315] = tags.Tag(2, len(artist) + 1, artist + b"\0")
    directory.children[tags.EXIF] = tags.Directory(
        order,
        {
            33434: tags.Tag(5, 1, struct.pack(order + "2I", 1, 125)),
            37500: tags.Tag(7, len(note), note),
        },
    )
    degrees = struct.pack(order + "6I", 47, 1, 22, 1, 30, 1)
    directory.children[tags.GPS] = tags.Directory(order, {1: tags.Tag(2, 2, b"N\0"), 2: tags.Tag(5, 3, degrees)})
    block = bytearray(tags.encode_exif(directory))
    if thumbnail:
        link, start = 6 + 8 + 2 + 12 * 4, len(block) - 6
        struct.pack_into(number, block, link, start)
        second = tags.Directory(order)
        second.tags[513] = tags.Tag(4, 1, struct.pack(number, start + 2 + 2 * 12 + 4))
        second.tags[514] = tags.Tag(4, 1, struct.pack(number, len(thumbnail)))
        block += tags.encode_directory(second, start) + thumbnail
    return bytes(block)


def tagged(path, artist, **options):
    """A photograph in the format of the name, with :func:`exif_of`; 16 bits where the name says so."""
    exif = exif_of(artist, **options)
    if path.suffix == ".tif":
        deep = path.stem.endswith("16")
        pixels = scene().astype(np.uint16) * 257 if deep else scene()
        tifffile.imwrite(path, pixels, photometric="rgb", byteorder=options.get("order", "<"), metadata=None)
        tags.add_tags(path, tags.decode_exif(exif))
    else:
        Image.fromarray(scene()).save(path, exif=exif)
    return path


def tags_in(path):
    """The directory of a TIFF, or of the EXIF of another file, in its own bytes."""
    if path.suffix == ".tif":
        with path.open("rb") as file:
            return tags.read_directory(file)
    with Image.open(path) as image:
        image.load()
        return tags.decode_exif(image.info["exif"])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "artist", ["Jürgen Müller".encode(), "Jürgen Müller".encode("latin-1")], ids=["utf8", "latin1"]
)
@pytest.mark.parametrize("target", ["out.jpg", "out.png", "out.webp", "out.tif"])
@pytest.mark.parametrize("source", ["in.jpg", "in.png", "in.webp", "in.tif", "in16.tif"])
def test_texts_maker_notes_and_gps_travel_to_the_byte(tmp_path, source, target, artist, order):
    photo = read_photo(tagged(tmp_path / source, artist, orientation=6, order=order))
    assert photo.pixels.shape[:2] == (60, 40) and not photo.remarks
    assert all("16 bits" in remark for remark in write_photo(photo, tmp_path / target))
    found = tags_in(tmp_path / target)
    assert found.tags[315].data == artist + b"\0"
    assert found.integer(274, 1) == 1
    assert found.children[tags.EXIF].tags[37500].data == MAKER_NOTE
    assert found.children[tags.EXIF].fractions(33434) == (1 / 125,)
    assert found.children[tags.GPS].tags[1].data == b"N\0"
    assert found.children[tags.GPS].fractions(2) == (47, 22, 30)
    with Image.open(tmp_path / target) as image:  # and another program's reader finds them too
        assert dict(image.getexif().get_ifd(ExifTags.IFD.GPSInfo))[2] == (47, 22, 30)
        assert image.getexif().get_ifd(ExifTags.IFD.Exif)[33434] == 1 / 125
    assert read_photo(tmp_path / target).pixels.shape[:2] == (60, 40)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", [1, 8])
def test_the_thumbnail_of_the_gray_photograph_goes(tmp_path, suffix, orientation):
    path = tagged(tmp_path / f"a.{suffix}", b"A", orientation=orientation, thumbnail=jpeg())
    assert tags_in(path).next
    write_photo(read_photo(path), path)
    found = tags_in(path)
    assert not found.next and found.children[tags.EXIF].tags[37500].data == MAKER_NOTE
    with Image.open(path) as image:
        image.load()
        assert tags.EXIF_PREFIX + image.info["exif"].removeprefix(tags.EXIF_PREFIX) == exif_of(b"A")


def test_exif_without_a_tag_of_orientation_stays_as_it_is_and_damaged_exif_costs_only_itself(tmp_path):
    plain = tags.encode_exif(tags.Directory(">", {315: tags.Tag(2, 2, b"A\0")}))
    Image.fromarray(scene()).save(tmp_path / "a.jpg", exif=plain)
    assert read_photo(tmp_path / "a.jpg").metadata["exif"] == plain
    for broken in (b"Exif\0\0nonsense", plain[:20]):
        Image.fromarray(scene()).save(tmp_path / "a.png", exif=broken)
        photo = read_photo(tmp_path / "a.png")
        assert "exif" not in photo.metadata and "EXIF" in photo.remarks[0]


def test_an_orientation_in_xmp_is_made_upright_too(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    Image.fromarray(scene()).save(tmp_path / "a.jpg", xmp=xmp)
    for _ in range(2):
        photo = read_photo(tmp_path / "a.jpg")
        assert photo.pixels.shape[:2] == (60, 40)
        assert b'tiff:Orientation="1"' in photo.metadata["xmp"]
        write_photo(photo, tmp_path / "a.jpg")


def resource(number, data):
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


def test_a_large_photoshop_block_goes_into_jpeg_and_back_without_its_thumbnail(tmp_path):
    kept = resource(1028, b"\x1c\x02\x78\x00\x05attic") + resource(1058, np.random.default_rng(0).bytes(150_001))
    source = tmp_path / "a.tif"
    tifffile.imwrite(source, scene(), photometric="rgb", metadata=None)
    block = resource(1036, bytes(500)) + kept
    tags.add_tags(source, tags.Directory("<", {tags.PHOTOSHOP: tags.Tag(7, len(block), block)}))
    assert not write_photo(read_photo(source), tmp_path / "a.jpg")
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.metadata["photoshop"] == kept
    write_photo(photo, tmp_path / "b.tif")
    found = tags_in(tmp_path / "b.tif").tags
    assert found[tags.PHOTOSHOP].data == kept and found[tags.IPTC].data == b"\x1c\x02\x78\x00\x05attic"


def test_metadata_that_fits_in_no_jpeg_is_left_out_and_said(tmp_path):
    photo = read_photo(tagged(tmp_path / "a.png", b"A", note=bytes(70_000)))
    photo.metadata.update(xmp=bytes(70_000), comment=bytes(70_000))
    remarks = write_photo(photo, tmp_path / "a.jpg")
    assert len(remarks) == 3 and all("64 kB" in remark for remark in remarks)
    found = tags_in(tmp_path / "a.jpg")
    assert found.tags[315].data == b"A\0" and list(found.children[tags.EXIF].tags) == [33434]
    assert not write_photo(photo, tmp_path / "b.tif")
    assert tags_in(tmp_path / "b.tif").children[tags.EXIF].tags[37500].data == bytes(70_000)


@pytest.mark.parametrize("source", ["none.jpg", "ratio.jpg", "exif.jpg", "none.png", "none.tif", "none16.tif"])
@pytest.mark.parametrize("target", ["out.tif", "out16.tif", "out.jpg"])
def test_without_an_absolute_resolution_none_is_invented(tmp_path, source, target):
    path = tmp_path / source
    if source == "exif.jpg":
        one = tags.Tag(5, 1, struct.pack("<2I", 1, 1))
        unit = tags.Tag(3, 1, struct.pack("<H", 1))
        exif = tags.encode_exif(tags.Directory("<", {282: one, 283: one, 296: unit}))
        Image.fromarray(scene()).save(path, exif=exif)
    elif source.endswith(".tif"):
        pixels = scene().astype(np.uint16) if "16" in source else scene()
        tifffile.imwrite(path, pixels, photometric="rgb", resolution=(1, 1), resolutionunit="NONE")
    else:
        Image.fromarray(scene()).save(path)
    photo = read_photo(path)
    assert "dpi" not in photo.metadata
    write_photo(photo.with_pixels(photo.pixels.astype(np.uint16 if "16" in target else np.uint8)), tmp_path / target)
    assert "dpi" not in read_photo(tmp_path / target).metadata
    if target.endswith("tif"):
        assert tags_in(tmp_path / target).integer(296, 1) == 1
