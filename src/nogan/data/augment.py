"""Augments a whole batch on its device: each image is drawn for once and resampled once.

The recipe is DeOldify's (fastai v1's ``get_transforms``): symmetric warp, rotation, zoom, flip and random crop are
composed into *one* homography for each image, which is sampled once, bilinearly, with reflection at the image's own
borders; lighting follows on the sampled crop. Input and target of the colorizer get the same draw by construction,
because the input is derived from the augmented color batch.

Every number is drawn on the CPU from the generator that the caller gives, so that a draw does not depend on the device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AugmentConfig:
    """What may happen to an image, and with which probability. The defaults are :data:`NONE`: nothing happens."""

    warp: float = 0.0
    """Symmetric perspective warp: four magnitudes from U(-warp, warp)."""
    rotate: float = 0.0
    """Rotation by U(-rotate, rotate) degrees."""
    zoom: float = 1.0
    """Zoom by U(1, zoom) about a random focus."""
    lighting: float = 0.0
    """In logit space: add logit(c), c from U((1-l)/2, (1+l)/2); multiply by s, log-uniform in (1-l, 1/(1-l))."""
    p_geometry: float = 0.75
    """Probability of warp, rotation and zoom, each drawn for separately."""
    p_lighting: float = 0.75
    """Probability of the addition and the multiplication, each drawn for separately."""
    p_flip: float = 0.0
    """Probability of the horizontal flip."""
    random_crop: bool = False
    """Whether to crop at random; otherwise the middle is cropped."""

    @property
    def resamples(self) -> bool:
        """Whether the geometry changes beyond resizing and a center crop."""
        return bool(self.warp or self.rotate or self.zoom != 1 or self.p_flip or self.random_crop)


NONE = AugmentConfig()


def augment(
    images: Tensor,
    sizes: Tensor,
    out_size: int,
    config: AugmentConfig = NONE,
    rng: "torch.Generator | Draws | None" = None,
) -> Tensor:
    """Augment photographs of several sizes to square crops.

    Args:
        images: uint8 RGB ``(B, 3, h, w)``, on any device, padded on the right and at the bottom; what the padding holds
            has no influence on the result.
        sizes: int64 ``(B, 2)``, each photograph's own height and width. Keep it on the CPU: fetching it from a GPU
            waits for all that the GPU still has to do.
        out_size: side of the result. The shorter side is resized to it; where that shrinks more than twofold, by
            area-averaging first.
        config: what to draw. :data:`NONE` resizes (with antialiasing) and crops the middle, with no draw.
        rng: CPU generator, or what :func:`draw` gave; needed where ``config`` draws anything.

    Returns:
        float32 RGB ``(B, 3, out_size, out_size)`` in [0, 1], on the device of ``images``.
    """
    sizes = sizes.cpu()
    if config == NONE:
        return resize_and_crop(images, sizes, out_size)
    if rng is None:
        raise ValueError("an augmentation that draws needs a generator")
    draws = rng if isinstance(rng, Draws) else draw(len(images), config, rng)
    if config.resamples:
        images, sizes = _reduce(images, sizes, 2 * out_size)
        matrix = homography(sizes, out_size, draws)
        out = _sample(images, sizes, matrix, out_size)
    else:
        out = resize_and_crop(images, sizes, out_size)
    return _light(out, draws) if config.lighting else out


# ---------------------------------------------------------------------------------------------------- the draw


@dataclass(frozen=True)
class Draws:
    """What was drawn for each image of a batch, float64 on the CPU. No change is a neutral value."""

    warp: Tensor
    """``(B, 4)``: how far the right, left, bottom and top pair of corners move apart, in half heights or widths."""
    angle: Tensor
    """``(B,)`` radians."""
    zoom: Tensor
    """``(B,)`` >= 1."""
    focus: Tensor
    """``(B, 2)``: x and y of the zoom's focus in [0, 1]."""
    flip: Tensor
    """``(B,)`` bool."""
    crop: Tensor
    """``(B, 2)``: x and y of the crop in [0, 1), as a share of the free room."""
    brightness: Tensor
    """``(B,)``, added to logits."""
    contrast: Tensor
    """``(B,)``, multiplies logits."""

    def part(self, images: slice) -> "Draws":
        """The draws of some of the images."""
        return Draws(**{field.name: getattr(self, field.name)[images] for field in fields(self)})


def draw(count: int, config: AugmentConfig, rng: torch.Generator) -> Draws:
    """Draw for ``count`` images. What ``config`` switches off is drawn too, so that the other draws do not change."""
    u = torch.rand(count, 18, generator=rng, dtype=torch.float64)
    warp, angle, zoom, focus, crop = u[:, 0:4], u[:, 4], u[:, 5], u[:, 6:8], u[:, 8:10]
    brightness, contrast, chances = u[:, 10], u[:, 11], u[:, 12:18]
    warps, rotates, zooms = (chances[:, :3] < config.p_geometry).unbind(1)
    brightens, contrasts = (chances[:, 3:5] < config.p_lighting).unbind(1)
    return Draws(
        warp=config.warp * (2 * warp - 1) * warps[:, None],
        angle=math.radians(config.rotate) * (2 * angle - 1) * rotates,
        zoom=1 + (config.zoom - 1) * zoom * zooms,
        focus=focus,
        flip=chances[:, 5] < config.p_flip,
        crop=crop if config.random_crop else torch.full_like(crop, 0.5),
        brightness=torch.logit(0.5 + config.lighting * (brightness - 0.5)) * brightens,
        contrast=torch.exp(-math.log1p(-config.lighting) * (2 * contrast - 1) * contrasts),
    )


# ---------------------------------------------------------------------------------------------------- geometry


def homography(sizes: Tensor, out_size: int, draws: Draws) -> Tensor:
    """The matrices ``(B, 3, 3)``, float64, that take a pixel (x, y, 1) of the crop to one of the photograph.

    Read from right to left: flip the crop, place it in the resized photograph, go to coordinates in which that spans
    [-1, 1] (corner pixels' centers at the corners), warp, zoom, rotate, and go to the photograph's pixels. The corners
    move in pairs, symmetrically, as in fastai v1: by one magnitude the two at the right apart vertically, by another
    the two at the left, and likewise horizontally those at the bottom and at the top.
    """
    from kornia.geometry.transform import get_perspective_transform

    height, width = sizes.double().unbind(1)
    scale = out_size / torch.minimum(height, width)
    room = torch.stack([width, height], 1).mul(scale[:, None]).round().clamp(min=out_size)  # the resized photograph
    offset = torch.floor(draws.crop * (room - out_size + 1))
    last = out_size - 1

    flip = _matrix([[1 - 2.0 * draws.flip, 0, last * draws.flip], [0, 1, 0], [0, 0, 1]])
    place = _matrix([[1, 0, offset[:, 0]], [0, 1, offset[:, 1]], [0, 0, 1]])
    span = 2 / (room - 1).clamp(min=1)
    normalize = _matrix([[span[:, 0], 0, -1], [0, span[:, 1], -1], [0, 0, 1]])

    right, left, bottom, top = draws.warp.unbind(1)
    corners = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64).expand(len(sizes), 4, 2)
    moved = [[-1 - top, -1 - left], [-1 - bottom, 1 + left], [1 + top, -1 - right], [1 + bottom, 1 + right]]
    warp = get_perspective_transform(_matrix(moved), corners.contiguous())

    shrink = 1 / draws.zoom
    center = (1 - shrink)[:, None] * (2 * draws.focus - 1)
    zoom = _matrix([[shrink, 0, center[:, 0]], [0, shrink, center[:, 1]], [0, 0, 1]])

    cos, sin, aspect = draws.angle.cos(), draws.angle.sin(), height / width
    rotate = _matrix([[cos, -sin * aspect, 0], [sin / aspect, cos, 0], [0, 0, 1]])

    half_w, half_h = (width - 1) / 2, (height - 1) / 2
    to_pixels = _matrix([[half_w, 0, half_w], [0, half_h, half_h], [0, 0, 1]])
    return to_pixels @ rotate @ zoom @ warp @ normalize @ place @ flip


def _matrix(rows: list[list]) -> Tensor:
    """Stack entries, each a number or ``(B,)``, to ``(B, rows, columns)`` float64."""
    tensors = [[torch.as_tensor(entry, dtype=torch.float64) for entry in row] for row in rows]
    return torch.stack([torch.stack(torch.broadcast_tensors(*row), -1) for row in _broadcast(tensors)], -2)


def _broadcast(rows: list[list[Tensor]]) -> list[list[Tensor]]:
    shape = torch.broadcast_shapes(*(entry.shape for row in rows for entry in row))
    return [[entry.expand(shape) for entry in row] for row in rows]


def _sample(images: Tensor, sizes: Tensor, matrix: Tensor, out_size: int) -> Tensor:
    """Sample ``images`` bilinearly at ``matrix`` of each output pixel, reflecting at each image's own borders."""
    device = images.device
    m = matrix.float().to(device, non_blocking=True)[..., None, None]
    steps = torch.arange(out_size, dtype=torch.float32, device=device)
    x, y = steps[None, None, :], steps[None, :, None]
    projected = [m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in range(3)]
    border = (sizes.flip(1) - 1).float().to(device, non_blocking=True)[..., None, None]
    canvas = [max(images.shape[3] - 1, 1), max(images.shape[2] - 1, 1)]
    grid = torch.stack(
        [2 / canvas[i] * _reflect(projected[i] / projected[2], border[:, i]) - 1 for i in range(2)], dim=-1
    )
    values = images.to(torch.float32, memory_format=torch.contiguous_format)
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=True) / 255


# Coordinates stay this far from the far border, so that rounding cannot reach into the padding.
_BORDER_MARGIN = 1e-3


def _reflect(x: Tensor, border: Tensor) -> Tensor:
    """Fold pixel coordinates into [0, border], reflecting at both ends."""
    period = 2 * border.clamp(min=1)
    folded = (x.remainder(period) - border).abs()
    return torch.minimum(border - folded, border - _BORDER_MARGIN).clamp(min=0)


# ---------------------------------------------------------------------------------------------------- resizing


def resize_and_crop(images: Tensor, sizes: Tensor, out_size: int) -> Tensor:
    """Resize each shorter side to ``out_size`` and crop the middle: what evaluation and the making of fakes see.

    Equals ``F.interpolate(mode="bilinear", antialias=True)`` of each photograph on its own, then a center crop, without
    a loop over the batch. Takes and returns what :func:`augment` does.
    """
    sizes = sizes.cpu()
    resized = _scaled(sizes, out_size)
    return _resample(images, sizes, resized, (resized - out_size) // 2, (out_size, out_size), _triangle) / 255


def _reduce(images: Tensor, sizes: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Shrink photographs to a shorter side of ``limit`` by area-averaging; smaller ones stay as they are."""
    too_large = sizes.min(dim=1).values > limit
    if not too_large.any():
        return images, sizes
    new = torch.where(too_large[:, None], _scaled(sizes, limit), sizes)
    height, width = new.max(dim=0).values.tolist()
    return _resample(images, sizes, new, torch.zeros_like(new), (height, width), _box), new


def _scaled(sizes: Tensor, shorter: int) -> Tensor:
    """``sizes`` scaled so that the shorter side is ``shorter``."""
    return (sizes * (shorter / sizes.min(dim=1, keepdim=True).values.double())).round().long()


def _resample(
    images: Tensor, sizes: Tensor, resized: Tensor, offset: Tensor, window: tuple[int, int], kernel: Callable
) -> Tensor:
    """Resize photograph i from ``sizes[i]`` to ``resized[i]`` and cut ``window`` out at ``offset[i]``.

    Gives float32 ``(B, 3, *window)`` in the range of ``images``. Each axis is a sum over the few source pixels that an
    output pixel covers: sums of gathered rows, and no matrix product, whose precision a user may lower.
    """
    values = images.permute(0, 2, 3, 1)  # the loader's memory layout, in which whole rows are gathered at once
    for axis in range(2):
        taps = _taps(sizes[:, axis], resized[:, axis], offset[:, axis], window[axis], kernel)
        values = _weighted_rows(values, *taps).transpose(1, 2)
    return values.permute(0, 3, 1, 2).contiguous()


def _taps(old: Tensor, new: Tensor, offset: Tensor, count: int, kernel: Callable) -> tuple[Tensor, Tensor]:
    """For each output along an axis, from ``offset`` on: its source pixels and their weights, ``(B, count, taps)``."""
    old, new, offset = (x.double()[:, None, None] for x in (old, new, offset))
    scale = old / new
    reach = scale.clamp(min=1)
    center = (torch.arange(count)[None, :, None] + offset + 0.5) * scale
    source = torch.floor(center - reach) + torch.arange(math.ceil(2 * reach.max().item()) + 1) + 0.5
    weight = kernel(source - center, scale) * ((source > 0) & (source < old))
    weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1e-12)
    return source.long().clamp(min=0).minimum(old.long() - 1), weight.float()


def _weighted_rows(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of the rows of ``(B, n, m, C)``, by ``_taps`` of their axis: float32 ``(B, count, m, C)``."""
    batch, n, *rest = values.shape
    rows = values.reshape(batch * n, -1)
    index = (index + n * torch.arange(batch)[:, None, None]).flatten(0, 1).to(values.device, non_blocking=True)
    weight = weight.flatten(0, 1)[..., None].to(values.device, non_blocking=True)
    total = rows[index[:, 0]] * weight[:, 0]
    for tap in range(1, index.shape[1]):
        total.addcmul_(rows[index[:, tap]].float(), weight[:, tap])
    return total.view(batch, -1, *rest)


def _triangle(distance: Tensor, scale: Tensor) -> Tensor:
    return (1 - distance.abs() / scale.clamp(min=1)).clamp(min=0)


def _box(distance: Tensor, scale: Tensor) -> Tensor:
    """How much of each source pixel the output pixel covers."""
    return (0.5 + scale / 2 - distance.abs()).clamp(min=0).clamp(max=1)


# ---------------------------------------------------------------------------------------------------- pixel values


def _light(rgb: Tensor, draws: Draws) -> Tensor:
    """Brightness, then contrast, in logit space: RGB ``(B, 3, H, W)`` in [0, 1] to the same."""
    brightness, contrast = (
        x.float().to(rgb.device, non_blocking=True)[:, None, None, None] for x in (draws.brightness, draws.contrast)
    )
    return torch.sigmoid((torch.logit(rgb, eps=1e-7) + brightness) * contrast)


def add_noise(
    gray: Tensor,
    rngs: Sequence[torch.Generator],
    p: float = 0.8,
    share: tuple[float, float] = (0.001, 0.4),
    amplitude: int = 30,
) -> Tensor:
    """The noise of the video recipe, for the generator's input only: it teaches not to flicker with film grain.

    In a fraction ``p`` of the images, a number of pixels that is U(*share*) of all, drawn with replacement, each gain
    an integer of [-amplitude, amplitude) / 255, the same on the three channels.

    Args:
        gray: ``(B, 3, H, W)`` in [0, 1].
        rngs: CPU generators, one for each image.
        p: probability of noise for an image.
        share: range of the share of pixels drawn.
        amplitude: in steps of 1/255.

    Returns:
        As ``gray``, not clamped.
    """
    count, _, height, width = gray.shape
    pixels = height * width
    low, high = share
    where: list[Tensor] = []
    value: list[Tensor] = []
    for image, rng in enumerate(rngs):
        part, chance = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        hits = int(pixels * (low + (high - low) * part)) if chance < p else 0
        where.append(image * pixels + torch.randint(pixels, (hits,), generator=rng))
        value.append(torch.randint(-amplitude, amplitude, (hits,), generator=rng, dtype=torch.int8))
    pixel, change = (torch.cat(drawn).to(gray.device, non_blocking=True) for drawn in (where, value))
    # Sums of whole numbers do not depend on the order in which a device adds them.
    noise = torch.zeros(count * pixels, device=gray.device).index_add_(0, pixel, change.float()) / 255
    return gray + noise.to(gray.dtype).view(count, 1, height, width)
