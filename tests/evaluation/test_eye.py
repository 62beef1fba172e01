"""The measures of what the eye sees, on pictures whose values follow from their definition."""

import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nogan.evaluation.eye import (
    EVEN,
    STRONG_CHROMA,
    WRONG_DISTANCE,
    false_variation,
    quality,
    unexplained,
    wrong_strong,
    wrong_strong_seen,
)
from nogan.evaluation.metrics import rgb_to_lab

ROOT = Path(__file__).parents[2]


def lab_to_rgb(lightness, a, b):
    """sRGB of one CIELAB color (D65), by the inverse formulas of CIE 15; may be out of gamut."""
    y = (lightness + 16) / 116
    white = torch.tensor([0.95047, 1.0, 1.08883])
    xyz = torch.tensor([y + a / 500, y, y - b / 200])
    xyz = torch.where(xyz > 6 / 29, xyz**3, 3 * (6 / 29) ** 2 * (xyz - 4 / 29)) * white
    matrix = torch.tensor(
        [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
    )
    linear = matrix @ xyz
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0) ** (1 / 2.4) - 0.055)


def plain(lightness, a, b, size=64):
    return lab_to_rgb(lightness, a, b)[None, :, None, None].expand(1, 3, size, size).clone()


def with_patch(picture, color, rows, columns):
    picture = picture.clone()
    picture[:, :, rows, columns] = color[None, :, None, None]
    return picture


def test_the_inverse_used_here_is_right():
    assert torch.allclose(rgb_to_lab(plain(60, 20, -30))[0, :, 0, 0], torch.tensor([60.0, 20, -30]), atol=0.01)


@pytest.mark.parametrize(
    ("output", "truth", "wrong"),
    [
        ((60, 0, 0), (60, -50, 0), False),  # gray where it is green: wrong, but not strong
        ((60, 31, 0), (60, -20, 0), True),  # 51 apart, and strong
        ((60, 31, 0), (60, -10, 0), False),  # 41 apart
        ((60, 29, 0), (60, -30, 0), False),  # 59 apart, but pale
        ((60, 0, -46), (60, 0, 0), True),  # blue on gray
        ((60, 0, -44), (60, 0, 0), False),
        ((60, 0, -46), (90, 0, -46), False),  # the lightness does not count
    ],
)
def test_wrong_strong_color_is_strong_and_far_from_the_truth(output, truth, wrong):
    assert (STRONG_CHROMA, WRONG_DISTANCE) == (30, 45)
    assert wrong_strong(plain(*output), plain(*truth)).item() == float(wrong)


def test_wrong_strong_is_a_share_of_the_pixels_of_each_picture():
    truth = plain(60, 0, 0)
    cloud = with_patch(truth, lab_to_rgb(60, -50, 40), slice(0, 16), slice(0, 32))  # an eighth of 64 x 64
    dot = with_patch(truth, lab_to_rgb(60, -50, 40), slice(0, 8), slice(0, 8))  # 1/64
    shares = wrong_strong(torch.cat([truth, dot, cloud]), truth.expand(3, -1, -1, -1))
    assert shares.tolist() == [0, 1 / 64, 1 / 8]
    assert wrong_strong_seen(shares).tolist() == [False, False, True]  # 2 % of the area


def test_variation_where_the_truth_has_none():
    truth = plain(60, 10, 0)
    stripes = truth.clone()
    stripes[..., ::2] = lab_to_rgb(60, 18, 0)[None, :, None, None]  # a* 10 and 18 by turns: deviation 4
    assert false_variation(truth, truth).item() == pytest.approx(0, abs=1e-3)
    assert false_variation(plain(60, 40, 0), truth).item() == pytest.approx(0, abs=1e-3)  # an even wrong color
    assert false_variation(stripes, truth).item() == pytest.approx(4, abs=0.01)
    assert math.isnan(false_variation(truth, stripes).item())  # 4 is above EVEN: the truth varies itself
    faint = truth.clone()
    faint[..., ::2] = lab_to_rgb(60, 14, 0)[None, :, None, None]  # deviation 2: noise, which is subtracted
    assert EVEN == 3
    assert false_variation(stripes, faint).item() == pytest.approx(2, abs=0.01)


def test_chroma_that_surroundings_and_lightness_do_not_explain():
    sky = plain(70, 0, 0)
    patch = slice(24, 32), slice(24, 40)  # 1/32 of the picture
    assert unexplained(sky).item() == 0
    assert unexplained(plain(60, 50, 30)).item() == 0  # strong, but the same everywhere
    assert unexplained(with_patch(sky, lab_to_rgb(70, -50, 45), *patch)).item() == 1 / 32
    assert unexplained(with_patch(sky, lab_to_rgb(40, 50, 30), *patch)).item() == 0  # all that is so dark is red
    assert unexplained(with_patch(sky, lab_to_rgb(70, -15, 15), *patch)).item() == 0  # pale


def test_quality_prefers_clean_colors_to_blotches_and_any_to_gray():
    truth = with_patch(plain(60, 30, 20), lab_to_rgb(60, -20, 30), slice(0, 64), slice(0, 32))
    gray, paler = (plain(60, 0, 0), with_patch(plain(60, 24, 16), lab_to_rgb(60, -16, 24), slice(0, 64), slice(0, 32)))
    cloud = with_patch(truth, lab_to_rgb(60, -20, -40), slice(12, 52), slice(36, 60))
    assert quality(truth, truth).item() == pytest.approx(0, abs=1e-3)
    values = quality(torch.cat([paler, cloud, gray]), truth.expand(3, -1, -1, -1))
    assert 0 > values[0] > values[1] > -20
    assert values[0] == pytest.approx(math.log(0.8), abs=0.1)  # a fifth duller
    assert values[2] < -3  # nothing but dull: ln of the truth's colorfulness
    other = with_patch(truth, lab_to_rgb(60, -20, -40), slice(0, 64), slice(32, 64))  # half of it, evenly wrong
    assert quality(other, truth).item() == pytest.approx(-10 * 0.5, abs=0.2)


def test_values_hardly_depend_on_the_size_and_not_on_the_batch():
    coarse = torch.rand(3, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    small, large = (F.interpolate(coarse, scale_factor=scale, mode="bilinear") for scale in (16, 80))
    for measure in (wrong_strong, false_variation, lambda output, _: unexplained(output)):
        values = measure(small, torch.full_like(small, 0.5))
        assert (values > 0.02).all()
        assert torch.allclose(values, measure(large, torch.full_like(large, 0.5)), rtol=0.1)
        alone = [measure(picture[None], torch.full_like(picture, 0.5)[None]) for picture in small]
        assert torch.allclose(values, torch.cat(alone))


@pytest.mark.parametrize("measure", [wrong_strong, false_variation])
def test_other_shapes_are_refused(measure):
    with pytest.raises(ValueError, match=r"shape \(1, 3, 8, 8\), target \(1, 3, 8, 9\)"):
        measure(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))


def test_quality_agrees_with_the_recorded_choices_as_the_record_says():
    """The weights were chosen by them: whoever changes one measures again."""
    folder = ROOT / "experiments" / "evaluation"
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import eye
    finally:
        sys.path.pop(0)
    files, values = [folder / "choices.json", *sorted(folder.glob("choices-?.json"))], eye.read_values(folder)
    first, *later = (eye.read_choices(file) for file in files)
    parted = eye.parts(first, [choice for choices in later for choice in choices])
    assert [len(part) for part in parted.values()] == [918, 260, 658, 427, 491]
    record = (ROOT / "experiments" / "eye.md").read_text(encoding="utf-8")
    for line in eye.table(parted, values):
        assert line in record
    assert all(row in record for row in eye.colors(parted, values) if row.startswith("|"))
    same = sum(a.chosen == b.chosen for a, b in zip(*later[:2], strict=True))
    assert f"80 to {100 * same / len(later[0]):.0f} %" in record
