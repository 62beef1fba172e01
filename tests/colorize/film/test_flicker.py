"""Measuring flicker, and smoothing chroma along the motion."""

import cv2
import numpy as np
import pytest
from media import flickering, moving_scene, teal_and_orange

from nogan.colorize.film.flicker import flicker, js_divergence, measure_motion, warp
from nogan.colorize.film.shots import Scene, find_scenes, read_scenes, thumbnail, write_scenes
from nogan.colorize.film.stabilize import Stabilizer
from nogan.common.errors import UserError


def smoothed(frames, squares, kinds=None, begins=(), strength=1.0):
    """The smoothed squares of a film, in order."""
    stabilizer = Stabilizer(strength)
    result = []
    for number, (gray, square) in enumerate(zip(frames, squares, strict=True)):
        kind = "shot" if kinds is None else kinds[number]
        result += stabilizer.take(number, np.ascontiguousarray(gray), square, kind=kind, begins=number in begins)
    result += stabilizer.finish()
    assert [one.tag for one in result] == list(range(len(result)))
    return [one.smooth for one in result]


def hues(squares):
    """The mean difference of red and blue in each frame."""
    return np.array([square[..., 0].mean() - square[..., 2].mean() for square in squares])


def lit(gray, generator, sigma=0.05):
    """A frame whose light flickers, with grain."""
    return (gray * (1 + generator.normal(0, sigma)) + generator.normal(0, 8, gray.shape)).clip(0, 255).astype(np.uint8)


def test_neither_grain_nor_flicker_of_the_light_stop_the_smoothing():
    generator, network = np.random.default_rng(3), flickering()
    still = next(moving_scene(1, 64, 64))
    for scene in ([still] * 32, list(moving_scene(32, 64, 64))):
        frames = [lit(gray, generator) for gray in scene]
        squares = [network(gray[None].astype(np.float32) / 255)[0] for gray in scene]
        before, after = hues(squares), hues(smoothed(frames, squares))
        # Steadier than the plain mean of 15 frames.
        mean = np.array([before[max(0, n - 7) : n + 8].mean() for n in range(32)])
        assert after.std() < 0.9 * mean.std() < 0.5 * before.std()
    half = hues(smoothed(frames, squares, strength=0.5))
    assert after.std() < half.std() < before.std()
    assert np.allclose(hues(smoothed(frames, squares, strength=0.0)), before, atol=1e-4)


def test_smoothing_follows_the_motion_and_stops_at_a_cut():
    frames = list(moving_scene(6, 128, 128))
    other = [255 - np.rot90(gray) for gray in frames]
    squares = [teal_and_orange(gray[None].astype(np.float32) / 255)[0] for gray in frames + other]
    # Colors that are true to the moving wall need no smoothing, and get none.
    result = smoothed(frames + other, squares, begins={6})
    for smooth, square in zip(result, squares, strict=True):
        assert np.abs(smooth - square)[14:-14, 14:-14].mean() < 0.01


def test_a_flash_is_left_alone_and_led_over():
    generator, network = np.random.default_rng(4), flickering()
    still = next(moving_scene(1, 64, 64))
    frames = [lit(still, generator, 0) for _ in range(24)]
    squares = [network(still[None].astype(np.float32) / 255)[0] for _ in frames]
    frames[12] = np.full_like(still, 250)
    squares[12] = np.full_like(squares[0], 0.9)
    kinds = ["flash" if number == 12 else "shot" for number in range(24)]
    result = smoothed(frames, squares, kinds)
    assert np.allclose(result[12], squares[12], atol=1e-4)
    after = np.delete(hues(result), 12)
    assert after.std() < 0.3 * np.delete(hues(squares), 12).std() and np.abs(np.diff(after)).max() < 0.03


def picture(seed):
    small = np.random.default_rng(seed).uniform(0, 255, (8, 8)).astype(np.float32)
    return cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def scenes_of(frames, **options):
    generator = np.random.default_rng(0)
    grainy = [(f + generator.normal(0, 8, f.shape)).clip(0, 255).astype(np.uint8) for f in frames]
    return [(s.first, s.end, s.kind) for s in find_scenes([thumbnail(gray) for gray in grainy], **options)]


def test_cuts_dissolves_and_flashes_are_told_apart():
    a, b = picture(1), picture(2)
    assert scenes_of([a] * 20 + [b] * 20) == [(0, 20, "shot"), (20, 40, "shot")]
    assert scenes_of([a] * 12 + [np.full_like(a, 250)] + [a] * 12) == [
        (0, 12, "shot"), (12, 13, "flash"), (13, 25, "shot"),
    ]  # fmt: skip
    mix = [a * (1 - share) + b * share for share in np.linspace(0, 1, 24)]
    kinds = scenes_of([a] * 20 + mix + [b] * 20)
    assert [kind for _, _, kind in kinds] == ["shot", "dissolve", "shot"]
    assert kinds[1][0] == pytest.approx(20, abs=6) and kinds[1][1] == pytest.approx(44, abs=6)
    light = np.random.default_rng(1).normal(1, 0.15, 30)
    assert scenes_of([a * light[n] for n in range(30)]) == [(0, 30, "shot")]  # the light flickers
    pan = [np.roll(a, 4 * n, axis=1) for n in range(30)]
    assert scenes_of(pan) == [(0, 30, "shot")]
    assert len(scenes_of([a] * 20 + [b] * 20, threshold=5.0)) == 1
    assert scenes_of([a]) == [(0, 1, "shot")] and scenes_of([]) == []


def test_scenes_are_written_and_read_back(tmp_path):
    scenes = [Scene(0, 12), Scene(12, 14, "flash"), Scene(14, 40, "dissolve")]
    write_scenes(tmp_path / "scenes.csv", scenes)
    assert read_scenes(tmp_path / "scenes.csv") == scenes
    for lines in ("0,12,shot\n13,20,shot", "0,12,fade", "0,0,shot", "", "0,12"):
        (tmp_path / "wrong.csv").write_text(f"first,end,kind\n{lines}\n")
        with pytest.raises(UserError, match=r"--scenes .*wrong\.csv"):
            read_scenes(tmp_path / "wrong.csv")


def test_motion_and_divergence_against_known_values():
    before, now = (np.ascontiguousarray(gray) for gray in moving_scene(2, 160, 128))  # slides 2 px to the left
    motion = measure_motion(now, before)
    assert np.abs(motion.flow[16:-16, 16:-16] - [2, 0]).mean() < 0.1
    assert motion.visible[16:-16, 16:-16].mean() > 0.95 and not motion.visible[:, -1].any()
    assert np.abs(warp(before, motion.flow).astype(int) - now)[16:-16, 16:-16].mean() < 1

    p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert js_divergence(p, q) == pytest.approx(np.log(2)) and js_divergence(p, p) == 0
    # By hand: p = (1, 0), m = (3/4, 1/4): (ln 4/3 + (1/2) ln 2/3 + (1/2) ln 2) / 2.
    assert js_divergence(p, np.array([0.5, 0.5])) == pytest.approx((np.log(4 / 3) + np.log(4 / 3) / 2) / 2)
    still = [np.full((32, 32, 3), 90, np.uint8)] * 6
    assert set(flicker(still).cdc.values()) == {0} and flicker(still).warp_error == 0
    blinking = [np.full((32, 32, 3), 90 + 60 * (index % 2), np.uint8) for index in range(6)]
    assert flicker(blinking).cdc == pytest.approx({1: np.log(2), 2: 0, 4: 0})
