"""Finding the inflection point of a GAN phase online, from the critic's loss.

A detector is fed the raw loss of each critic batch and answers once, when it is sure; one that is not sure says
nothing, and the phase ends by its budget::

    detector = make_detector(name="curvature", total_steps=3000)
    for step, loss in critic_batches:  # `step` counts all GAN batches of the phase, the critic's and the generator's
        if verdict := detector.update(step, loss):
            roll_back_to(verdict.inflection)

Memory is bounded and an update costs some microseconds. This package knows no torch.
"""

from typing import Any

from pydantic import ValidationError

from nogan.errors import UserError
from nogan.inflection.base import Detector, Settings, Verdict
from nogan.inflection.budget import Budget
from nogan.inflection.curvature import Curvature

__all__ = ["DEFAULT", "DETECTORS", "Detector", "Settings", "Verdict", "make_detector"]

DETECTORS: dict[str, type[Detector]] = {kind.name: kind for kind in (Curvature, Budget)}
DEFAULT = "curvature"


def make_detector(name: str = DEFAULT, **conf: Any) -> Detector:
    """Build a detector for one GAN phase.

    Args:
        name: which one, a key of ``DETECTORS``.
        **conf: the detector's parameters (see its ``Settings``) and what the program knows of the phase:
            ``total_steps``, the GAN batches planned, always; ``batch_size``, ``images`` (in the whole data set) and
            ``lr`` (the generator's)
            where known: `budget` and `window` need them. Every detector accepts them all.

    Raises:
        UserError: an unknown name or parameter, or a value out of its range; names ``nogan.inflection.<key>``.
    """
    if name not in DETECTORS:
        raise UserError(f"nogan.inflection.name is {name!r}; expected one of {', '.join(DETECTORS)}.")
    kind = DETECTORS[name]
    try:
        settings = kind.Settings(**conf)
    except ValidationError as error:
        raise UserError(_one_line(name, kind, conf, error)) from None
    return kind(settings)


def _one_line(name: str, kind: type[Detector], conf: dict[str, Any], error: ValidationError) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return (
            f"nogan.inflection.{key} is not a parameter of {name!r}; it takes {', '.join(kind.Settings.model_fields)}."
        )
    if first["type"] == "missing":
        return f"nogan.inflection.{key} is missing: the program must tell the detector ({name})."
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"nogan.inflection.{key} is {conf[key]!r}; expected {wanted}."
