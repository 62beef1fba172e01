"""The words on comparisons."""

import numpy as np
import pytest

from nogan.colorize.labels import label


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_words_stand_in_the_lower_left_corner(dtype, channels):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    picture = np.full((300, 400, *channels), top // 2 or 0.5, dtype)
    before = picture.copy()
    label(picture, "original")
    differs = picture != before if not channels else (picture != before).any(axis=-1)
    rows, columns = np.nonzero(differs)
    assert rows.min() > 270 and rows.max() == 299 and columns.min() == 0 and columns.max() < 100
    assert picture.max() > 0.95 * top and picture.min() < 0.25 * top  # white on dark


def test_a_picture_without_room_stays_as_it_is():
    for shape in ((300, 20), (12, 400), (1, 1)):
        picture = np.zeros((*shape, 3), np.uint8)
        label(picture, "original")
        assert not picture.any()
