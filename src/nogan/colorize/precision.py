"""``--precision auto``: bfloat16 where the device has instructions for it and the colors stay the same to the eye.

The network colors a small picture in both precisions. bfloat16 is taken if, in levels of 8 bits, the chroma differs by
at most :data:`MEAN_LEVELS` in the mean and :data:`HIGH_LEVELS` at the 99.9th percentile. ``benchmarks/colorize.md`` has
the differences on larger pictures. torch is imported where it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import numpy as np

from nogan.common.ycbcr import REC601
from nogan.data.scenes import Scenes

Precision = Literal["auto", "fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16")

MEAN_LEVELS, HIGH_LEVELS = 1.0, 3.0
SIDE = 128
"""Of the small picture, px."""

log = logging.getLogger(__name__)


def choose(run: Callable[[np.ndarray, bool], np.ndarray], device: str) -> Literal["fp32", "bf16"]:
    """The precision that "auto" means for a network.

    Args:
        run: the network: gray ``(1, S, S)`` in [0, 1], and whether in bfloat16, to RGB ``(1, S, S, 3)`` in [0, 1].
        device: that it runs on, as torch names it.
    """
    if not has_bfloat16(device):
        return "fp32"
    gray = small_picture()
    exact = run(gray, False)
    try:
        rounded = run(gray, True)
    except RuntimeError as error:  # a network of the user's own with a layer that knows no bfloat16
        log.debug("not in bfloat16: %s", error)
        return "fp32"
    mean, high = difference(exact, rounded)
    same = mean <= MEAN_LEVELS and high <= HIGH_LEVELS  # not where either is NaN
    log.debug("bfloat16 changes chroma by %.2f levels in the mean, %.2f at the 99.9th percentile", mean, high)
    return "bf16" if same else "fp32"


def small_picture() -> np.ndarray:
    """The gray of a built-in scene, ``(1, S, S)`` in [0, 1], for comparing precisions."""
    picture = Scenes(seed=0, length=1).load(0, SIDE).astype(np.float32) / 255
    return REC601.luma(*np.moveaxis(picture, -1, 0))[None]


def difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """How far apart the chroma of two pictures ``(..., 3)`` in [0, 1] is, in 8-bit levels: mean, 99.9th percentile."""
    planes = (np.moveaxis(picture, -1, 0) for picture in (first, second))
    chroma = [np.stack(REC601.chroma(REC601.luma(*plane), plane[0], plane[2])) for plane in planes]
    apart = np.abs(chroma[0] - chroma[1]) * 255
    ordered = np.sort(apart, axis=None)  # np.quantile loads masked arrays first
    return float(apart.mean()), float(np.interp(0.999 * (apart.size - 1), np.arange(apart.size), ordered))


def has_bfloat16(device: str) -> bool:
    """Whether ``device`` has instructions for bfloat16: of CPUs, AVX512-BF16 or AMX on x86."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device == "cpu" and known()
