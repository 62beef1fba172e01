"""Measuring flicker, and smoothing chroma along the motion."""

import numpy as np
import pytest
from media import flickering, moving_scene, teal_and_orange

from nogan.colorize.film.flicker import flicker, js_divergence, measure_motion, warp
from nogan.colorize.film.stabilize import Stabilizer


def test_grain_does_not_stop_the_smoothing():
    generator, network, stabilizer = np.random.default_rng(3), flickering(), Stabilizer()
    raw, smooth = [], []
    for gray in moving_scene(16, 128, 128):
        grainy = (gray + generator.normal(0, 12, gray.shape)).clip(0, 255).astype(np.uint8)
        square = network(gray[None].astype(np.float32) / 255)[0]
        raw.append(square[..., 0].mean() - square[..., 2].mean())
        result, _ = stabilizer.smooth(square, grainy)
        smooth.append(result[..., 0].mean() - result[..., 2].mean())
    assert np.abs(np.diff(smooth[4:])).mean() < 0.35 * np.abs(np.diff(raw[4:])).mean()


def test_smoothing_follows_the_motion_and_stops_at_a_cut():
    frames = [np.ascontiguousarray(gray) for gray in moving_scene(6, 128, 128)]
    stabilizer = Stabilizer()
    for gray in frames:  # colors that are true to the moving wall need no smoothing, and get none
        square = teal_and_orange(gray[None].astype(np.float32) / 255)[0]
        smooth, _ = stabilizer.smooth(square, gray)
    assert np.abs(smooth - square)[8:-8, 8:-8].mean() < 0.01

    other = np.ascontiguousarray(255 - np.rot90(frames[0]))
    cut, _ = stabilizer.smooth(teal_and_orange(other[None].astype(np.float32) / 255)[0], other)
    assert np.abs(cut - teal_and_orange(other[None].astype(np.float32) / 255)[0]).max() < 1e-3


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
