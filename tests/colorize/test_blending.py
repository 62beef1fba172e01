"""Two models in one picture: by luma, by a mask, and never far from the first."""

import numpy as np
import pytest
from media import make_film, photograph
from PIL import Image

from nogan.cli import main
from nogan.colorize.blending import Blending, Masks
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.photos import read_photo
from nogan.common.errors import UserError
from nogan.common.ycbcr import REC601
from nogan.networks import build_generator
from nogan.networks.generator_file import save_generator


def red(gray):
    return np.stack([np.full_like(gray, 0.8), np.full_like(gray, 0.3), np.full_like(gray, 0.3)], axis=-1)


def blue(gray):
    return np.stack([np.full_like(gray, 0.3), np.full_like(gray, 0.3), np.full_like(gray, 0.9)], axis=-1)


def blended(**options):
    return Colorizer([(red, 1.0), (blue, 1.0)], blending=Blending(**options))


RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
WHITE = np.full((64, 64), 255, np.uint8)


def chroma(rgb):
    return np.stack(REC601.chroma(REC601.luma(*np.moveaxis(rgb, -1, 0)), rgb[..., 0], rgb[..., 2]), axis=-1)


def test_by_luma_the_first_has_the_shadows_and_the_second_the_lights():
    mixed = blended(luma=(64, 192)).predict(RAMP[None])[0]
    first, second = red(RAMP[:1].astype(np.float32))[0], blue(RAMP[:1].astype(np.float32))[0]
    assert np.array_equal(mixed[0, :65], first[:65]) and np.allclose(mixed[0, 192:], second[192:], atol=1e-6)
    share = (mixed[0, :, 0] - first[:, 0]) / (second[:, 0] - first[:, 0])
    assert share[128] == pytest.approx(0.5, abs=0.01) and (np.diff(share) >= -1e-6).all()


def test_by_a_mask_the_second_is_where_it_is_white():
    mask = np.zeros((30, 40), np.float32)
    mask[:, 20:] = 1
    mixed = blended().masked(mask).predict(WHITE[None])[0]
    assert np.array_equal(mixed[:, :30], red(WHITE[:, :30].astype(np.float32)))
    assert np.allclose(mixed[:, 34:], blue(WHITE[:, 34:].astype(np.float32)), atol=1e-6)
    half = blended().masked(np.full((5, 5), 0.25)).predict(WHITE[None])[0]
    assert np.allclose(
        half, 0.75 * red(WHITE[..., None] / 255)[..., 0, :] + 0.25 * blue(WHITE[..., None] / 255)[..., 0, :]
    )


@pytest.mark.parametrize("limit", [0, 10, 40.5, 1000])
def test_a_limit_bounds_the_distance_of_chroma_and_keeps_its_direction(limit):
    generator = np.random.default_rng(3)
    one, other = (generator.uniform(0, 1, (1, 32, 32, 3)).astype(np.float32) for _ in range(2))
    colorizer = Colorizer([(lambda gray: one, 0.25), (lambda gray: other, 0.75)], blending=Blending(limit=limit))
    plain = Colorizer([(lambda gray: one, 0.25), (lambda gray: other, 0.75)])
    gray = np.zeros((1, 32, 32), np.uint8)
    found, free = colorizer.predict(gray), plain.predict(gray)
    away, wanted = chroma(found - one) * 255, chroma(free - one) * 255
    distance, whole = np.linalg.norm(away, axis=-1), np.linalg.norm(wanted, axis=-1)
    assert distance.max() <= limit + 1e-3 and np.allclose(distance, np.minimum(whole, limit), atol=1e-2)
    cross = away[..., 0] * wanted[..., 1] - away[..., 1] * wanted[..., 0]
    assert np.abs(cross).max() < 0.05 and found.min() >= -1e-6 and found.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("options", "networks", "reason"),
    [
        ({"luma": (192, 64)}, 2, "--blend-luma 192-64"),
        ({"luma": (0, 300)}, 2, "--blend-luma 0-300"),
        ({"limit": -1}, 2, "--blend-limit -1"),
        ({"luma": (64, 192)}, 3, "--blend-luma: expected two models"),
        ({"limit": 5}, 1, "--blend-limit: expected several models"),
    ],
)
def test_what_does_not_suit_the_models_is_refused(options, networks, reason):
    with pytest.raises(UserError, match=reason):
        Colorizer([(red, 1.0)] * networks, blending=Blending(**options))


def test_masks_are_found_by_name(tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((4, 4), 51, np.uint8)).save(tmp_path / "masks/old.png")
    assert Masks(tmp_path / "masks")(tmp_path / "old.jpg") == pytest.approx(0.2)
    assert Masks(tmp_path / "masks/old.png")(tmp_path / "any.jpg") == pytest.approx(0.2)
    with pytest.raises(UserError, match="no picture with the name new"):
        Masks(tmp_path / "masks")(tmp_path / "new.jpg")
    with pytest.raises(UserError, match="no such picture or folder"):
        Masks(tmp_path / "none")


def test_blends_on_the_command_line(tmp_path, run_dir, capsys):
    other = tmp_path / "other"
    save_generator(build_generator("tiny", "wide", 0.1, seed=4), other)
    (tmp_path / "in").mkdir()
    (tmp_path / "masks").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(photograph()).save(tmp_path / "in" / name)
    make_film(tmp_path / "in/c.mkv", frames=3)
    for name, level in (("a", 0), ("c", 255)):
        Image.fromarray(np.full((8, 8), level, np.uint8)).save(tmp_path / "masks" / f"{name}.png")

    def colorize(out, *options):
        fixed = ["--render-factor", "4", "--device", "cpu", "--precision", "fp32", "--codec", "ffv1"]
        return main(["colorize", str(tmp_path / "in"), "-o", str(tmp_path / out), *fixed, *options])

    assert colorize("first", "--checkpoint", str(run_dir)) == 0 and colorize("second", "--checkpoint", str(other)) == 0
    both = ("--blend", str(run_dir), str(other))
    assert colorize("masked", *both, "--blend-mask", str(tmp_path / "masks")) == 1
    assert "b.png: --blend-mask" in capsys.readouterr().err  # and the others are done
    for name, like in (("a.png", "first"), ("c.mkv", "second")):
        found, expected = (tmp_path / out / name for out in ("masked", like))
        if name == "a.png":
            assert np.array_equal(read_photo(found).pixels, read_photo(expected).pixels)
        else:
            assert np.array_equal(colors_of(found), colors_of(expected))
    assert colorize("near", *both, "--blend-limit", "0") == 0
    assert np.array_equal(read_photo(tmp_path / "near/b.png").pixels, read_photo(tmp_path / "first/b.png").pixels)
    assert colorize("luma", *both, "--blend-luma", "64-192") == 0
    for options, reason in (
        (("--blend", f"{run_dir}:0.6", f"{other}:0.4", "--blend-luma", "64-192"), "leave their weights out"),
        (("--checkpoint", str(run_dir), "--blend-mask", str(tmp_path / "masks")), "expected two models"),
        ((*both, "--blend-luma", "9-200", "--blend-mask", str(tmp_path / "masks")), "expected one of them"),
        ((*both, "--blend-luma", "9"), "expected LOW-HIGH"),
    ):
        with pytest.raises(SystemExit):
            colorize("out", *options)
        assert reason in capsys.readouterr().err


def colors_of(path):
    import av

    with av.open(path) as film:
        return next(film.decode(video=0)).to_ndarray(format="rgb24")
