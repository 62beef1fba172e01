import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.nn import functional as F

from nogan.common.rng import numpy_rng, torch_rng
from nogan.data import augment as aug
from nogan.data.augment import NONE, AugmentConfig, add_noise, augment, draw, homography
from tests.styles import CRITIC, GENERATOR, STYLES

MANY = draw(40_000, GENERATOR, torch_rng("many"))


def smooth_photo(height: int, width: int, key: int = 0) -> torch.Tensor:
    """Colored blobs, uint8 ``(3, height, width)``: smooth, so that resampling can be compared closely."""
    rng = numpy_rng("photo", key)
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(3, height, width)), (0, 4, 4), mode="reflect")
    low, high = noise.min(axis=(1, 2), keepdims=True), noise.max(axis=(1, 2), keepdims=True)
    return torch.from_numpy((255 * (noise - low) / (high - low)).astype(np.uint8))


def batch_of(*shapes: tuple[int, int], pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    photos = [smooth_photo(*shape, key) for key, shape in enumerate(shapes)]
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    images = torch.full((len(photos), 3, height, width), pad, dtype=torch.uint8)
    for image, photo in zip(images, photos, strict=True):
        image[:, : photo.shape[1], : photo.shape[2]] = photo
    return images, torch.tensor(shapes)


def neutral(count: int = 1, **changes) -> aug.Draws:
    """Draws in which nothing happens, but for ``changes``."""
    return aug.Draws(**{**vars(draw(count, NONE, torch_rng(0))), **changes})


def rngs(count: int) -> list[torch.Generator]:
    return [torch_rng("noise", image) for image in range(count)]


def transform(matrix: torch.Tensor, x: float, y: float) -> tuple[float, float]:
    p = matrix @ torch.tensor([x, y, 1.0], dtype=torch.float64)
    return (p[0] / p[2]).item(), (p[1] / p[2]).item()


# ------------------------------------------------------------------------------------------------ evaluation


def test_evaluation_is_an_antialiased_resize_and_a_center_crop():
    shapes = [(64, 64), (70, 128), (128, 96), (40, 50), (300, 160)]
    images, sizes = batch_of(*shapes)
    out = augment(images, sizes, 64, NONE)
    assert out.shape == (5, 3, 64, 64) and out.dtype == torch.float32
    for i, (height, width) in enumerate(shapes):
        short = min(height, width)
        new = (round(height * 64 / short), round(width * 64 / short))
        photo = images[i : i + 1, :, :height, :width].float() / 255
        resized = F.interpolate(photo, new, mode="bilinear", antialias=True)[0]
        top, left = (new[0] - 64) // 2, (new[1] - 64) // 2
        torch.testing.assert_close(out[i], resized[:, top : top + 64, left : left + 64], atol=2e-5, rtol=0)


def test_evaluation_leaves_a_photograph_of_the_right_size_alone():
    images, sizes = batch_of((48, 48))
    torch.testing.assert_close(augment(images, sizes, 48, NONE), images / 255, atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------------ sampling


@pytest.mark.parametrize("name", STYLES)
def test_what_the_padding_holds_never_shows(name):
    shapes = [(64, 100), (90, 64), (64, 64), (130, 128), (30, 20)]
    dark, sizes = batch_of(*shapes, pad=0)
    light, _ = batch_of(*shapes, pad=255)
    outs = [augment(images, sizes, 64, STYLES[name], torch_rng(1)) for images in (dark, light)]
    assert torch.equal(*outs)


def test_a_photograph_comes_out_the_same_whatever_stands_beside_it():
    images, sizes = batch_of((80, 64), (128, 200))
    draws = draw(2, GENERATOR, torch_rng(3))
    first = aug.Draws(**{name: value[:1] for name, value in vars(draws).items()})
    together = aug._sample(images, sizes, homography(sizes, 64, draws), 64)[0]
    alone = aug._sample(images[:1, :, :80, :64], sizes[:1], homography(sizes[:1], 64, first), 64)[0]
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=0)


def test_sampling_is_bilinear_with_reflection_at_the_photographs_own_borders():
    shapes = [(64, 96), (100, 70), (64, 64)]
    images, sizes = batch_of(*shapes)
    reaching_out = draw(3, AugmentConfig(rotate=10, p_geometry=1, p_flip=0.5, random_crop=True), torch_rng(5))
    warp = torch.tensor([[-0.25, -0.2, -0.1, -0.25]], dtype=torch.float64).expand(3, 4)
    matrix = homography(sizes, 64, dataclasses.replace(reaching_out, warp=warp))
    out = aug._sample(images, sizes, matrix, 64)
    y, x = np.mgrid[:64, :64]
    outside = 0
    for i, (height, width) in enumerate(shapes):
        u, v, w = np.einsum("ij,jhw->ihw", matrix[i].numpy(), np.stack([x, y, np.ones_like(x)]))
        outside += ((u / w < 0) | (v / w < 0) | (u / w > width - 1) | (v / w > height - 1)).sum()
        for channel in range(3):
            photo = images[i, channel, :height, :width].numpy() / 255
            expected = scipy.ndimage.map_coordinates(photo, [v / w, u / w], order=1, mode="mirror")
            np.testing.assert_allclose(out[i, channel].numpy(), expected, atol=2e-3)
    assert outside > 500


def test_nothing_drawn_is_the_identity():
    images, sizes = batch_of((64, 64), (64, 64))
    still = AugmentConfig(warp=0.25, rotate=10, zoom=2, lighting=0.5, p_geometry=0, p_lighting=0, random_crop=True)
    assert still.resamples
    torch.testing.assert_close(augment(images, sizes, 64, still, torch_rng(0)), images / 255, atol=1e-3, rtol=0)


def test_a_random_crop_is_a_window_of_the_photograph():
    images, sizes = batch_of((64, 200))
    out = augment(images, sizes, 64, AugmentConfig(random_crop=True), torch_rng(2))[0]
    windows = (images[0] / 255).unfold(2, 64, 1).permute(2, 0, 1, 3)
    distances = (windows - out).abs().amax(dim=(1, 2, 3))
    assert distances.min() < 2e-3


def test_a_flip_mirrors_and_happens_half_the_time():
    images, sizes = batch_of(*[(32, 32)] * 200)
    images[:] = images[0]
    out = augment(images, sizes, 32, AugmentConfig(p_flip=0.5), torch_rng(0))
    as_is = (out - images / 255).abs().amax(dim=(1, 2, 3)) < 2e-3
    mirrored = (out - images.flip(3) / 255).abs().amax(dim=(1, 2, 3)) < 2e-3
    assert (as_is ^ mirrored).all() and 70 < mirrored.sum() < 130


def test_a_large_photograph_is_averaged_first_and_does_not_alias():
    stripes = (torch.arange(512) % 2 * 255).to(torch.uint8).expand(1, 3, 512, 512)
    out = augment(stripes, torch.tensor([[512, 512]]), 64, AugmentConfig(random_crop=True), torch_rng(0))
    assert (out - 0.5).abs().max() < 0.01
    mixed = torch.cat([stripes, stripes])
    mixed[1, :, :100, :100] = 200
    out = augment(mixed, torch.tensor([[512, 512], [100, 100]]), 64, AugmentConfig(random_crop=True), torch_rng(0))
    assert (out[0] - 0.5).abs().max() < 0.01 and (out[1] - 200 / 255).abs().max() < 1e-3


# ------------------------------------------------------------------------------------------------ geometry


def test_the_warp_moves_pairs_of_corners_apart():
    size = torch.tensor([[101, 101]])
    right, left, bottom, top = 0.1, -0.2, 0.15, -0.05
    matrix = homography(size, 101, neutral(warp=torch.tensor([[right, left, bottom, top]], dtype=torch.float64)))[0]

    def pixel(x: float, y: float) -> tuple[float, float]:
        return 50 + 50 * x, 50 + 50 * y

    moved = [(-1 - top, -1 - left), (-1 - bottom, 1 + left), (1 + top, -1 - right), (1 + bottom, 1 + right)]
    for corner, target in zip([(-1, -1), (-1, 1), (1, -1), (1, 1)], moved, strict=True):
        assert transform(matrix, *pixel(*target)) == pytest.approx(pixel(*corner), abs=1e-6)


def test_rotation_turns_without_shear_in_a_photograph_that_is_not_square():
    sizes = torch.tensor([[300, 500]])
    matrix = homography(sizes, 300, neutral(angle=torch.tensor([0.1], dtype=torch.float64)))[0]
    center, right, down = (transform(matrix, 149.5 + x, 149.5 + y) for x, y in ((0, 0), (10, 0), (0, 10)))
    assert center == pytest.approx((249.5, 149.5), abs=0.6)
    a, b = np.subtract(right, center), np.subtract(down, center)
    assert np.linalg.norm(a) == pytest.approx(10, rel=0.01) and np.linalg.norm(b) == pytest.approx(10, rel=0.01)
    assert abs(a @ b) < 0.5 and abs(math.atan2(a[1], a[0])) == pytest.approx(0.1, rel=0.02)


def test_zoom_enlarges_about_its_focus_and_stays_inside():
    size = torch.tensor([[101, 101]])
    draws = neutral(
        zoom=torch.tensor([2.0], dtype=torch.float64), focus=torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    )
    matrix = homography(size, 101, draws)[0]
    assert transform(matrix, 100, 0) == pytest.approx((100, 0))
    assert transform(matrix, 0, 100) == pytest.approx((50, 50))


def test_crops_reach_both_ends_and_not_beyond():
    sizes = torch.tensor([[64, 128]]).expand(2, 2)
    ends = torch.tensor([[0.0, 0.0], [1 - 1e-9, 1 - 1e-9]], dtype=torch.float64)
    matrices = homography(sizes, 64, neutral(2, crop=ends))
    assert transform(matrices[0], 0, 0) == pytest.approx((0, 0))
    assert transform(matrices[1], 63, 63) == pytest.approx((127, 63))


# ------------------------------------------------------------------------------------------------ statistics


@pytest.mark.parametrize(
    ("values", "happens", "low", "high"),
    [
        (MANY.warp, MANY.warp[:, 0] != 0, -0.25, 0.25),
        (MANY.angle * 180 / math.pi, MANY.angle != 0, -10, 10),
        (MANY.zoom, MANY.zoom != 1, 1, 1.2),
        (torch.sigmoid(MANY.brightness), MANY.brightness != 0, 0.25, 0.75),
        (MANY.contrast.log2(), MANY.contrast != 1, -1, 1),
    ],
    ids=["warp", "rotation", "zoom", "brightness", "contrast"],
)
def test_each_draw_is_uniform_in_its_range_and_happens_three_times_in_four(values, happens, low, high):
    assert happens.double().mean().item() == pytest.approx(0.75, abs=0.01)
    unit = (values[happens] - low) / (high - low)
    assert 0 <= unit.min() < 0.001 and 0.999 < unit.max() <= 1
    assert unit.mean().item() == pytest.approx(0.5, abs=0.01)
    assert unit.var().item() == pytest.approx(1 / 12, abs=0.002)


def test_flip_and_places_are_uniform():
    assert MANY.flip.double().mean().item() == pytest.approx(0.5, abs=0.01)
    for place in (*MANY.focus.unbind(1), *MANY.crop.unbind(1)):
        assert place.mean().item() == pytest.approx(0.5, abs=0.01)
        assert 0 <= place.min() < 0.001 and 0.999 < place.max() < 1


def test_what_happens_to_an_image_is_independent():
    columns = [*MANY.warp.unbind(1), MANY.angle, MANY.zoom, MANY.brightness, MANY.contrast, MANY.flip.double()]
    columns += [*MANY.focus.unbind(1), *MANY.crop.unbind(1)]
    events = [MANY.warp[:, 0] != 0, MANY.angle != 0, MANY.zoom != 1, MANY.brightness != 0, MANY.contrast != 1]
    for group in (torch.stack(columns), torch.stack([event.double() for event in events])):
        correlation = torch.corrcoef(group) - torch.eye(len(group))
        assert correlation.abs().max() < 0.025  # five standard errors of 40,000 draws


def test_the_critics_draws_are_its_own():
    draws = draw(20_000, CRITIC, torch_rng(1))
    assert 1.99 < draws.zoom.max() <= 2
    assert 0.199 < draws.warp.abs().max() <= 0.2
    lights = torch.sigmoid(draws.brightness)
    assert 0.4 <= lights.min() < 0.401 and 0.599 < lights.max() <= 0.6
    assert 0.8 <= draws.contrast.min() < 0.801 and 1.249 < draws.contrast.max() <= 1.25


def test_the_same_keys_draw_the_same_and_others_do_not():
    images, sizes = batch_of((40, 50), (50, 40))

    def result(*keys) -> torch.Tensor:
        return augment(images, sizes, 32, GENERATOR, torch_rng("augment", *keys))

    base = result(0, 0, "G1", 7)
    torch.manual_seed(99)
    torch.rand(3)
    assert torch.equal(base, result(0, 0, "G1", 7))
    for other in [(1, 0, "G1", 7), (0, 1, "G1", 7), (0, 0, "G2", 7), (0, 0, "G1", 8)]:
        assert not torch.equal(base, result(*other))
    assert not torch.equal(base[0], base[1].mT)


def test_augmenting_leaves_the_global_generator_alone():
    images, sizes = batch_of((40, 50))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    add_noise(augment(images, sizes, 32, GENERATOR, torch_rng(0)), [torch_rng(1)])
    assert torch.equal(before, torch.get_rng_state())


def test_drawing_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="generator"):
        augment(*batch_of((40, 50)), 32, GENERATOR)


# ------------------------------------------------------------------------------------------------ lighting and noise


def test_lighting_works_on_logits_and_stays_in_range():
    rgb = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    out = aug._light(rgb, neutral(brightness=torch.tensor([0.7]), contrast=torch.tensor([1.6])))
    inner = rgb[..., 1:4]
    expected = 1 / (1 + torch.exp(-1.6 * (torch.log(inner / (1 - inner)) + 0.7)))
    torch.testing.assert_close(out[..., 1:4], expected)
    assert out.min() >= 0 and out.max() <= 1 and out.isfinite().all()


def test_lighting_alone_keeps_the_geometry_of_evaluation():
    images, sizes = batch_of((60, 80))
    config = AugmentConfig(lighting=0.5, p_lighting=1)
    out = augment(images, sizes, 48, config, torch_rng(4))
    expected = aug._light(augment(images, sizes, 48, NONE), draw(1, config, torch_rng(4)))
    torch.testing.assert_close(out, expected)


def test_noise_is_gray_whole_numbers_in_range_and_not_clamped():
    gray = torch.zeros(400, 3, 32, 32)
    noisy = add_noise(gray, rngs(400))
    assert gray.abs().max() == 0
    assert torch.equal(noisy[:, 0], noisy[:, 1]) and torch.equal(noisy[:, 0], noisy[:, 2])
    steps = noisy[:, 0].flatten(1) * 255
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert steps.min() < 0
    touched = (steps != 0).any(dim=1)
    assert touched.double().mean().item() == pytest.approx(0.8, abs=0.07)
    share = (steps[touched] != 0).double().mean(dim=1)
    most = 1 - math.exp(-0.4)  # of the pixels, where 40 % of them are drawn with replacement
    assert 0.9 * most < share.max() < 1.05 * most and share.min() < 0.02
    sparse = steps[touched][share < 0.03]  # so few that no pixel is hit twice, but for a rare one
    values = sparse[sparse != 0].round()
    assert values.min() >= -60 and values.max() <= 58
    assert ((values >= -30) & (values < 30)).double().mean() > 0.98


def test_the_noise_of_an_image_is_its_own():
    """Whatever stands beside it: devices draw it for their part of a batch only."""
    gray = torch.rand(6, 1, 32, 24).expand(-1, 3, -1, -1)
    whole = add_noise(gray, rngs(6))
    assert torch.equal(whole, add_noise(gray, rngs(6)))
    for part in (slice(0, 2), slice(2, 6)):
        assert torch.equal(whole[part], add_noise(gray[part], rngs(6)[part]))
    assert len({image.sum().item() for image in whole - gray}) > 3


def test_noise_is_uniform_over_its_sixty_steps():
    noisy = add_noise(torch.zeros(100, 1, 64, 64), rngs(100), p=1.0, share=(0.01, 0.011)) * 255
    values = noisy[noisy != 0].round()
    assert values.mean().item() == pytest.approx(-0.5, abs=1.5)
    assert values.var().item() == pytest.approx((60**2 - 1) / 12, rel=0.1)
