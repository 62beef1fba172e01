"""Luma of the photograph, chroma of the network: one rule for integers, floats and tensors."""

from functools import partial

import cv2
import deoldify_golden
import numpy as np
import pytest
import torch
from media import photograph, teal_and_orange
from PIL import Image
from ycbcr import rgb_to_ycbcr

from nogan.colorize.composite import composite, composite_tensors, room_for_chroma, upsample
from nogan.colorize.resampling import bicubic_rows, product, widened
from nogan.colorize.square import gray_square
from nogan.common import color
from nogan.common.ycbcr import REC601, REC709, REC2020


def test_the_chain_gives_deoldifys_pictures():
    arrays = deoldify_golden.inference()
    assert np.array_equal(gray_square(arrays["orig"], 64), arrays["model_ready_64"][..., 0])
    std, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
    square = (arrays["net_out_64"].transpose(1, 2, 0) * std + mean).clip(0, 1).astype(np.float32)
    assert np.array_equal(upsample(square, arrays["orig"]), arrays["raw_color"])
    assert np.array_equal(composite(square, arrays["orig"], "clip"), arrays["final"])


def test_large_photographs_go_in_strips_and_show_no_seams(monkeypatch):
    picture = np.repeat(photograph(300, 200)[..., None], 3, axis=2)
    square = teal_and_orange(gray_square(picture, 64)[None].astype(np.float32) / 255)[0]
    for function in (composite, partial(composite, gamut="clip"), upsample):
        for dtype, scale in ((np.uint8, 1), (np.uint16, 257)):
            pixels = picture.astype(dtype) * dtype(scale)
            monkeypatch.setattr("nogan.colorize.pixels.STRIP_PIXELS", 1 << 30)
            whole = function(square, pixels)
            monkeypatch.setattr("nogan.colorize.pixels.STRIP_PIXELS", 2000)
            # Pillow's box is in float32: a level of the small picture may round the other way, now and then.
            assert (np.abs(function(square, pixels).astype(int) - whole) > 3 * scale).sum() == 0


def test_luma_is_the_photographs_and_chroma_the_networks():
    # Middle gray and weak colors, so that nothing leaves the gamut.
    picture = (100 + photograph() // 5).astype(np.uint8)
    square = np.full((64, 64, 3), 0.5, np.float32) + np.array([0.05, 0, -0.05], np.float32)
    result = composite(square, picture)
    assert np.abs(cv2.cvtColor(result, cv2.COLOR_RGB2YUV)[..., 0].astype(int) - picture).max() <= 1
    chroma = cv2.cvtColor(result, cv2.COLOR_RGB2YUV)[..., 1:].reshape(-1, 2)
    expected = cv2.cvtColor((square[:1, :1] * 255).astype(np.uint8), cv2.COLOR_RGB2YUV)[0, 0, 1:]
    assert np.abs(chroma.astype(int) - expected).max() <= 1


STRONG = np.array([[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 1]]], np.float32).repeat(16, 0).repeat(16, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(40, 60), (9, 7), (1, 1), (3, 200)])
def test_the_luma_is_the_photographs_own_to_half_a_level_under_the_strongest_colors(dtype, channels, size):
    rng = np.random.default_rng(0)
    unit = rng.random((*size, channels)).squeeze(-1) if channels == 1 else rng.random((*size, 3))
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    photo = (unit * top).astype(dtype) if top == 1 else np.round(unit * top).astype(dtype)
    result = composite(STRONG, photo)
    assert result.dtype == dtype and result.shape == (*size, 3)
    before = photo if channels == 1 else photo @ np.array(REC601)
    apart = np.abs(result @ np.array(REC601) - before)
    assert apart.max() <= (1e-5 if top == 1 else 0.5 + 0.01)
    if size == (40, 60):  # the old way is far off
        assert np.abs(composite(STRONG, photo, "clip") @ np.array(REC601) - before).max() > 0.1 * top


def test_chroma_that_does_not_fit_is_weakened_and_keeps_its_hue():
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(8, 0)
    red = np.zeros((16, 16, 3), np.float32) + np.array([0.9, 0.3, 0.2], np.float32)
    result = composite(red, ramp).astype(int)
    cb, cr = REC601.chroma(ramp, result[..., 0], result[..., 2])
    saturation = np.hypot(cb, cr)[0]
    assert saturation[[0, 255]].max() == 0 and saturation[100:150].min() > 60  # black and white hold no color
    assert np.all(np.diff(saturation[:90]) > -1) and np.all(np.diff(saturation[190:]) < 1)
    colored = saturation > 20
    assert np.ptp(cb[0, colored] / cr[0, colored]) < 0.1


def test_room_for_chroma_is_what_fits_the_whole_block_of_a_film():
    rng = np.random.default_rng(1)
    low, high = np.sort(rng.random((2, 500)), axis=0)
    cb, cr = rng.random((2, 500)) - 0.5
    room = room_for_chroma((cb, cr), (low, high), REC709)
    for luma in (low, high):
        rgb = np.array(REC709.rgb(luma, room * cb, room * cr))
        assert rgb.min() > -1e-9 and rgb.max() < 1 + 1e-9
    assert (room < 1).any() and (room == 1).any()
    fits = np.array(REC709.rgb(np.stack([low, high]), cb, cr))
    assert np.array_equal(room == 1, ((fits >= 0) & (fits <= 1)).all(axis=(0, 1)))


def test_bicubic_rows_are_pillows_wherever_a_strip_begins():
    plane = np.random.default_rng(0).random((40, 5)).astype(np.float32)
    for full in (17, 40, 333):  # averaged, the same, interpolated
        whole = np.asarray(Image.fromarray(plane).resize((5, full), Image.Resampling.BICUBIC))
        for rows in (slice(0, full), slice(3, 9), slice(full - 2, full)):
            weights, needed = bicubic_rows(40, full, rows)
            assert np.allclose(weights @ plane[needed], whole[rows], atol=1e-5)
    assert np.allclose(widened(plane.T.copy(), 333), whole.T, atol=1e-5)


def test_a_product_in_pieces_is_the_product():
    rng = np.random.default_rng(0)
    for rows, inner, columns in ((70, 9, 5000), (5000, 9, 40), (1, 1, 1)):
        a, b = rng.random((rows, inner), np.float32), rng.random((inner, columns), np.float32)
        out = np.empty((rows, columns), np.float32)
        assert np.allclose(product(a, b), a @ b, rtol=1e-5) and product(a, b, out) is out
        assert np.allclose(out, a @ b, rtol=1e-5)


@pytest.mark.parametrize("strong", [False, True])
def test_integers_floats_and_tensors_get_one_picture(strong):
    """Random colors: weak ones stay in the gamut, strong ones are clipped."""
    rng = np.random.default_rng(0)
    photo, square = rng.integers(0, 256, (64, 64, 3), np.uint8), rng.random((64, 64, 3), np.float32)
    if not strong:
        photo, square = 110 + photo // 8, (0.45 + square / 10).astype(np.float32)
    floats = composite(square, (photo / 255).astype(np.float32), "clip")
    unit = photo / np.float32(255)
    tensors = composite_tensors(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (square, unit)))
    assert np.abs(floats - tensors[0].permute(1, 2, 0).numpy()).max() < 1e-6
    assert np.abs(composite(square, photo / 255, "clip") - floats).max() < 1e-6
    deep = composite(square, photo.astype(np.uint16) * 257, "clip")
    assert np.abs(deep / 65535 - floats).max() < 1.01 * 0.5 / 65535
    # DeOldify's 8-bit chroma is rounded before it becomes color, and cannot hold the V of the strongest reds.
    v = 0.877 * (square[..., 0] - REC601.luma(*square.transpose(2, 0, 1)))
    apart = np.abs(composite(square, photo, "clip") - 255 * floats)[np.abs(v) < 0.495]
    assert len(apart) > 3000 and apart.mean() < 0.6 and apart.max() < 3


def test_integers_and_floats_fit_alike():
    rng = np.random.default_rng(0)
    photo, square = rng.integers(0, 256, (64, 64, 3), np.uint8), rng.random((64, 64, 3), np.float32)
    floats = composite(square, (photo / 255).astype(np.float32))
    assert np.abs(composite(square, photo / 255) - floats).max() < 1e-6
    for factor, dtype in ((1, np.uint8), (257, np.uint16)):
        top = np.iinfo(dtype).max
        assert np.abs(composite(square, photo.astype(dtype) * dtype(factor)) - top * floats).max() < 0.5 + 1e-5 * top


def test_the_luma_stays_where_colors_are_in_gamut():
    photographs = 0.4 + 0.2 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    colors = 0.45 + 0.1 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    result = composite_tensors(colors, photographs)
    torch.testing.assert_close(color.luma(result), color.luma(photographs), rtol=0, atol=1e-6)
    torch.testing.assert_close(rgb_to_ycbcr(result)[:, 1:], rgb_to_ycbcr(colors)[:, 1:], rtol=0, atol=1e-6)
    assert composite_tensors(2 * colors, photographs).max() <= 1  # which is out of every gamut


@pytest.mark.parametrize("matrix", [REC601, REC709, REC2020])
def test_a_matrix_there_and_back(matrix):
    red, green, blue = np.random.default_rng(0).random((3, 50))
    luma = matrix.luma(red, green, blue)
    back = matrix.rgb(luma, *matrix.chroma(luma, red, blue))
    assert sum(matrix) == pytest.approx(1) and np.allclose(back, (red, green, blue))
    extreme = matrix.chroma(matrix.luma(0, 0, 1), 0, 1)  # pure blue has the largest Cb
    assert extreme[0] == pytest.approx(0.5)
