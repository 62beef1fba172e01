"""16-bit TIFF of every build."""

import numpy as np
import pytest
import tifffile
from media import gray16, scene
from PIL import Image, ImageCms

from nogan.colorize.photos import read_photo, upright, write_photo
from nogan.common.errors import UserError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>attic</note></x:xmpmeta>'
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0a\x1c\x02\x78\x00\x05attic"


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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("white", [1, 255, 3000])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_floating_point_values_become_16_bits(tmp_path, dtype, white, photometric):
    unit = np.linspace(0, 1, 2400).reshape(40, 60)
    unit = unit if photometric == "minisblack" else np.dstack([unit, unit[::-1], unit / 2])
    tifffile.imwrite(tmp_path / "a.tif", (unit * white).astype(dtype), photometric=photometric, compression="zlib")
    photo = read_photo(tmp_path / "a.tif")
    expected = unit * 65535 * (3000 / 65535 if white == 3000 else 1)  # which is no usual white, but 65,535 holds it
    assert photo.pixels.dtype == np.uint16
    assert np.abs(photo.pixels - expected).max() <= (40 if dtype == np.float16 else 1)
    assert f"white at {65535 if white == 3000 else white}" in photo.remarks[0]


def test_floating_point_values_that_are_none_are_black_or_white(tmp_path):
    values = np.full((4, 4), 0.5, np.float32)
    values[0] = np.nan, np.inf, -np.inf, -1
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert list(read_photo(tmp_path / "a.tif").pixels[0]) == [0, 65535, 0, 0]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
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
