"""Luma of the photograph, chroma of the network: one rule for integers, floats and tensors."""

import cv2
import deoldify_golden
import numpy as np
import pytest
import torch
from media import photograph, teal_and_orange
from ycbcr import rgb_to_ycbcr

from nogan.colorize.composite import composite, composite_tensors, upsample
from nogan.colorize.square import gray_square
from nogan.common import color
from nogan.common.ycbcr import REC601, REC709, REC2020


def test_the_chain_gives_deoldifys_pictures():
    arrays = deoldify_golden.inference()
    assert np.array_equal(gray_square(arrays["orig"], 64), arrays["model_ready_64"][..., 0])
    std, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
    square = (arrays["net_out_64"].transpose(1, 2, 0) * std + mean).clip(0, 1).astype(np.float32)
    assert np.array_equal(upsample(square, arrays["orig"]), arrays["raw_color"])
    assert np.array_equal(composite(square, arrays["orig"]), arrays["final"])


def test_large_photographs_go_in_strips_and_show_no_seams(monkeypatch):
    picture = np.repeat(photograph(300, 200)[..., None], 3, axis=2)
    square = teal_and_orange(gray_square(picture, 64)[None].astype(np.float32) / 255)[0]
    for function in (composite, upsample):
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


@pytest.mark.parametrize("strong", [False, True])
def test_integers_floats_and_tensors_get_one_picture(strong):
    """Random colors: weak ones stay in the gamut, strong ones are clipped."""
    rng = np.random.default_rng(0)
    photo, square = rng.integers(0, 256, (64, 64, 3), np.uint8), rng.random((64, 64, 3), np.float32)
    if not strong:
        photo, square = 110 + photo // 8, (0.45 + square / 10).astype(np.float32)
    floats = composite(square, (photo / 255).astype(np.float32))
    unit = photo / np.float32(255)
    tensors = composite_tensors(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (square, unit)))
    assert np.abs(floats - tensors[0].permute(1, 2, 0).numpy()).max() < 1e-6
    assert np.abs(composite(square, photo / 255) - floats).max() < 1e-6
    deep = composite(square, photo.astype(np.uint16) * 257)
    assert np.abs(deep / 65535 - floats).max() < 1.01 * 0.5 / 65535
    # DeOldify's 8-bit chroma is rounded before it becomes color, and cannot hold the V of the strongest reds.
    v = 0.877 * (square[..., 0] - REC601.luma(*square.transpose(2, 0, 1)))
    apart = np.abs(composite(square, photo) - 255 * floats)[np.abs(v) < 0.495]
    assert len(apart) > 3000 and apart.mean() < 0.6 and apart.max() < 3


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
