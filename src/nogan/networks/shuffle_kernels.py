"""The kernels of :mod:`nogan.networks.shuffle`, in Triton; channels lie last in memory."""

import triton
import triton.language as tl


@triton.jit
def forward(x, y, height, width, channels, BLOCK: tl.constexpr):
    """A block of one row of the result; each element is the mean of those in, above, left, and above left of it."""
    row = tl.program_id(0).to(tl.int64)  # counted through all images
    inner = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = inner < 2 * width * channels
    channel, across = inner % channels, inner // channels
    image, down = row // (2 * height), row % (2 * height)
    total = tl.zeros([BLOCK], tl.float32)
    for above in tl.static_range(2):
        v = tl.maximum(down - above, 0)
        line = x + ((image * height + v // 2) * width) * 4 * channels + 2 * (v % 2)
        for before in tl.static_range(2):
            u = tl.maximum(across - before, 0)
            value = tl.load(line + (u // 2) * 4 * channels + 4 * channel + u % 2, mask=inside, other=0.0)
            value = value.to(tl.float32)
            total += tl.where(value <= 0, 0.0, value)  # NaN stays
    result = (0.25 * total).to(y.dtype.element_ty)
    tl.store(y + row * 2 * width * channels + inner, result, mask=inside)


@triton.jit
def backward(grad, x, found, of_image, of_row, of_pixel, height, width, channels, BLOCK: tl.constexpr):
    """A block of one row of the gradient: each element sums its shares in four of the result's gradients."""
    row = tl.program_id(0).to(tl.int64)
    inner = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = inner < width * 4 * channels
    part, channel = inner % 4, (inner % (4 * channels)) // 4
    v = 2 * (row % height) + part // 2
    u = 2 * (inner // (4 * channels)) + part % 2
    image = grad + (row // height) * of_image
    total = tl.zeros([BLOCK], tl.float32)
    for below in tl.static_range(2):
        for behind in tl.static_range(2):
            # The first row and column count twice, for the edge is replicated.
            share = tl.where(v == 0, 2.0 - below, 1.0) * tl.where(u == 0, 2.0 - behind, 1.0)
            there = inside & (v + below < 2 * height) & (u + behind < 2 * width)
            value = tl.load(image + (v + below) * of_row + (u + behind) * of_pixel + channel, mask=there, other=0.0)
            total += share * value.to(tl.float32)
    at = row * width * 4 * channels + inner
    own = tl.load(x + at, mask=inside, other=0.0)
    result = (tl.where(own <= 0, 0.0, 0.25 * total)).to(found.dtype.element_ty)
    tl.store(found + at, result, mask=inside)
