"""Colorizing held-out photographs with a generator in memory, and drawing a grid of them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from nogan.colorize.composite import composite_tensors
from nogan.common import color

STABILITY_IMAGES = 16  # photographs that ``shift_variation`` and ``scale_variation`` are measured on
GAP = 2  # px between the pictures of a grid


Colorizes = Callable[[Tensor], Tensor]
"""Gray to color, model space ``(B, 3, H, W)``: a generator."""


def colorize(network: Colorizes, photographs: Tensor, batch_size: int, device: torch.device) -> Tensor:
    """The pictures that a user gets: chroma of ``network``, luma of ``photographs``.

    Args:
        network: a generator on ``device``, in the mode that it is to run in.
        photographs: RGB ``(N, 3, H, W)`` in [0, 1] on the CPU.
        batch_size: photographs in one pass.
        device: of the network.

    Returns:
        RGB ``(N, 3, H, W)`` in [0, 1] on the CPU.
    """
    outputs = [
        color.denormalize(network(color.normalize(color.to_gray(batch)).to(device)).float()).cpu()
        for batch in photographs.split(batch_size)
    ]
    return composite_tensors(torch.cat(outputs), photographs)


def shift(images: Tensor, pixels: int) -> Tensor:
    """``(N, 3, H, W)`` moved right and down by ``pixels`` (left and up where negative), with mirrored borders."""
    before, after = max(pixels, 0), max(-pixels, 0)
    height, width = images.shape[-2:]
    return F.pad(images, (before, after, before, after), mode="reflect")[
        ..., after : after + height, after : after + width
    ]


def rescale(images: Tensor, to: float) -> Tensor:
    """``(N, 3, S, S)`` to ``to`` px where that is an int; else to ``to`` times S, rounded up to a multiple of 16 px."""
    size = to if isinstance(to, int) else math.ceil(images.shape[-1] * to / 16) * 16
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode within the context; afterwards every module has the mode that it had before."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def draw_grid(photographs: Tensor, *outputs: Tensor) -> Image.Image:
    """A grid with the rows gray, outputs and truth, and a column for each picture.

    Args:
        photographs: RGB ``(N, 3, H, W)`` in [0, 1].
        outputs: of the same shape; of several, each is a row.
    """
    rows = torch.stack([color.to_gray(photographs), *outputs, photographs])  # (rows, N, 3, H, W)
    padded = F.pad(rows.flatten(0, 1), (0, GAP, 0, GAP), value=1.0).unflatten(0, rows.shape[:2])
    picture = padded.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # (rows H, N W, 3)
    pixels = picture[:-GAP, :-GAP].mul(255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.numpy())
