"""A further measure of held-out pictures in memory, by its name: what ``objective=`` asks of a run's probe."""

from collections.abc import Callable

import torch
from torch import Tensor

from nogan.common.errors import UserError
from nogan.evaluation.deep import InceptionFrechet, Unavailable, inception, lpips
from nogan.evaluation.measures import OF_A_RUN, TABLE
from nogan.evaluation.per_image import OF_MEANS, OF_SHARES, PER_IMAGE, Pair

Further = Callable[[Tensor, Tensor], float]
"""Outputs and photographs, RGB ``(N, 3, H, W)`` in [0, 1], to the measure's value."""


def further_measure(objective: str | None) -> tuple[str, Further] | None:
    """The measure that ``objective`` names, with its key; None where a run measures it anyway.

    Raises:
        UserError: its network's weights cannot be had.
    """
    key = (objective or "").removeprefix("val/")
    if key in OF_A_RUN or key not in TABLE:
        return None
    try:
        return key, _further(key)
    except Unavailable as error:
        raise UserError(f"objective={objective}: {error}") from error


def _further(key: str) -> Further:
    if key == "fid":
        features = inception("fidelity", None, "cpu").run
        return lambda outputs, photographs: _set(features, outputs).distance(_set(features, photographs))
    if key == "lpips":
        distance = lpips(None, "cpu").run
        return lambda outputs, photographs: float(torch.cat(_each(distance, outputs, photographs)).mean())
    if key in OF_MEANS:
        of = OF_MEANS[key]
        return lambda outputs, photographs: of.combine(
            _mean(of.key, outputs, photographs), _mean(of.key, photographs, photographs)
        )
    if key in OF_SHARES:
        of_what, limit = OF_SHARES[key]
        return lambda outputs, photographs: float((_values(of_what, outputs, photographs) > limit).float().mean())
    return lambda outputs, photographs: _mean(key, outputs, photographs)


def _set(features: Callable[[Tensor], Tensor], pictures: Tensor) -> InceptionFrechet:
    sums = InceptionFrechet()
    for picture in pictures.mul(255).round().to(torch.uint8).split(1):
        sums.update(features(picture).numpy())
    return sums


def _each(measure: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, photographs: Tensor) -> list[Tensor]:
    """Picture by picture, which bounds the memory."""
    return [measure(*pair) for pair in zip(outputs.float().split(1), photographs.split(1), strict=True)]


def _values(key: str, outputs: Tensor, photographs: Tensor) -> Tensor:
    return torch.cat(_each(lambda output, truth: PER_IMAGE[key](Pair(output, truth)), outputs, photographs))


def _mean(key: str, outputs: Tensor, photographs: Tensor) -> float:
    return float(_values(key, outputs, photographs).nanmean())
