"""What a user may change about the colors."""

import colorsys

import numpy as np
import pytest
from media import photograph, teal_and_orange

from nogan.colorize.adjustments import Adjustments, HueLimit, Tint
from nogan.colorize.colorizer import Colorizer
from nogan.common.errors import UserError
from nogan.common.ycbcr import REC601

HUES = np.array(
    [[colorsys.hsv_to_rgb(hue / 360, 0.4, 0.6) for hue in range(360)] for _ in range(4)], np.float32
)  # a circle of weak colors


def strength(rgb):
    luma = rgb @ np.array(REC601, np.float32)
    return np.hypot(*REC601.chroma(luma, rgb[..., 0], rgb[..., 2]))


def changed(rgb=HUES, **settings):
    (result,) = Adjustments(**settings)(rgb[None])
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() <= 1
    assert np.allclose(result @ np.array(REC601), rgb @ np.array(REC601), atol=1e-5)  # the luma stays
    return result


def test_without_a_change_the_picture_is_the_same():
    assert Adjustments()(HUES[None]) is not None and np.array_equal(Adjustments()(HUES[None])[0], HUES)


def test_saturation_multiplies_chroma_as_far_as_it_fits():
    assert np.allclose(strength(changed(saturation=1.2)), 1.2 * strength(HUES), atol=1e-4)
    assert np.allclose(strength(changed(saturation=0)), 0, atol=1e-5)
    assert strength(changed(saturation=50)).max() > 2 * strength(HUES).max()


@pytest.mark.parametrize(("low", "high"), [(100, 140), (340, 20)])
def test_a_hue_limit_acts_on_its_range_and_softly_beside_it(low, high):
    factor = strength(changed(hue_limits=(HueLimit(low, high, 0.25),))) / strength(HUES)
    middle = (low + (high - low) % 360 / 2) % 360
    apart = np.abs((np.arange(360) - middle + 180) % 360 - 180)
    assert np.allclose(factor[:, apart <= 19], 0.25, atol=0.01) and np.allclose(factor[:, apart >= 36], 1, atol=0.01)
    assert np.abs(np.diff(factor[0])).max() < 0.06  # no seam
    both = changed(hue_limits=(HueLimit(0, 360, 0.5), HueLimit(low, high, 0.5)))
    assert np.allclose((strength(both) / strength(HUES))[:, apart <= 19], 0.25, atol=0.01)


def test_shadows_lose_their_color_and_lights_keep_it():
    ramp = (HUES[:1, :1] * np.linspace(0, 1.5, 300)[None, :, None]).astype(np.float32)
    before, after = strength(ramp), strength(changed(ramp, shadows=0))
    luma = ramp @ np.array(REC601)
    assert np.allclose(after[luma > 0.34], before[luma > 0.34], atol=1e-5)
    dark = (luma > 0.01) & (luma < 0.05)
    assert (after[dark] < 0.1 * before[dark]).all()


@pytest.mark.parametrize("hue", [0, 40, 220])
def test_a_tint_moves_grays_towards_its_hue_and_leaves_black_and_white(hue):
    ramp = np.linspace(0, 1, 101, dtype=np.float32)[None, :, None].repeat(3, axis=-1)
    result = changed(ramp, tint=Tint(hue, 20))
    assert np.allclose(result[0, [0, 100]], ramp[0, [0, 100]], atol=1e-6)
    found = colorsys.rgb_to_hsv(*map(float, result[0, 50]))[0] * 360
    assert abs((found - hue + 180) % 360 - 180) < 4
    assert strength(result)[0, 50] * 255 == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"saturation": -1}, "--saturation -1"),
        ({"shadows": float("nan")}, "--shadows nan"),
        ({"tint": Tint(400, 5)}, "hue of 400"),
        ({"hue_limits": (HueLimit(20, 361, 1),)}, "hue of 361"),
        ({"hue_limits": (HueLimit(20, 40, -0.5),)}, "--hue-limit -0.5"),
    ],
)
def test_wrong_values_are_said(settings, said):
    with pytest.raises(UserError, match=said):
        Adjustments(**settings)


def test_a_colorizer_applies_them_to_photographs_and_frames():
    plain, gray = (
        Colorizer([(teal_and_orange, 1.0)]),
        Colorizer([(teal_and_orange, 1.0)], adjustments=Adjustments(saturation=0)),
    )
    assert np.ptp(plain.colorize(photograph(), 6), axis=-1).max() > 50
    for factor in (6, "auto"):
        assert np.ptp(gray.colorize(photograph(), factor), axis=-1).max() <= 1
    assert np.ptp(gray.predict(photograph()[None, :48, :48]), axis=-1).max() < 1e-5  # what films call
