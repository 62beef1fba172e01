import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ycbcr import rgb_to_ycbcr

from nogan.common import color
from nogan.data import scenes
from nogan.data.scenes import Scenes, draw_scene
from nogan.data.sources.opening import open_photographs


def _floats(image):
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def test_a_scene_is_a_function_of_seed_and_index():
    first = draw_scene(3, 7, 64)
    draw_scene(3, 8, 64)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert np.array_equal(first, draw_scene(3, 7, 64))
    for other in (draw_scene(3, 8, 64), draw_scene(4, 7, 64)):
        assert np.abs(first.astype(int) - other).mean() > 10


def test_source_draws_its_scenes_and_no_others():
    source = Scenes(seed=5, length=4)
    assert len(source) == 4
    assert np.array_equal(source.load(3, 48), draw_scene(5, 3, 48))
    for index in (-1, 4):
        with pytest.raises(IndexError):
            source.load(index, 48)


@pytest.mark.parametrize("index", range(8))
def test_the_same_scene_at_every_size(index):
    small = draw_scene(0, index, 64).astype(float)
    large = draw_scene(0, index, 192).astype(float)
    shrunk = large.reshape(64, 3, 64, 3, 3).mean(axis=(1, 3))
    another = draw_scene(0, index + 1, 64)
    assert np.abs(small - shrunk).mean() < 4
    assert np.abs(small - shrunk).mean() < np.abs(another - shrunk).mean() / 5


@pytest.mark.parametrize("size", [1, 2, 7, 16, 33, 257])
def test_any_size(size):
    assert draw_scene(0, 0, size).shape == (size, size, 3)


@pytest.mark.parametrize(("size", "count"), [(64, 250), (160, 30), (9, 30)])
def test_nothing_is_clipped(size, count):
    for index in range(count):
        rgb = scenes._draw(11, index, size)
        assert rgb.dtype == np.float32
        assert 0 <= rgb.min() < rgb.max() <= 1


def test_balloon_colors_keep_luma_and_hue_inside_the_gamut():
    luma = np.linspace(*scenes.BALLOON_LUMA, 50, dtype=np.float32)[None]
    for mode in scenes.BALLOON_HUES:
        for hue in np.deg2rad([mode - scenes.HUE_JITTER, mode, mode + scenes.HUE_JITTER]):
            for saturation in scenes.SATURATION:
                rgb = torch.from_numpy(scenes._color(luma, hue, saturation))
                assert rgb.min() >= 0
                assert rgb.max() <= 1
                y, cb, cr = rgb_to_ycbcr(rgb.double())
                assert torch.allclose(y, torch.from_numpy(luma).double(), atol=1e-6)
                assert torch.hypot(cb, cr).min() > 0.12
                angle = torch.atan2(cr, cb) - hue
                assert torch.remainder(angle + math.pi, 2 * math.pi).sub(math.pi).abs().max() < 1e-4


def test_the_gray_picture_does_not_tell_the_hue(monkeypatch):
    grays, colors = [], []
    for hue in scenes.BALLOON_HUES:
        monkeypatch.setattr(scenes, "BALLOON_HUES", (hue,) * 5)
        drawn = [torch.from_numpy(scenes._draw(2, index, 64)) for index in range(12)]
        grays.append(torch.stack([color.luma(rgb) for rgb in drawn]))
        colors.append(torch.stack(drawn))
    for gray, rgb in zip(grays[1:], colors[1:], strict=True):
        assert torch.allclose(gray, grays[0], atol=1e-5)
        assert (rgb - colors[0]).abs().mean() > 0.02


def test_hues_are_drawn_evenly_and_independently_of_luma_place_and_neighbors():
    per_scene = [scenes._random_balloons(np.random.default_rng(seed)) for seed in range(1500)]
    counts = np.bincount([len(balloons) for balloons in per_scene])
    assert counts[0] == 0
    assert (np.abs(counts[1:] / 1500 - 1 / 3) < 0.05).all()
    balloons = [balloon for group in per_scene for balloon in group]
    mode = np.array([_mode(balloon) for balloon in balloons])
    assert np.allclose(np.bincount(mode) / len(mode), 0.2, atol=0.03)
    for name in ("luma", "radius", "x", "y", "stripe"):
        value = np.array([getattr(balloon, name) for balloon in balloons])
        means = np.array([value[mode == m].mean() for m in range(5)])
        assert np.abs(means - value.mean()).max() < 0.2 * value.std(), name
    pairs = np.array([(_mode(group[0]), _mode(group[1])) for group in per_scene if len(group) > 1])
    assert abs((pairs[:, 0] == pairs[:, 1]).mean() - 0.2) < 0.05


@pytest.mark.parametrize(("cue", "told"), [(0, 0), (0.5, 0.5), (1, 1)])
def test_a_hue_cue_makes_blue_balloons_darker_than_amber_ones_and_changes_nothing_else(cue, told):
    """The share of the spread of luma that a hue explains: of a mixture of ranks and a uniform luma."""
    with_cue, without = (
        [balloon for seed in range(800) for balloon in scenes._random_balloons(np.random.default_rng(seed), hue_cue)]
        for hue_cue in (cue, 0)
    )
    luma = np.array([balloon.luma for balloon in with_cue])
    mode = np.array([_mode(balloon) for balloon in with_cue])
    means = np.array([luma[mode == index].mean() for index in (4, 0, 1, 3, 2)])  # blue, purple, red, green, amber
    assert np.diff(means) == pytest.approx([told * 0.15 / 4] * 4, abs=0.012)
    within = np.concatenate([luma[mode == index] - luma[mode == index].mean() for index in range(5)])
    assert within.std() == pytest.approx((1 - told) * 0.15 / math.sqrt(12), abs=0.003)
    assert 0.42 - 1e-9 <= luma.min() <= luma.max() <= 0.57 + 1e-9
    assert [replace(balloon, luma=0) for balloon in with_cue] == [replace(balloon, luma=0) for balloon in without]


def test_the_source_of_a_config_draws_with_its_cue(configure):
    data = configure("data=scenes", "data.seed=5", "data.hue_cue=1").data
    told = open_photographs(data).load(3, 48)
    assert np.array_equal(told, draw_scene(5, 3, 48, hue_cue=1.0))
    assert not np.array_equal(told, draw_scene(5, 3, 48))


def _mode(balloon):
    return int(np.argmin([abs(np.rad2deg(balloon.hue) - hue) for hue in scenes.BALLOON_HUES]))


def test_balloons_cover_a_tenth_to_a_fifth_and_are_more_colorful_than_the_rest(monkeypatch):
    count = 60
    whole = torch.stack([_floats(draw_scene(9, index, 64)) for index in range(count)])
    monkeypatch.setattr(scenes, "_paint_balloon", lambda *_: None)
    empty = torch.stack([_floats(draw_scene(9, index, 64)) for index in range(count)])
    covered = (whole != empty).any(1)
    share = covered.float().mean((1, 2))
    assert 0.10 < share.mean() < 0.20
    assert share.min() > 0.03
    assert share.max() < 0.35
    chroma = rgb_to_ycbcr(whole)[:, 1:].norm(dim=1)
    assert chroma[covered].mean() > 2 * chroma[~covered].mean()
