"""The gray square that the network sees."""

import numpy as np
import pytest
from PIL import Image

from nogan.colorize.square import gray_square


@pytest.mark.parametrize("shape", [(60, 90), (60, 90, 3), (700, 40, 3), (30, 500, 3), (900, 600, 3)])
def test_the_square_is_pillows_to_the_level(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR).convert("L")
    assert np.array_equal(gray_square(pixels, 64), np.asarray(expected))
    assert np.array_equal(gray_square(pixels.astype(np.uint16) * 257, 64), np.asarray(expected))
    if pixels.ndim == 2:  # a gray scan saved as RGB
        assert np.array_equal(gray_square(np.dstack([pixels] * 3), 64), np.asarray(expected))
