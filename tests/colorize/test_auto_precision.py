"""Which precision ``--precision auto`` takes."""

import numpy as np
import pytest

from nogan.colorize import precision
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.precision import choose, difference


def network(off):
    """Fills a picture with a color whose chroma is ``off`` levels further on in bfloat16, in every 10th column."""

    def run(gray, bfloat16):
        rgb = np.full((*gray.shape, 3), 0.5, np.float32)
        if bfloat16:
            rgb[:, :, ::10, 2] += off / 255 * 2
        return rgb

    return run


@pytest.mark.parametrize(("off", "chosen"), [(0.5, "bf16"), (5.0, "fp32"), (float("nan"), "fp32")])
def test_auto_is_bfloat16_where_colors_stay_the_same(monkeypatch, off, chosen):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert choose(network(off), "cpu") == chosen
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    assert choose(network(off), "cpu") == "fp32"


def test_a_difference_is_in_levels_of_chroma():
    gray, blue = np.full((50, 50, 3), 0.5), np.full((50, 50, 3), 0.5)
    blue[..., 2] += 0.1
    mean, high = difference(gray, blue)
    # Cb moves by 0.1 · (1 - 0.114) / 1.772 = 0.05, Cr by -0.1 · 0.114 / 1.402 = -0.0081
    assert high == pytest.approx(0.05 * 255, rel=1e-3) and mean == pytest.approx((0.05 + 0.0081) / 2 * 255, rel=1e-2)
    brighter = gray + 0.2
    assert max(difference(gray, brighter)) < 1e-6


def test_a_checkpoint_is_loaded_in_the_precision_that_auto_chooses(monkeypatch, run_dir):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    gray = np.random.default_rng(0).integers(0, 255, (1, 64, 64), np.uint8)
    for levels, expected in ((1e9, "bf16"), (0.0, "fp32")):
        monkeypatch.setattr(precision, "MEAN_LEVELS", levels)
        monkeypatch.setattr(precision, "HIGH_LEVELS", levels)
        found, wanted = (Colorizer.load(run_dir, device="cpu", precision=p).predict(gray) for p in ("auto", expected))
        assert np.array_equal(found, wanted)
