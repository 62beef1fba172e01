import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from ycbcr import rgb_to_ycbcr, ycbcr_to_rgb

from nogan.common import color
from nogan.common.smoothing import DebiasedEMA
from nogan.data import scenes
from nogan.evaluation.metrics import (
    PSNR_CEILING,
    ChromaFrechet,
    HeldOutMetrics,
    ab_shift,
    chroma_distance,
    chroma_frechet,
    colorfulness,
    frechet_distance,
    orange_red_share,
    psnr,
    rgb_to_lab,
)


def _constant(*rgb, size=8):
    return torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, size, size) / 255


def _two_colors(left, right, size=8):
    image = _constant(*left, size=size).clone()
    image[..., size // 2 :] = _constant(*right, size=size)[..., size // 2 :]
    return image


def _draw(count, seed=0, size=64):
    images = np.stack([scenes.draw_scene(seed, index, size) for index in range(count)])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def truth():
    return _draw(64)


def _scale_chroma(rgb, factor):
    y, cb, cr = rgb_to_ycbcr(rgb).split(1, dim=1)
    return ycbcr_to_rgb(torch.cat([y, factor * cb, factor * cr], 1)).clamp(0, 1)


def _turn_hue(rgb, degrees):
    y, cb, cr = rgb_to_ycbcr(rgb).split(1, dim=1)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return ycbcr_to_rgb(torch.cat([y, cos * cb - sin * cr, sin * cb + cos * cr], 1)).clamp(0, 1)


# CIELAB of the sRGB primaries under D65, as printed in the usual tables (e.g. Lindbloom's calculator).
@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((119, 119, 119), (50.03, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colors(rgb, lab):
    assert rgb_to_lab(_constant(*rgb))[0, :, 0, 0].tolist() == pytest.approx(lab, abs=0.02)


def test_colorfulness_by_hand():
    assert colorfulness(_constant(90, 90, 90)).item() == 0
    # One color: no variance. Red: rg = 255, yb = 127.5.
    assert colorfulness(_constant(255, 0, 0)).item() == pytest.approx(0.3 * math.hypot(255, 127.5), rel=1e-5)
    # Half red (rg 100, yb 50), half green (rg -100, yb 50): the signed rg average out, and vary by 100.
    assert colorfulness(_two_colors((100, 0, 0), (0, 100, 0))).item() == pytest.approx(100 + 0.3 * 50, rel=1e-5)
    # Red against cyan: rg ±100, yb ±50.
    opposite = _two_colors((100, 0, 0), (0, 100, 100))
    assert colorfulness(opposite).item() == pytest.approx(math.hypot(100, 50), rel=1e-5)


def test_colorfulness_is_per_image_blind_to_brightness_and_place(truth):
    batch = torch.cat([truth[:3], color.to_gray(truth[:1])])
    values = colorfulness(batch)
    assert values.shape == (4,)
    assert values[3] < 1e-3
    assert torch.allclose(colorfulness(batch[1:2]), values[1:2])
    assert torch.allclose(colorfulness(batch.flip(-1)), values, rtol=1e-4)
    assert torch.allclose(colorfulness(batch * 0.5 + 0.2), values * 0.5, rtol=1e-3, atol=1e-3)
    assert torch.allclose(colorfulness(batch.to(torch.float64)).float(), values)


def test_psnr_by_hand():
    target = torch.full((3, 3, 8, 8), 0.5)
    output = target + torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1)
    assert psnr(output, target).tolist() == pytest.approx([20, 40, PSNR_CEILING], abs=1e-3)
    with pytest.raises(ValueError, match=r"\(3, 3, 4, 8\)"):
        psnr(output[:, :, :4], target)


def test_ab_shift_and_its_sign(truth):
    assert ab_shift(truth[:2], truth[:2]).abs().max() == 0
    red, gray = _constant(255, 0, 0), _constant(120, 120, 120)
    assert ab_shift(red, gray)[0].tolist() == pytest.approx([80.09, 67.20], abs=0.02)
    assert ab_shift(gray, red)[0].tolist() == pytest.approx([-80.09, -67.20], abs=0.02)


def test_orange_red_share():
    for rgb, share in {
        (255, 0, 0): 1,  # red, hue 40
        (255, 140, 0): 1,  # dark orange, hue 64
        (255, 255, 0): 0,  # yellow, hue 103
        (255, 0, 255): 0,  # magenta, hue 328
        (0, 0, 255): 0,
        (128, 128, 128): 0,
        (224, 190, 172): 0,  # pale skin: the hue, but a chroma of 18
    }.items():
        assert orange_red_share(_constant(*rgb)).item() == share, rgb
    assert orange_red_share(_two_colors((255, 0, 0), (0, 0, 255))).item() == 0.5


def test_frechet_distance_of_known_gaussians():
    mean, other = torch.tensor([1.0, 2.0]), torch.tensor([4.0, -2.0])
    # Commuting covariances: |difference of means|² + sum of (difference of deviations)².
    a, b = torch.diag(torch.tensor([4.0, 9.0])), torch.diag(torch.tensor([1.0, 25.0]))
    assert frechet_distance(mean, a, other, b) == pytest.approx(25 + 1 + 4, rel=1e-12)
    # In one dimension, whatever the signs; and singular covariances.
    zero = torch.zeros(2, 2)
    assert frechet_distance(mean, a, mean, zero) == pytest.approx(13, rel=1e-12)
    assert frechet_distance(mean, zero, other, zero) == pytest.approx(25, rel=1e-12)


def test_frechet_distance_against_the_general_closed_form():
    rng = np.random.default_rng(0)
    for dimensions in (2, 5, 12):
        roots = rng.normal(size=(2, dimensions, dimensions))
        a, b = (root @ root.T for root in roots)
        means = rng.normal(size=(2, dimensions))
        # tr (A^½ B A^½)^½ is the sum of the square roots of the eigenvalues of the unsymmetric A B.
        cross = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0)).sum()
        expected = ((means[0] - means[1]) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * cross
        first, second = (
            (torch.from_numpy(means[0]), torch.from_numpy(a)),
            (torch.from_numpy(means[1]), torch.from_numpy(b)),
        )
        assert frechet_distance(*first, *second) == pytest.approx(expected, rel=1e-8)
        assert frechet_distance(*second, *first) == pytest.approx(expected, rel=1e-8)
        assert frechet_distance(*first, *first) == pytest.approx(0, abs=1e-9)


def test_chroma_frechet_is_zero_on_the_same_set_in_any_order_and_small_on_another_draw(truth):
    assert chroma_frechet(truth, truth) == pytest.approx(0, abs=1e-6)
    assert chroma_frechet(truth.flip(0), truth) == pytest.approx(0, abs=1e-6)
    assert chroma_frechet(_draw(64, seed=1), truth) < 0.1 * chroma_frechet(color.to_gray(truth), truth)


def test_chroma_frechet_grows_with_desaturation(truth):
    distances = [chroma_frechet(_scale_chroma(truth, factor), truth) for factor in (1.0, 0.9, 0.75, 0.5, 0.25, 0.0)]
    assert all(later > 1.5 * earlier + 0.1 for earlier, later in pairwise(distances))


def test_chroma_frechet_is_large_for_a_turned_hue(truth):
    distances = [chroma_frechet(_turn_hue(truth, angle), truth) for angle in (0, 10, 20, 60, 120)]
    assert all(later > 1.2 * earlier + 1 for earlier, later in pairwise(distances))
    assert distances[2] > chroma_frechet(_scale_chroma(truth, 0.8), truth)
    # Yellow sky over blue ground: nearly the right chroma, on the wrong lightness.
    assert chroma_frechet(_turn_hue(truth, 180), truth) > chroma_frechet(_scale_chroma(truth, 0.6), truth)


def test_chroma_frechet_punishes_averaged_balloons_and_pardons_other_hues(truth, monkeypatch):
    shuffled = dict(zip(scenes.BALLOON_HUES, np.roll(scenes.BALLOON_HUES, 2), strict=True))
    monkeypatch.setattr(scenes, "BALLOON_HUES", tuple(shuffled.values()))
    vivid = _draw(len(truth))
    by_hue = []
    for hue in shuffled:
        monkeypatch.setattr(scenes, "BALLOON_HUES", (hue,) * 5)
        by_hue.append(_draw(len(truth)))
    averaged = torch.stack(by_hue).median(0).values  # what an L1 loss asks for
    assert psnr(averaged, truth).mean() > psnr(vivid, truth).mean() + 1
    assert chroma_frechet(averaged, truth) > 5 * chroma_frechet(vivid, truth)


def test_chroma_frechet_compares_sizes_and_adds_up_over_batches(truth):
    output = _scale_chroma(truth, 0.6)
    whole = chroma_frechet(output, truth)
    streamed = ChromaFrechet()
    for start in range(0, len(truth), 24):
        streamed.update(output[start : start + 24], truth[start : start + 24])
    assert streamed.compute() == pytest.approx(whole, rel=1e-6)
    larger = _draw(len(truth), size=96)
    assert chroma_frechet(larger, truth) < 0.02 * whole
    with pytest.raises(ValueError, match="no image"):
        ChromaFrechet().compute()


def test_held_out_metrics_are_those_of_the_whole_set(truth):
    output = _turn_hue(_scale_chroma(truth, 0.8), 15)
    metrics = HeldOutMetrics()
    for start in (0, 20, 60):
        metrics.update(output[start : start + 40 if start else 20], truth[start : start + 40 if start else 20])
    found = metrics.compute()
    shift = ab_shift(output, truth).mean(0)
    expected = {
        "colorfulness": colorfulness(output).mean(),
        "colorfulness_truth": colorfulness(truth).mean(),
        "colorfulness_ratio": colorfulness(output).mean() / colorfulness(truth).mean(),
        "psnr": psnr(output, truth).mean(),
        "chroma_fd": chroma_frechet(output, truth),
        "a_shift": shift[0],
        "b_shift": shift[1],
        "orange_red": orange_red_share(output).mean(),
        "orange_red_truth": orange_red_share(truth).mean(),
    }
    assert list(found) == list(expected)
    assert all(type(value) is float for value in found.values())
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-4)


def test_held_out_sums_of_two_processes_add_up(truth):
    output = _scale_chroma(truth, 0.7)
    whole, first, second = HeldOutMetrics(), HeldOutMetrics(), HeldOutMetrics()
    whole.update(output, truth)
    first.update(output[:30], truth[:30])
    second.update(output[30:], truth[30:])
    for name, value in first.sums.items():
        value += second.sums[name]
    assert first.compute() == pytest.approx(whole.compute(), rel=1e-5)


def test_held_out_metrics_of_perfect_gray_and_missing_images(truth):
    perfect = HeldOutMetrics()
    perfect.update(truth, truth)
    figures = perfect.compute()
    assert figures["colorfulness_ratio"] == 1
    assert figures["psnr"] == pytest.approx(PSNR_CEILING)
    assert figures["chroma_fd"] == pytest.approx(0, abs=1e-6)
    assert math.isnan(_figures(_constant(9, 9, 9), _constant(9, 9, 9))["colorfulness_ratio"])
    with pytest.raises(ValueError, match="no image"):
        HeldOutMetrics().compute()
    with pytest.raises(ValueError, match="must be equal"):
        HeldOutMetrics().update(truth[:2], truth[:3])


def _figures(output, target):
    metrics = HeldOutMetrics()
    metrics.update(output, target)
    return metrics.compute()


def test_ema_is_debiased():
    ema = DebiasedEMA(0.98)
    assert math.isnan(ema.value)
    assert ema.update(5.0) == pytest.approx(5)
    assert ema.update(3.0) == pytest.approx((0.98 * 5 + 3) / 1.98)
    for _ in range(2000):
        ema.update(1.0)
    assert ema.value == pytest.approx(1)


def test_ema_ignores_what_is_not_finite_and_goes_on_from_its_state():
    ema = DebiasedEMA(0.9)
    assert math.isnan(ema.update(math.nan))
    ema.update(2.0)
    before = ema.update(4.0)
    assert ema.update(math.inf) == before
    state = ema.state_dict()
    assert all(type(value) in (int, float) for value in state.values())
    other = DebiasedEMA()
    other.load_state_dict(state)
    assert other.update(7.0) == ema.update(7.0)
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        DebiasedEMA(1.5)


def test_chroma_distance_is_the_lab_distance_without_lightness():
    gray, lighter = torch.full((1, 3, 8, 8), 0.3), torch.full((1, 3, 8, 8), 0.8)
    assert chroma_distance(gray, lighter).item() == pytest.approx(0, abs=1e-3)
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    a, b = 80.09, 67.20  # of sRGB red (Lindbloom's calculator, D65)
    assert chroma_distance(red, gray).item() == pytest.approx((a * a + b * b) ** 0.5, abs=0.1)


def test_psnr_agrees_with_torchmetrics():
    from torchmetrics.functional.image import peak_signal_noise_ratio

    rng = torch.Generator().manual_seed(0)
    output, target = torch.rand(4, 3, 16, 16, generator=rng), torch.rand(4, 3, 16, 16, generator=rng)
    expected = peak_signal_noise_ratio(output, target, data_range=1.0, reduction="none", dim=(1, 2, 3))
    assert torch.allclose(psnr(output, target), expected, atol=1e-4)


def test_opencv_is_not_needed():
    script = "import sys; import nogan.evaluation.held_out, nogan.evaluation.metrics; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
