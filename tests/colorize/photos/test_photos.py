"""Photographs in and out: every kind of file, what travels with the pixels, and files that are none."""

import os
import struct
import sys
import types
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from media import cmyk_profile, gray16, gray_profile, jpeg, scene
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from nogan.colorize.photos import Photo, color_space, has_colors, read_photo, to_pixels, upright, write_photo
from nogan.common.errors import UserError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>attic</note></x:xmpmeta>'
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0a\x1c\x02\x78\x00\x05attic"


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


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_16_bit_gray_with_a_gray_profile_keeps_its_16_bits(tmp_path, suffix):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    if suffix == "tif":
        tifffile.imwrite(tmp_path / "a.tif", ramp, iccprofile=gray_profile(2.2))
    else:
        Image.fromarray(ramp).save(tmp_path / "a.png", icc_profile=gray_profile(2.2))
    photo = read_photo(tmp_path / f"a.{suffix}")
    light = (ramp / 65535) ** (round(2.2 * 256) / 256)  # the profile holds 8 binary places
    expected = 65535 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(photo.pixels - expected).max() <= 1
    assert photo.metadata["icc_profile"] == color_space.SRGB and photo.space is None and not photo.remarks


def test_a_profile_that_cannot_be_used_is_kept_and_said(tmp_path):
    photo = as_read(tmp_path, Image.fromarray(scene()), icc_profile=bytes(16) + b"RGB " + bytes(200))
    assert photo.space is None and "damaged" in photo.remarks[0] and len(photo.metadata["icc_profile"]) == 220


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
        ("smaller-bomb.png", png_of(10_000, 10_000), "decompression bomb"),
        ("program.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%EOF\n", "not an image"),
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


def test_a_pipe_is_no_photograph_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("b.jpg")
    for name, said in {"a.jpg": "not a file, but a pipe", "b.jpg": "cannot be read: Too many levels"}.items():
        with pytest.raises(UserError, match=said):
            read_photo(tmp_path / name)


def test_a_folder_and_an_image_without_a_white_are_no_photographs(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_photo(tmp_path)
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


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_lossless_webp_stays_lossless(tmp_path, lossless, extended):
    options = {"icc_profile": color_space.SRGB} if extended else {}
    photo = as_read(tmp_path, Image.fromarray(scene()), "webp", lossless=lossless, quality=80, **options)
    write_photo(photo.with_pixels(scene()), tmp_path / "b.webp")
    assert np.array_equal(read_photo(tmp_path / "b.webp").pixels, scene()) == lossless


def test_what_a_format_does_not_hold_is_said(tmp_path):
    alpha = np.full((40, 60), 255, np.uint8)
    opaque = Photo(scene(), alpha)
    assert not write_photo(opaque, tmp_path / "a.jpg") and not write_photo(opaque, tmp_path / "a.png")
    alpha = np.tile(np.arange(60, dtype=np.uint8), (40, 1))
    (remark,) = write_photo(Photo(scene(), alpha), tmp_path / "a.bmp")
    assert "transparency was left out" in remark
    (remark,) = write_photo(Photo(scene().astype(np.uint16) * 257), tmp_path / "a.webp")
    assert "16 bits a channel became 8" in remark


def test_a_portable_graymap_of_16_bits_keeps_them(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5\n60 40\n65535\n" + gray16().astype(">u2").tobytes())
    assert np.array_equal(read_photo(tmp_path / "a.pgm").pixels, gray16())


def test_a_picture_of_black_and_white_alone_takes_no_color_and_says_so(tmp_path):
    photo = as_read(tmp_path, Image.fromarray(scene()).convert("1"))
    assert "no color shows" in photo.remarks[0] and set(np.unique(photo.pixels)) == {0, 255}


def test_colors_of_ones_own_are_no_tint():
    rng = np.random.default_rng(0)
    gray = cv2.resize(rng.uniform(0, 1, (30, 40)).astype(np.float32), (400, 300))
    sepia = 255 * np.dstack([gray**0.8, 0.95 * gray, 0.85 * gray**1.35])
    faded = sepia * np.linspace([1, 1, 1], [0.95, 0.9, 0.85], 300)[:, None]
    grain = rng.normal(0, 6, sepia.shape)
    for tinted in (gray * 255, sepia, faded + grain):
        for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
            assert not has_colors(tinted.clip(0, 255).astype(np.uint8).astype(dtype) * dtype(factor))
    painted = sepia.copy()
    painted[50:150, 50:150] += 20, -20, 30  # a dress, hand-colored
    assert has_colors(painted.clip(0, 255).astype(np.uint8)) and has_colors(scene())
    assert not has_colors(scene()[:1, :1])  # a single color may be a tint


def test_heic_of_phones_is_read(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(scene())).save(tmp_path / "a.heic", quality=95)
    assert np.abs(read_photo(tmp_path / "a.heic").pixels.astype(int) - scene()).mean() < 4


def test_openexr_is_read_as_linear_light(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    unit = scene() / 255
    light = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4).astype(np.float32)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"RGB": light}).write(str(tmp_path / "a.exr"))
    photo = read_photo(tmp_path / "a.exr")
    assert photo.pixels.dtype == np.uint16 and np.abs(photo.pixels / 257 - scene()).max() < 0.05


def test_camera_raw_is_developed(tmp_path):
    pytest.importorskip("rawpy")
    mosaic = np.full((64, 96), 12000, np.uint16)
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True),  # DNG's version
        (50708, "s", 0, "Test", True),
        (33421, "H", 2, (2, 2), True),  # the pattern of its filters: red, green, green, blue
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50717, "I", 1, 16383, True),  # white
        (50721, "2i", 9, tuple(n for i in range(9) for n in (int(i % 4 == 0), 1)), True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
        (315, "s", 0, "A. Photographer", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", mosaic, photometric=32803, extratags=tags, metadata=None)
    (tmp_path / "a.tif").rename(tmp_path / "a.dng")
    photo = read_photo(tmp_path / "a.dng")
    assert photo.pixels.dtype == np.uint16 and photo.pixels.ndim == 3 and np.ptp(photo.pixels) < 2000
    assert b"A. Photographer" in photo.metadata["exif"]


@pytest.mark.parametrize(("name", "package"), [("a.nef", "rawpy"), ("a.exr", "openexr")])
def test_kinds_that_need_a_package_say_which(tmp_path, monkeypatch, name, package):
    for module in ("rawpy", "OpenEXR"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"\x76\x2f\x31\x01" + bytes(100))
    with pytest.raises(UserError, match=f"{name}.*pip install {package}"):
        read_photo(tmp_path / name)


def test_upright_leaves_unknown_orientations_alone():
    assert np.array_equal(upright(scene(), 9), scene())


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
    monkeypatch.setattr(Image, "ID", [*Image.ID])  # copies: what is registered goes with this test
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN})
    assert np.array_equal(read_photo(path).pixels, scene())
