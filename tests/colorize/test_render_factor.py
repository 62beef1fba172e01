"""Choosing and combining render factors, with networks whose whims are known."""

import cv2
import numpy as np
import pytest
from media import make_film

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film
from nogan.colorize.render_factor import STEPS, best_factor, combined_squares, factor_weights, factors

GRAY = cv2.resize(np.random.default_rng(0).uniform(60, 200, (6, 8)).astype(np.float32), (120, 90)).astype(np.uint8)
TRUTH = np.array([0.08, -0.06], np.float32)  # U and V
SIZE = 96  # px, that the networks below pretend to be trained at
FACTORS = factors(SIZE)


def network(chroma_of):
    """A network that gives the chroma ``chroma_of(factor)`` everywhere."""

    def run(gray):
        chroma = np.array(chroma_of(gray.shape[-1] // 16), np.float32) + 0.5
        yuv = np.concatenate([gray[..., None], np.broadcast_to(chroma, (*gray.shape, 2))], axis=-1)
        return np.stack([cv2.cvtColor(picture, cv2.COLOR_YUV2RGB) for picture in yuv]).clip(0, 1)

    return Colorizer([(run, 1.0)], trained_size=SIZE)


def chroma_of(square):
    return cv2.cvtColor(square, cv2.COLOR_RGB2YUV)[..., 1:] - 0.5


@pytest.mark.parametrize(
    ("size", "expected"),
    [(192, (12, 17, 24, 34)), (96, (6, 8, 12, 17)), (32, (4, 6)), (1200, (75, 100)), (9999, (100,))],
)
def test_the_ladder_begins_at_the_size_of_training(size, expected):
    assert factors(size) == expected


@pytest.mark.parametrize("size", [32, 9999])
def test_a_short_ladder_does(size):
    colorizer = Colorizer([(lambda gray: np.repeat(gray[..., None], 3, axis=-1), 1.0)], trained_size=size)
    assert np.abs(colorizer.colorize(GRAY, "auto").astype(int) - GRAY[..., None]).max() <= 2
    assert best_factor(colorizer, [GRAY]) in factors(size)


@pytest.mark.parametrize("odd", range(STEPS))
def test_a_whim_of_one_factor_hardly_counts(odd):
    colorizer = network(lambda factor: [-0.12, 0.1] if factor == FACTORS[odd] else TRUTH)
    chroma = chroma_of(combined_squares(colorizer, GRAY))
    assert np.abs(chroma - TRUTH).mean() < 0.035
    assert np.abs(chroma - TRUTH).mean() < 0.5 * np.abs(np.array([-0.2, 0.16])).mean()


def test_where_all_agree_nothing_changes():
    square = combined_squares(network(lambda factor: TRUTH), GRAY)
    assert square.shape == (16 * FACTORS[-1],) * 2 + (3,)
    assert np.abs(chroma_of(square) - TRUTH).max() < 0.01


def test_weights_sum_to_one_and_differ_from_place_to_place():
    chroma = np.zeros((5, 64, 64, 2), np.float32) + TRUTH
    chroma[2, :, :32] *= -1  # the middle factor is off on the left
    weights = factor_weights(chroma)
    assert weights.shape == (5, 64, 64, 1) and np.allclose(weights.sum(0), 1, atol=1e-5)
    assert weights[2, :, :16].mean() < 0.05 < 0.15 < weights[2, :, 48:].mean()


def test_the_more_factors_disagree_the_paler():
    saturations = []
    for spread in (0, 0.6, 1.2):
        angles = dict(zip(FACTORS, np.linspace(-spread, spread, len(FACTORS)), strict=True))
        colorizer = network(lambda f, a=angles: [0.1 * np.cos(a[f]), 0.1 * np.sin(a[f])])
        saturations.append(np.linalg.norm(chroma_of(combined_squares(colorizer, GRAY)), axis=-1).mean())
    assert saturations[0] > 0.098 and saturations[0] > 1.02 * saturations[1] > 1.02 * 1.02 * saturations[2] > 0.03


def test_a_film_gets_the_factor_that_its_neighbors_confirm():
    wild = {FACTORS[0]: [0.1, 0.1], FACTORS[3]: [0.1, -0.1]}
    assert best_factor(network(lambda factor: wild.get(factor, TRUTH)), [GRAY, 255 - GRAY]) in FACTORS[1:3]


def test_auto_is_a_render_factor_like_any_other(tmp_path):
    colorizer = network(lambda factor: TRUTH)
    expected = colorizer.colorize(GRAY, 20).astype(int)
    assert np.abs(colorizer.colorize(GRAY, "auto") - expected).max() <= 4
    make_film(tmp_path / "wall.mp4", frames=4)
    report = colorize_film(colorizer, tmp_path / "wall.mp4", tmp_path / "out.mp4", FilmOptions("auto"))
    assert report.frames == 4
