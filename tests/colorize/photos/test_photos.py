"""Photographs in and out: every kind of file, what travels with the pixels, and files that are none."""

import io
import struct
import sys
import types
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from media import cmyk_profile, gray_profile
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from nogan.colorize.photos import Photo, read_photo, tags, to_pixels, upright, write_photo
from nogan.common.errors import UserError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>attic</note></x:xmpmeta>'
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0a\x1c\x02\x78\x00\x05attic"


def scene(height=40, width=60):
    """A picture with no symmetry, smooth enough for JPEG."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.dstack([4 * x, 6 * y, 255 - 2 * x - 2 * y]).clip(0, 255).astype(np.uint8)


def gray16(height=40, width=60):
    y, x = np.mgrid[:height, :width]
    return (1000 * x + 37 * y).astype(np.uint16)


def exif(orientation=1):
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "A. Photographer"
    tags[ExifTags.Base.ImageDescription] = "attic"
    tags[ExifTags.Base.Orientation] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "16.tif"])
def test_an_exif_rotated_photograph_comes_in_upright_and_goes_out_without_the_tag(tmp_path, kind, orientation):
    path = tmp_path / f"a.{kind}"
    if kind == "16.tif":
        deep = scene().astype(np.uint16) * 257
        tifffile.imwrite(path, deep, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    else:
        options = {"lossless": True} if kind == "webp" else {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
        Image.fromarray(scene()).save(path, exif=exif(orientation), **options)
    tagged = Image.fromarray(scene())
    tagged.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.array(ImageOps.exif_transpose(tagged))

    photo = read_photo(path)
    pixels = photo.pixels >> 8 if kind == "16.tif" else photo.pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= (4 if kind == "jpg" else 0)

    write_photo(photo, path)
    assert Image.open(path).getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert read_photo(path).pixels.shape == expected.shape


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp", "16.png", "16.tif"])
def test_metadata_and_profile_travel_along(tmp_path, kind):
    source, target = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    image, everything = Image.fromarray(scene()), {"exif": exif(), "icc_profile": SRGB, "dpi": (300, 300)}
    if kind == "jpg":
        block = b"\xff\xed" + struct.pack(">H", len(IPTC) + 2) + IPTC
        image.save(source, xmp=XMP, comment=b"found in the attic", extra=block, **everything)
    elif kind == "webp":
        image.save(source, xmp=XMP, **everything)
    elif kind.endswith("png"):
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "found in the attic")
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        image.save(source, pnginfo=text, **everything)
    elif kind == "tif":
        everything["exif"][700] = XMP
        image.save(source, **everything)
    if kind == "16.png":  # written by ourselves from the metadata of the 8-bit file, and read again
        photo = read_photo(source)
        write_photo(Photo(photo.pixels.astype(np.uint16) * 257, metadata=photo.metadata), source)
    if kind == "16.tif":
        tags = [(315, "s", 0, "A. Photographer", True), (270, "s", 0, "attic", True), (700, "B", len(XMP), XMP, True)]
        deep = scene().astype(np.uint16) * 257
        options = {"resolution": (300, 300), "resolutionunit": "INCH", "software": False, "metadata": None}
        tifffile.imwrite(source, deep, photometric="rgb", iccprofile=SRGB, extratags=tags, **options)

    write_photo(read_photo(source), target)
    with Image.open(target) as result:
        result.load()
        assert result.info["icc_profile"] == SRGB
        assert result.getexif()[ExifTags.Base.Artist] == "A. Photographer"
        assert result.getexif()[ExifTags.Base.ImageDescription] == "attic"
        xmp = result.info["xmp"]
        assert b"attic" in (xmp if isinstance(xmp, bytes) else xmp.encode())
        if kind != "webp":
            assert [round(float(value)) for value in result.info["dpi"]] == [300, 300]
        if kind == "jpg":
            assert result.info["comment"] == b"found in the attic"
            assert IPTC in [data for name, data in result.applist if name == "APP13"]
        if kind.endswith("png"):
            assert result.text["Comment"] == "found in the attic"


def as_read(tmp_path, image, suffix="png", **options):
    path = tmp_path / f"a.{suffix}"
    image.save(path, **options)
    return read_photo(path)


def test_palette_bilevel_gray_and_alpha(tmp_path):
    rgb = Image.fromarray(scene())
    palette = rgb.quantize(16)
    assert np.array_equal(as_read(tmp_path, palette).pixels, np.array(palette.convert("RGB")))

    palette.info["transparency"] = 3
    photo = as_read(tmp_path, palette, transparency=3)
    assert photo.alpha is not None and set(np.unique(photo.alpha)) == {0, 255}

    gray = rgb.convert("L")
    assert np.array_equal(as_read(tmp_path, gray).pixels, np.array(gray))
    assert np.array_equal(as_read(tmp_path, gray.convert("1")).pixels, np.array(gray.convert("1").convert("L")))

    ramp = np.tile(np.arange(60, dtype=np.uint8), (40, 1))
    for mode in ("LA", "RGBA"):
        image = rgb.convert(mode)
        image.putalpha(Image.fromarray(ramp))
        for suffix in ("png", "webp", "tif"):
            options = {"lossless": True, "exact": True} if suffix == "webp" else {}
            photo = as_read(tmp_path, image, suffix, **options)
            assert np.array_equal(photo.alpha, ramp)
            write_photo(photo, tmp_path / f"b.{suffix}", quality=100)
            assert np.abs(read_photo(tmp_path / f"b.{suffix}").alpha.astype(int) - ramp).max() <= 1


def test_cmyk_and_lab_become_rgb(tmp_path):
    rgb = Image.fromarray(scene())
    photo = as_read(tmp_path, rgb.convert("CMYK"), "jpg", quality=100, subsampling=0)
    assert photo.pixels.shape == (40, 60, 3)
    assert np.abs(photo.pixels.astype(int) - scene()).mean() < 2
    lab = ImageCms.profileToProfile(
        rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert np.abs(as_read(tmp_path, lab, "tif").pixels.astype(int) - scene()).mean() < 2


def test_a_gray_profile_is_applied_and_becomes_srgb(tmp_path):
    linear = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(4, 0))
    photo = as_read(tmp_path, linear, icc_profile=gray_profile(1.0))
    # 0.2140 of linear light is sRGB's 0.5.
    assert abs(int(photo.pixels[0, round(0.2140 * 255)]) - 128) <= 1
    assert photo.metadata["icc_profile"][16:20] == b"RGB "

    deep = Image.fromarray((np.arange(256, dtype=np.uint16) * 257)[None].repeat(4, 0))
    assert abs(int(as_read(tmp_path, deep, icc_profile=gray_profile(1.0)).pixels[0, 55]) / 257 - 128) <= 1


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
def test_16_bit_tiff_keeps_every_bit(tmp_path, photometric, compression):
    path = tmp_path / "scan.tif"
    deep = gray16() if photometric != "rgb" else np.dstack([gray16(), gray16()[::-1], gray16() // 2])
    tifffile.imwrite(
        path, 65535 - deep if photometric == "miniswhite" else deep, photometric=photometric, compression=compression
    )
    photo = read_photo(path)
    assert np.array_equal(photo.pixels, deep)

    color = photo.pixels if deep.ndim == 3 else np.dstack([deep, deep // 2, deep // 3])
    for name in ("out.tif", "out.png"):
        write_photo(photo.with_pixels(color), tmp_path / name)
        assert np.array_equal(read_photo(tmp_path / name).pixels, color)
    write_photo(photo.with_pixels(color), tmp_path / "out.jpg")
    assert np.abs(read_photo(tmp_path / "out.jpg").pixels.astype(int) - (color >> 8)).mean() < 8


def test_16_bit_lzw_tiff_and_png_with_alpha(tmp_path):
    color = np.dstack([gray16(), gray16()[::-1], gray16() // 2, 65535 - gray16()])
    assert cv2.imwrite(str(tmp_path / "lzw.tif"), color[..., 2::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert np.array_equal(read_photo(tmp_path / "lzw.tif").pixels, color[..., :3])

    assert cv2.imwrite(str(tmp_path / "a.png"), color[..., [2, 1, 0, 3]])
    photo = read_photo(tmp_path / "a.png")
    assert np.array_equal(photo.pixels, color[..., :3]) and np.array_equal(photo.alpha, color[..., 3])
    for name in ("b.png", "b.tif"):
        write_photo(photo, tmp_path / name)
        again = read_photo(tmp_path / name)
        assert np.array_equal(again.pixels, photo.pixels) and np.array_equal(again.alpha, photo.alpha)


def test_the_first_of_several_pages_is_used_and_said(tmp_path):
    first, second = Image.fromarray(scene()), Image.fromarray(scene()[::-1])
    photo = as_read(tmp_path, first, "tif", save_all=True, append_images=[second])
    assert np.array_equal(photo.pixels, scene())
    assert "2 pages" in photo.remarks[0]


def png_of(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def jpeg():
    stream = io.BytesIO()
    Image.fromarray(scene(200, 300)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.jpg", None, "No such file"),
        ("empty.jpg", b"", "empty"),
        ("letter.jpg", b"Dear Sir, the photograph is in the mail.\n" * 20, "not an image"),
        ("cut.jpg", jpeg()[:2500], "truncated"),
        ("cut.png", png_of(300, 200)[:60], "truncated or damaged"),
        ("cut.tif", b"II*\x00\x08\x00\x00\x00\x05\x00", "damaged|no image"),
        ("bomb.png", png_of(60_000, 60_000), "--max-megapixels"),
    ],
)
def test_what_is_no_photograph_is_said_in_one_line(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_photo(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_a_folder_and_a_float_image_are_no_photographs(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_photo(tmp_path)
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="16 bits"):
        read_photo(tmp_path / "a.tif")
    with pytest.raises(UserError, match="16 bits"):
        to_pixels(Image.new("I", (4, 4)))


def test_a_result_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    photo = Photo(scene())
    with pytest.raises(UserError, match=r"\.gif"):
        write_photo(photo, tmp_path / "a.gif")
    with pytest.raises(UserError, match="cannot be written"):
        write_photo(photo, tmp_path / "none" / "a.png")
    with pytest.raises(UserError, match="cannot be written"):  # JPEG ends at 65,500 px
        write_photo(Photo(np.zeros((1, 70_000, 3), np.uint8)), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"precious")
    with pytest.raises(UserError):
        write_photo(Photo(np.zeros((1, 70_000, 3), np.uint8)), path)
    assert path.read_bytes() == b"precious"


def test_upright_leaves_unknown_orientations_alone():
    assert np.array_equal(upright(scene(), 9), scene())


# --- EXIF, GPS and all that goes along ------------------------------------------------------------------------------

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
    assert not write_photo(photo, tmp_path / target)
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


# --- 16-bit TIFF of every build -------------------------------------------------------------------------------------


def channels(count):
    return np.dstack([np.roll(gray16(), 7 * index, axis=1) for index in range(count)])


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}], ids=str)
def test_16_bit_planes_one_after_the_other(tmp_path, options, orientation):
    planes = channels(3).transpose(2, 0, 1).copy()
    extra = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", extratags=extra, **options)
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels, upright(channels(3), orientation))
    cut = (tmp_path / "a.tif").read_bytes()
    if not options:  # of the others, tifffile writes the directory at the end
        (tmp_path / "a.tif").write_bytes(cut[:-2000])
        with pytest.raises(UserError, match=r"a\.tif: truncated"):
            read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("kinds", [["unspecified"], ["unassalpha"], ["unassalpha", "unspecified"], ["unspecified"] * 2])
@pytest.mark.parametrize("colors", [1, 3])
def test_of_16_bit_extra_channels_only_a_declared_alpha_is_one(tmp_path, colors, kinds):
    data = channels(colors + len(kinds))
    photometric = "rgb" if colors == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", data, photometric=photometric, extrasamples=kinds, planarconfig="contig")
    photo = read_photo(tmp_path / "a.tif")
    assert np.array_equal(photo.pixels, data[..., :colors].squeeze())
    if "unassalpha" in kinds:
        assert np.array_equal(photo.alpha, data[..., colors])
    else:
        assert photo.alpha is None
    assert bool(photo.remarks) == ("unspecified" in kinds)
    assert all("extra channel" in remark for remark in photo.remarks)


def test_a_16_bit_alpha_that_was_multiplied_in_is_divided_out(tmp_path):
    alpha = np.full((40, 60), 32768, np.uint16)
    alpha[:, :10] = 0
    color = channels(3) // 2
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([color, alpha]), photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(tmp_path / "a.tif")
    expected = np.minimum(color.astype(int) * 65535 // 32768, 65535)
    assert np.abs(photo.pixels[:, 10:].astype(int) - expected[:, 10:]).max() <= 2
    assert np.array_equal(photo.alpha, alpha)


@pytest.mark.parametrize("extras", [0, 1])
def test_16_bit_cmyk_is_read_at_8(tmp_path, extras):
    eight = np.array(Image.fromarray(scene()).convert("CMYK"))
    data = np.dstack([eight.astype(np.uint16) * 257, *[gray16()] * extras])
    kinds = ["unassalpha"] * extras or None
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="separated", extrasamples=kinds)
    photo = read_photo(tmp_path / "a.tif")
    assert np.array_equal(photo.pixels, np.array(Image.fromarray(eight, "CMYK").convert("RGB")))
    assert photo.pixels.dtype == np.uint8 and "CMYK" in photo.remarks[0]
    assert (photo.alpha is not None) == bool(extras)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_16_bits_in_any_compression_and_number_of_channels(tmp_path, compression, count):
    options = {"extrasamples": ["unspecified"] * 2} if count == 5 else {}
    photometric = "minisblack" if count == 1 else "rgb"
    data = channels(count).squeeze()
    tifffile.imwrite(tmp_path / "a.tif", data, photometric=photometric, compression=compression, **options)
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels, data[..., :3] if count > 1 else data)


def test_a_kind_of_16_bit_color_that_cannot_be_read_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", channels(3), photometric="cielab")
    with pytest.raises(UserError, match=r"a\.tif.*tag 262.*expected gray, RGB or CMYK"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_a_damaged_16_bit_file_is_never_read_in_part(tmp_path, compression):
    noise = np.random.default_rng(0).integers(0, 65535, (200, 300, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", noise, photometric="rgb", compression=compression, rowsperstrip=20)
    whole = (tmp_path / "a.tif").read_bytes()
    for cut in (0.3, 0.6, 0.95):
        (tmp_path / "a.tif").write_bytes(whole[: int(cut * len(whole))])
        with pytest.raises(UserError, match=r"a\.tif: truncated or damaged"):
            read_photo(tmp_path / "a.tif")
    if compression:  # bytes that are no stream of that kind
        (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2] + bytes(4000) + whole[len(whole) // 2 + 4000 :])
        with pytest.raises(UserError, match=r"a\.tif: truncated or damaged"):
            read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (np.float32, "32-bit floating-point"),
        (np.float16, "16-bit floating-point"),
        (np.int32, "32-bit signed"),
        (np.int16, "16-bit signed"),
        (np.uint32, "32-bit unsigned"),
    ],
)
@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 3)])
def test_values_without_a_white_are_said_with_the_files_name(tmp_path, dtype, kind, shape):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones(shape, dtype), photometric="rgb" if len(shape) == 3 else "minisblack")
    with pytest.raises(UserError, match=f"{kind}.*16 bits") as caught:
        read_photo(path)
    assert str(caught.value).startswith(str(path))


def test_cmyk_with_a_good_a_damaged_and_no_profile(tmp_path):
    cmyk = Image.fromarray(scene()).convert("CMYK")
    plain = as_read(tmp_path, cmyk, "jpg", quality=100, subsampling=0)
    assert not plain.remarks and "icc_profile" not in plain.metadata

    good = as_read(tmp_path, cmyk, "jpg", quality=100, subsampling=0, icc_profile=cmyk_profile())
    assert not good.remarks and good.metadata["icc_profile"][16:20] == b"RGB "
    assert np.ptp(good.pixels.astype(int), axis=2).mean() < 5  # that profile knows no colors

    for damaged in (cmyk_profile()[:200], cmyk_profile()[:20] + bytes(300)):
        photo = as_read(tmp_path, cmyk, "jpg", quality=100, subsampling=0, icc_profile=damaged)
        assert np.array_equal(photo.pixels, plain.pixels) and "CMYK profile is damaged" in photo.remarks[0]


def test_heic_is_named_and_read_where_its_package_is_installed(tmp_path, monkeypatch):
    path = tmp_path / "a.heic"
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"a\.heic: a HEIC image.*pip install pillow-heif"):
        read_photo(path)

    def register():
        Image.register_open(
            "HEIF", lambda stream, name: Image.fromarray(scene()), lambda prefix: prefix[4:8] == b"ftyp"
        )

    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register))
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    assert np.array_equal(read_photo(path).pixels, scene())
