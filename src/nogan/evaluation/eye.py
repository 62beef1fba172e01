"""What is wrong with a colorized picture at a glance: patches of strong wrong color, and blotches.

The figures of papers average over all pixels, so that a green cloud across a balloon can score better than a pale but
clean picture. These measures count what a person sees first. All functions take RGB ``(B, 3, H, W)`` in [0, 1] of any
float type and device, and give one float32 number a picture, lower is better but for the last:

========================  =========  ===================================================================
function                  reference  unit
========================  =========  ===================================================================
:func:`wrong_strong`      yes        share of the pixels, 0 to 1
:func:`false_variation`   yes        Lab units (ΔE of a* and b*); NaN where the truth has no even region
:func:`unexplained`       no         share of the pixels, 0 to 1; photographs themselves have some
:func:`quality`           yes        all in one, higher is better: 0 for the truth, else below
========================  =========  ===================================================================
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nogan.evaluation.metrics import colorfulness, rgb_to_lab

STRONG_CHROMA = 30.0
"""Lab chroma hypot(a*, b*) above which a color is strong; gray has 0, sRGB red 104."""
WRONG_DISTANCE = 45.0
"""Distance in a*, b* from the truth above which a color is wrong, and not merely duller or more vivid."""
SEEN_SHARE = 0.02
"""Share of a picture above which wrong strong color counts as seen."""

GLANCE = 128
"""Longest side in px at which a picture is looked at for :func:`unexplained` and :func:`false_variation`."""
EVEN = 3.0
"""Standard deviation of a* and b* in a window, in Lab units, below which the truth has no variation but noise."""
WINDOWS = 8
"""Windows of :func:`false_variation` along the shorter side of a picture."""

WRONG_WEIGHT, DULL_WEIGHT = 10.0, 1.0
"""Of wrong strong color, as a share, and of the logarithm of missing colorfulness in :func:`weighed`."""

_LIGHTNESS_STEP = 10.0  # L* between two bins of the grid of `unexplained`
_LIGHTNESS_BINS = 11
_CELLS = 16  # of that grid along either side
_REACH = 3.0  # cells: standard deviation of its surroundings, about a fifth of the picture's side
UNEXPLAINED_DISTANCE = 30.0
"""Distance in a*, b* from what surroundings and lightness explain, above which a strong color is unexplained."""


def wrong_strong(output: Tensor, target: Tensor) -> Tensor:
    """Share of the pixels ``(B,)`` with a wrong strong color.

    Their chroma is above :data:`STRONG_CHROMA`, and they are farther than :data:`WRONG_DISTANCE` from the truth in
    a*, b*. Gray and brown pictures have none, however wrong they are: dullness is what colorfulness measures.

    Raises:
        ValueError: the shapes differ.
    """
    return wrong_strong_pixels(output, target).float().mean(dim=(1, 2))


def wrong_strong_pixels(output: Tensor, target: Tensor) -> Tensor:
    """Which pixels :func:`wrong_strong` counts, ``(B, H, W)`` bool."""
    _check_pair(output, target)
    out, truth = _ab(rgb_to_lab(output)), _ab(rgb_to_lab(target))
    return (_length(out) > STRONG_CHROMA) & (_length(out - truth) > WRONG_DISTANCE)


def wrong_strong_seen(shares: Tensor) -> Tensor:
    """Which pictures, bool, have more than :data:`SEEN_SHARE` of wrong strong color, from :func:`wrong_strong`."""
    return shares > SEEN_SHARE


def false_variation(output: Tensor, target: Tensor) -> Tensor:
    """Variation of the chroma within even regions of the truth, ``(B,)`` in Lab units: a sky or a wall with blotches.

    Windows of an eighth of the shorter side, half overlapping, in which a* and b* of the truth vary by less than
    :data:`EVEN` (standard deviation, root of the sum of both variances), are even. The value is the mean over them of
    the output's standard deviation beyond the truth's. NaN where no window is even.

    Raises:
        ValueError: the shapes differ.
    """
    _check_pair(output, target)
    varied, even = (_window_deviation(_ab(rgb_to_lab(_glance(rgb)))) for rgb in (output, target))
    counted = even < EVEN
    excess = torch.where(counted, (varied - even).clamp(min=0), 0)
    return excess.sum(dim=(1, 2)) / counted.sum(dim=(1, 2))  # 0 / 0 is NaN


def unexplained(output: Tensor) -> Tensor:
    """Share of the pixels ``(B,)`` whose chroma is strong and far from what surroundings and lightness explain.

    The expected a*, b* of a pixel is the mean over the pixels around it, weighted by distance (a Gaussian with a
    standard deviation of about a fifth of the side) and by likeness of L* (within about 15). A pixel counts where its
    own are farther than :data:`UNEXPLAINED_DISTANCE` from it and its chroma is above :data:`STRONG_CHROMA`: a green
    patch in a gray sky of one lightness does, a red balloon that is darker than the sky does not. Real photographs have
    such pixels, too (flowers in grass), so compare values on the same photographs.

    The mean is taken on a grid over place and lightness, as in Chen et al., "Real-time edge-aware image processing with
    the bilateral grid", 2007.
    """
    lab = rgb_to_lab(_glance(output))
    ab = _ab(lab)
    levels = torch.arange(_LIGHTNESS_BINS, device=lab.device)[:, None, None]
    member = (1 - (lab[:, :1] / _LIGHTNESS_STEP - levels).abs()).clamp(min=0)  # (B, bins, H, W), 1 over the bins
    weight, *sums = (_surroundings(member * plane) for plane in (torch.ones_like(lab[:, :1]), ab[:, :1], ab[:, 1:]))
    expected = torch.stack([_sample(total / weight.clamp(min=1e-8), member) for total in sums], dim=1)
    return ((_length(ab) > STRONG_CHROMA) & (_length(ab - expected) > UNEXPLAINED_DISTANCE)).float().mean(dim=(1, 2))


def quality(output: Tensor, target: Tensor) -> Tensor:
    """One figure ``(B,)`` for each picture, higher is better, 0 for the truth: see :func:`weighed`.

    Raises:
        ValueError: the shapes differ.
    """
    return weighed(
        false_variation(output, target), wrong_strong(output, target), colorfulness(output), colorfulness(target)
    )


def weighed(blotches: Tensor, wrong: Tensor, own: Tensor, true: Tensor) -> Tensor:
    """Quality, minus the sum of what is disliked; all ``(B,)``.

    It is in Lab units of blotches: 1 % of wrong strong color counts as :data:`WRONG_WEIGHT` / 100 of them, and a
    picture e times as dull as the truth as :data:`DULL_WEIGHT`. Without the last, gray would be the best of all. The
    weights were chosen by an observer's choices between 260 pairs of pictures, the last as the largest that costs no
    agreement with them; 658 choices of others agree with quality as often (``experiments/eye.md``).

    Args:
        blotches: of :func:`false_variation`; NaN, where the truth has no even region, counts as none.
        wrong: of :func:`wrong_strong`.
        own: colorfulness of the picture.
        true: colorfulness of the truth.
    """
    dull = torch.log((true + 1) / (own + 1)).clamp(min=0)
    return -(blotches.nan_to_num(0.0) + WRONG_WEIGHT * wrong + DULL_WEIGHT * dull)


def _surroundings(bins: Tensor) -> Tensor:
    """Sums ``(B, bins, cells, cells)`` of ``(B, bins, H, W)`` over each cell's surroundings, and over like bins."""
    grid = F.adaptive_avg_pool2d(bins, _CELLS)
    offsets = torch.arange(1 - _CELLS, _CELLS, device=bins.device)
    kernel = torch.exp(-0.5 * (offsets / _REACH) ** 2)
    cells = torch.arange(_CELLS, device=bins.device)
    spread = kernel[cells[:, None] - cells[None, :] + _CELLS - 1]  # (cells, cells)
    grid = spread @ grid @ spread
    near = F.pad(grid, (0, 0, 0, 0, 1, 1))
    return 0.25 * near[:, :-2] + 0.5 * near[:, 1:-1] + 0.25 * near[:, 2:]


def _sample(grid: Tensor, member: Tensor) -> Tensor:
    """The value ``(B, H, W)`` of a grid ``(B, bins, cells, cells)`` at each pixel's place and lightness."""
    size = (member.shape[-2], member.shape[-1])
    return (F.interpolate(grid, size=size, mode="bilinear", align_corners=False) * member).sum(1)


def _glance(rgb: Tensor) -> Tensor:
    """``rgb`` with its longer side at most :data:`GLANCE` px."""
    height, width = rgb.shape[-2:]
    scale = GLANCE / max(height, width)
    if scale >= 1:
        return rgb.float()
    return F.adaptive_avg_pool2d(rgb.float(), (max(1, round(height * scale)), max(1, round(width * scale))))


def _window_deviation(ab: Tensor) -> Tensor:
    """Standard deviation ``(B, rows, columns)`` of a* and b* together in each window of ``(B, 2, H, W)``."""
    side = min(ab.shape[-2:])
    window = min(side, max(2, side // WINDOWS))
    centered = ab.double() - ab.double().mean(dim=(2, 3), keepdim=True)  # so that squares lose no digits
    mean, square = (F.avg_pool2d(x, window, math.ceil(window / 2)) for x in (centered, centered.square()))
    return (square - mean.square()).clamp(min=0).sum(1).sqrt().float()


def _ab(lab: Tensor) -> Tensor:
    return lab[:, 1:]


def _length(ab: Tensor) -> Tensor:
    return ab.square().sum(1).sqrt()


def _check_pair(output: Tensor, target: Tensor) -> None:
    if output.shape != target.shape:
        raise ValueError(f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}; they must be equal")
