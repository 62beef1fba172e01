"""The interface from Python: what goes in, what comes out, and what is refused."""

import subprocess
import sys
from typing import ClassVar

import deoldify_golden
import numpy as np
import pytest
from media import ADOBE_RGB, PROPHOTO, cmyk_profile, gray_profile, photograph, rgb_profile, teal_and_orange
from PIL import Image

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.photos import read_photo
from nogan.colorize.photos.color_space import SRGB, converted, space_of
from nogan.common.errors import UserError
from nogan.common.ycbcr import REC601
from nogan.networks import build_generator
from nogan.networks.generator_file import load_generator, save_generator

COLORIZER = Colorizer([(teal_and_orange, 1.0)])


@pytest.mark.parametrize(("factor", "expected", "largest"), [(4, "final", 1), (5, "final_rf5", 3)])
def test_a_deoldify_network_gives_deoldifys_pictures(factor, expected, largest):
    arrays = deoldify_golden.inference()
    colorizer = Colorizer.of(deoldify_golden.network("deep"), device="cpu")
    found = colorizer.colorize(arrays["orig"], factor, gamut="clip").astype(int)
    # The network's floats differ in the last digits: a level of its picture here and there, which the matrices of
    # DeOldify's integer YUV can turn into three; and Pillow's resizing rounds differently before version 13.
    assert np.abs(found - arrays[expected]).max() <= largest
    assert (np.abs(found - arrays[expected]) <= 1).mean() > 0.95


def test_arrays_and_images_come_back_as_they_went_in():
    gray = photograph()
    expected = COLORIZER.colorize(gray, 6)
    assert expected.shape == (60, 90, 3) and expected.dtype == np.uint8
    assert np.array_equal(COLORIZER.colorize(np.dstack([gray] * 3), 6), expected)

    rgba = COLORIZER.colorize(np.dstack([gray] * 3 + [photograph(seed=1)]), 6)
    assert np.array_equal(rgba[..., :3], expected) and np.array_equal(rgba[..., 3], photograph(seed=1))

    deep = COLORIZER.colorize(gray.astype(np.uint16) * 257, 6)
    assert (
        deep.dtype == np.uint16 and np.abs(deep / 257 - expected).max() < 4 and np.abs(deep / 257 - expected).mean() < 1
    )
    for dtype in (np.float32, np.float64):
        unit = COLORIZER.colorize(gray.astype(dtype) / 255, 6)
        assert unit.dtype == dtype and np.abs(unit * 255 - expected).mean() < 1

    image = COLORIZER.colorize(Image.fromarray(gray), render_factor=6)
    assert image.mode == "RGB" and np.array_equal(np.array(image), expected)
    assert COLORIZER.colorize(Image.fromarray(gray).convert("LA"), 6).mode == "RGBA"
    for mode in ("P", "CMYK", "1", "I;16", "YCbCr"):
        assert COLORIZER.colorize(Image.fromarray(gray).convert(mode), 6).size == (90, 60)


def test_an_image_is_turned_upright_first():
    image = Image.fromarray(photograph())
    image.getexif()[0x0112] = 6
    assert COLORIZER.colorize(image, 6).size == (60, 90)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
def test_an_image_keeps_what_goes_along(tmp_path, suffix):
    profile = bytes(16) + b"RGB " + bytes(200)  # any RGB profile, AdobeRGB say
    exif = Image.Exif()
    exif[315], exif[274] = "A. Photographer", 6
    exif.get_ifd(0x8825)[1] = "N"
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    Image.fromarray(photograph()).convert("RGB").save(source, exif=exif.tobytes(), icc_profile=profile, dpi=(300, 300))
    for opened_before in (False, True):
        with Image.open(source) as image:
            if opened_before:
                image.load()
            result = COLORIZER.colorize(image, 6)
        assert result.size == (60, 90) and result.info["icc_profile"] == profile
        result.save(target, **result.info)
        with Image.open(target) as found:
            assert found.info["icc_profile"] == profile
            assert found.getexif()[315] == "A. Photographer" and found.getexif().get(274, 1) == 1
            assert found.getexif().get_ifd(0x8825)[1] == "N"
            if suffix != "webp":
                assert [round(float(value)) for value in found.info["dpi"]] == [300, 300]


def test_an_image_is_treated_as_its_file(tmp_path):
    rgb = Image.fromarray(np.dstack([photograph(), photograph(seed=1), photograph(seed=2)]))
    for mode, profile in (("CMYK", cmyk_profile()), ("L", gray_profile(1.0))):
        rgb.convert(mode).save(tmp_path / "a.jpg", icc_profile=profile)
        photo = read_photo(tmp_path / "a.jpg")
        result = COLORIZER.colorize(Image.open(tmp_path / "a.jpg"), 6)
        assert np.array_equal(np.array(result), COLORIZER.colorize(photo.pixels, 6))
        assert result.info["icc_profile"] == photo.metadata["icc_profile"]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("space", [ADOBE_RGB, PROPHOTO], ids=["Adobe RGB", "ProPhoto"])
def test_a_gray_picture_gets_the_same_colors_in_any_space(space, dtype, raw):
    """The same grays as they look, in the values of either space; the results are compared as they look."""
    gray = np.repeat(photograph()[..., None], 3, axis=2).astype(np.float32) / 255
    profile, top = rgb_profile(*space), np.iinfo(dtype).max
    other = space_of(profile)
    pixels = np.round(other.from_srgb(gray) * top).astype(dtype)
    assert np.abs(other.shown(pixels).astype(int) - photograph()).max() <= 3  # 8 bits twice
    expected = COLORIZER.colorize(gray, 6, raw=raw)
    (found,) = COLORIZER.colorize_pixels([pixels], 6, raw=raw, spaces=[other])
    assert found.dtype == dtype
    unconverted = COLORIZER.colorize(pixels, 6, raw=raw)  # as if its values were those of sRGB
    strength = chroma_of(expected)
    looks, wrong = (chroma_of(converted(p.astype(np.float32) / top, profile, SRGB)) for p in (found, unconverted))
    assert abs(looks.mean() / strength.mean() - 1) < 0.04 < 0.1 < abs(wrong.mean() / strength.mean() - 1)
    assert np.abs(looks - strength).mean() < 0.06 * strength.mean()
    if not raw:
        luma, before = (values @ np.array(REC601) for values in (found.astype(float), pixels.astype(float)))
        assert np.abs(luma - before).max() <= 0.51


def chroma_of(rgb):
    """The strength of chroma of each pixel."""
    return np.hypot(*REC601.chroma(rgb @ np.array(REC601), rgb[..., 0], rgb[..., 2]))


def test_the_profile_of_a_photograph_is_used_and_kept(tmp_path):
    profile = rgb_profile(*PROPHOTO)
    image = Image.fromarray(photograph()).convert("RGB")
    image.save(tmp_path / "a.png", icc_profile=profile)
    photo = read_photo(tmp_path / "a.png")
    assert photo.metadata["icc_profile"] == profile and photo.space == space_of(profile)
    result = COLORIZER.colorize(Image.open(tmp_path / "a.png"), 6)
    assert result.info["icc_profile"] == profile
    assert np.array_equal(np.array(result), COLORIZER.colorize_pixels([photo.pixels], 6, spaces=[photo.space])[0])


def test_a_blend_mixes_the_pictures():
    def red(gray):
        return np.stack([gray * 0 + 0.8, gray * 0 + 0.2, gray * 0 + 0.2], axis=-1)

    def blue(gray):
        return np.stack([gray * 0 + 0.2, gray * 0 + 0.2, gray * 0 + 0.8], axis=-1)

    mixed = Colorizer([(red, 3.0), (blue, 1.0)]).colorize(photograph(), 6, raw=True)
    assert np.abs(mixed.reshape(-1, 3).mean(0) / 255 - [0.65, 0.2, 0.35]).max() < 0.01


@pytest.mark.parametrize(
    ("image", "factor", "reason"),
    [
        (photograph(), 0, "--render-factor 0"),
        (photograph(), 500, "--render-factor 500"),
        (photograph(), "high", "--render-factor 'high'"),
        (photograph()[None, ..., None], 10, "shape"),
        (np.zeros((0, 5), np.uint8), 10, "shape"),
        (photograph().astype(np.int64), 10, "int64"),
    ],
)
def test_wrong_arguments_are_said(image, factor, reason):
    with pytest.raises(UserError, match=reason):
        COLORIZER.colorize(image, factor)


def test_precisions_agree_and_other_settings_are_checked(run_dir):
    gray = photograph()
    exact = Colorizer.load(run_dir, device="cpu", precision="fp32").colorize(gray, 4)
    rounded = Colorizer.load(run_dir, device="cpu", precision="bf16").colorize(gray, 4)
    assert np.abs(exact.astype(int) - rounded).mean() < 4
    for settings, reason in (({"device": "tpu9"}, "--device tpu9"), ({"precision": "fp4"}, "--precision fp4")):
        with pytest.raises(UserError, match=reason):
            Colorizer.load(run_dir, **settings)
    with pytest.raises(UserError, match="weight"):
        Colorizer.load({str(run_dir): 0.0}, device="cpu")


@pytest.mark.parametrize(
    ("settings", "reason"), [({"precision": "bf16"}, "--precision bf16"), ({"compile": True}, "--compile")]
)
def test_what_an_onnx_export_cannot_follow_is_said(tmp_path, settings, reason):
    (tmp_path / "a.onnx").write_bytes(b"not opened")
    with pytest.raises(UserError, match=f"{reason}.*ONNX.*leave it out"):
        Colorizer.load(tmp_path / "a.onnx", **settings)


def test_running_out_of_memory_says_what_to_lower():
    class Hungry:
        def __call__(self, x):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    colorizer = Colorizer([(_wrapped(Hungry()), 1.0)])
    with pytest.raises(UserError, match="--render-factor or --batch-size"):
        colorizer.colorize(photograph(), 4)


def _wrapped(forward):
    from torch import nn

    from nogan.colorize.backends import torch_network

    class Module(nn.Module):
        config: ClassVar = {}

        def forward(self, x):
            return forward(x)

    return torch_network(Module(), "cpu", "fp32", False)


def test_the_colorizer_is_imported_without_torch():
    script = "import sys; from nogan import Colorizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_generator_in_memory_keeps_the_size_that_auto_begins_at(tmp_path):
    network = build_generator("tiny", "wide", 0.1)
    assert Colorizer.of(network, device="cpu").trained_size == 192
    assert Colorizer.of(network, device="cpu", trained_size=64).trained_size == 64
    save_generator(network, tmp_path, size=48)
    loaded = load_generator(tmp_path)
    assert loaded.trained_size == 48
    seen = []
    colorizer = Colorizer.of(loaded, device="cpu")
    predict = colorizer.predict
    colorizer.predict = lambda gray: seen.append(gray.shape[-1]) or predict(gray)
    colorizer.colorize(photograph(), "auto")
    assert min(seen) == 64  # the least factor, 4; for 192 px the first would be 12
