"""Finding the inflection point of a GAN phase online, from the critic's loss.

A detector is fed the raw loss of each critic batch and answers once, when it is sure; one that is not sure says
nothing, and the phase ends by its budget::

    detector = make_detector(name="curvature", total_steps=3000)
    for step, loss in critic_batches:  # `step` counts all GAN batches of the phase, the critic's and the generator's
        if verdict := detector.update(step, loss):
            roll_back_to(verdict.inflection)

The default, `combined`, listens to the held-out metrics of the snapshots, too (`measured`), if there are any, and has a
last word at the end of the phase (`finish`). Memory is bounded and an update costs some microseconds. This package
knows no torch.
"""

from typing import Any

from pydantic import ValidationError

from nogan.common.errors import UserError
from nogan.inflection.base import Detector, Settings, Verdict
from nogan.inflection.budget import Budget
from nogan.inflection.burden import Burden
from nogan.inflection.combined import Combined
from nogan.inflection.curvature import Curvature
from nogan.inflection.drift import Drift
from nogan.inflection.knee import Knee
from nogan.inflection.probe import Probe
from nogan.inflection.shape import Shape
from nogan.inflection.window import Window

__all__ = ["DEFAULT", "DETECTORS", "Detector", "Settings", "Verdict", "make_detector"]

DETECTORS: dict[str, type[Detector]] = {
    kind.name: kind for kind in (Combined, Probe, Shape, Curvature, Knee, Burden, Drift, Budget, Window)
}
DEFAULT = "combined"


def make_detector(name: str = DEFAULT, *, key: str | None = None, **conf: Any) -> Detector:
    """Build a detector for one GAN phase.

    Args:
        name: which one, a key of ``DETECTORS``.
        key: where in the config all of this comes from, for messages, if not from ``nogan.inflection``.
        **conf: the detector's parameters (see its ``Settings``) and what the program knows of the phase:
            ``total_steps``, the GAN batches planned, always; ``batch_size``, ``images`` (in the whole data set) and
            ``lr`` (the generator's) where known: `budget` needs all three, `window` ``lr``. Every detector takes all.

    Raises:
        UserError: an unknown name or parameter, or a value out of its range; names the key of the config.
    """
    if name not in DETECTORS:
        raise UserError(f"{key or 'nogan.inflection'}.name is {name!r}; expected one of {', '.join(DETECTORS)}.")
    kind = DETECTORS[name]
    try:
        settings = kind.Settings(**conf)
    except ValidationError as error:
        raise UserError(_one_line(key or f"nogan.inflection.{name}", kind, conf, error)) from None
    return kind(settings)


def _one_line(key: str, kind: type[Detector], conf: dict[str, Any], error: ValidationError) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"{key}.{field} is not a parameter of {kind.name!r}; it takes {', '.join(kind.own_parameters())}."
    if first["type"] == "missing":
        return f"{key}.{field} is missing: the program must tell the detector ({kind.name})."
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{key}.{field} is {conf[field]!r}; expected {wanted}."
