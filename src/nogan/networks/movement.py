"""Moving pictures a little: shift, rotation and zoom in one sampling, for outputs as for inputs, with gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor


def move(images: Tensor, movement: Tensor) -> Tensor:
    """``(B, C, H, W)`` sampled bilinearly at ``movement`` of each pixel, mirrored at the borders.

    Args:
        images: of any range.
        movement: ``(B, 2, 3)``, as ``F.affine_grid`` takes it: coordinates of the result, in which the picture spans
            [-1, 1], to those of ``images``.
    """
    grid = F.affine_grid(movement.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def inside(movement: Tensor, size: tuple[int, int]) -> Tensor:
    """``(B, 1, H, W)``: 1 where :func:`move` takes a pixel from inside the picture, 0 where from its mirror image."""
    grid = F.affine_grid(movement, [len(movement), 1, *size], align_corners=False)
    return (grid.abs().amax(dim=3) <= 1).to(movement.dtype)[:, None]


def movements(draws: Tensor, *, shift: float, rotate: float, zoom: float) -> Tensor:
    """Movements ``(B, 2, 3)`` from uniform ``draws`` ``(B, 4)`` in [0, 1): of x, y, the angle and the zoom.

    Args:
        draws: 0.5 is no movement.
        shift: the most, as a share of a side, in x and in y.
        rotate: the most, in degrees, either way.
        zoom: the most, as a share, in and out.
    """
    x, y, angle, scale = (2 * draws - 1).unbind(1)
    angle, scale = torch.deg2rad(rotate * angle), torch.exp(torch.log1p(torch.tensor(zoom)) * scale)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack([torch.stack([cos, -sin, 2 * shift * x], 1), torch.stack([sin, cos, 2 * shift * y], 1)], 1)
