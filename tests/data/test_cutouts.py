"""Cut-outs composed onto photographs."""

import numpy as np
import pytest
from PIL import Image

from nogan.common.errors import UserError
from nogan.data.cutouts import EXTENT, Cutouts
from nogan.data.datamodule import PhotoBatches
from nogan.data.sources import FolderSource


def save_cutout(path, color=(250, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    image.paste((*color, 255), (10, 10, 50, 30))  # a bar of 40 x 20 in an empty frame
    image.save(path)


def test_a_cutout_is_laid_on_in_its_own_colors_and_within_its_size(tmp_path):
    save_cutout(tmp_path / "fruit/bar.png")
    cutouts = Cutouts(tmp_path, 1.0, 7)
    whole = []
    for key in range(40):
        picture = np.full((100, 150, 3), 40, np.uint8)
        cutouts.paste(picture, key)
        red = (picture == (250, 0, 0)).all(axis=-1)
        changed = (picture != 40).any(axis=-1)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert red.any() and red.sum() > 0.8 * changed.sum()
        assert columns[-1] - columns[0] < EXTENT[1] * 100 + 1
        if rows[0] > 0 and rows[-1] < 99 and columns[0] > 0 and columns[-1] < 149:
            whole.append((columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1))
    assert len(whole) > 10 and np.allclose(whole, 2, atol=0.2)  # the empty frame does not count


def test_the_keys_decide_and_the_share_is_kept(tmp_path):
    save_cutout(tmp_path / "bar.png")

    def pasted(share, key):
        picture = np.zeros((50, 50, 3), np.uint8)
        Cutouts(tmp_path, share, 7).paste(picture, key)
        return picture

    assert np.array_equal(pasted(1.0, 3), pasted(1.0, 3)) and not np.array_equal(pasted(1.0, 3), pasted(1.0, 4))
    assert 5 < sum(pasted(0.3, key).any() for key in range(50)) < 25
    assert not any(pasted(0.0, key).any() for key in range(20))


def test_a_batch_has_others_at_each_step_and_padding_stays(tmp_path):
    save_cutout(tmp_path / "cutouts/bar.png", (0, 250, 0))
    for name, size in (("a", (40, 60)), ("b", (70, 40))):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", size, (200, 20, 20)).save(tmp_path / f"photos/{name}.png")
    source = FolderSource(tmp_path / "photos")
    batches = PhotoBatches(source, np.arange(2), 32, Cutouts(tmp_path / "cutouts", 1.0, 0, "g1"))
    first, again, second = (batches.__getitems__((step, np.arange(2))) for step in (0, 0, 1))
    assert first.images.equal(again.images) and not first.images.equal(second.images)
    for image, (height, width) in zip(first.images, first.sizes.tolist(), strict=True):
        assert (image[1, :height, :width] == 250).any()
        assert not image[:, height:].any() and not image[:, :, width:].any()


def test_what_are_no_cutouts_is_said(tmp_path):
    with pytest.raises(UserError, match=r"data\.cutouts=.* holds no cut-outs"):
        Cutouts(tmp_path, 0.5)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="is no cut-out"):
        Cutouts(tmp_path, 1.0).paste(np.zeros((50, 50, 3), np.uint8))
    (tmp_path / "a.png").write_text("Dear Sir")
    with pytest.raises(UserError, match="cannot be read"):
        Cutouts(tmp_path, 1.0, 1).paste(np.zeros((50, 50, 3), np.uint8))
