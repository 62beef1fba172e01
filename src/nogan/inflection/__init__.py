"""Finding the inflection point of a GAN phase online, from the held-out pictures and the critic's loss.

A detector is fed the raw loss of each critic batch and answers once, when it is sure. If it never is, the phase runs to
its planned end::

    detector = make_detector(name="curvature", total_steps=3000)
    for step, loss in critic_batches:  # `step` counts all GAN batches of the phase, the critic's and the generator's
        if verdict := detector.update(step, loss):
            roll_back_to(verdict.inflection)

The default, `pays`, judges by the held-out pictures of the snapshots, one by one (`pictured`, then `measured`), and has
a last word at the end of the phase (`finish`); where no snapshot is measured, it judges by the loss, as `shape` does.
Memory is bounded and an update costs some microseconds. This package does not need torch.
"""

import importlib
import pkgutil
from typing import Any

from pydantic import ValidationError

from nogan.common import targets
from nogan.common.errors import UserError
from nogan.common.validation import one_line_a_key, one_of
from nogan.inflection.base import Detector, DetectorSettings, Verdict

__all__ = ["DEFAULT", "DETECTORS", "Detector", "DetectorSettings", "Verdict", "complete", "make_detector"]

DEFAULT = "pays"


def _found_here() -> dict[str, type[Detector]]:
    """Every detector of this package by its name, the default first; to add one, add a file."""
    found: list[type[Detector]] = []
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
        found += [
            kind for kind in own if isinstance(kind, type) and issubclass(kind, Detector) and "name" in vars(kind)
        ]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: (kind.name != DEFAULT, kind.name))}


DETECTORS = _found_here()


def make_detector(name: str = DEFAULT, *, key: str | None = None, _target_: str | None = None, **conf: Any) -> Detector:
    """Build a detector for one GAN phase.

    Args:
        name: which one, a key of ``DETECTORS``; or what the class at ``_target_`` calls itself.
        key: where in the config all of this comes from, for messages, if not from ``nogan.inflection``.
        _target_: ``my_module.MyDetector``: a class of your own, imported from there.
        **conf: the detector's parameters (see its ``Settings``) and what the program knows of the phase:
            ``total_steps``, the GAN batches planned, always; ``batch_size``, ``images`` (in the whole data set) and
            ``lr`` (the generator's) where known: `budget` needs all three, `window` ``lr``. Every detector takes all.

    Raises:
        UserError: an unknown name or parameter, or a value out of its range; names the key of the config.
    """
    kind = _kind(name, _target_, key)
    return kind(_settings(kind, conf, key or f"nogan.inflection.{name}"))


def complete(name: str, told: dict[str, Any] | None = None) -> dict[str, Any]:
    """All parameters of detector ``name``: those ``told``, and the defaults of the others.

    Raises:
        UserError: a parameter that it does not have, or a value out of its range.
    """
    kind = _kind(name, None, None)
    settings = _settings(kind, {"total_steps": 1, **(told or {})}, f"nogan.inflection.{name}")
    return settings.model_dump(include=set(kind.own_parameters()))


def _kind(name: str, target: str | None, key: str | None) -> type[Detector]:
    key = f"{key or 'nogan.inflection'}.name"
    if target is None:
        if name not in DETECTORS:
            raise UserError(f"{key}={name}: expected {one_of(DETECTORS)}")
        return DETECTORS[name]
    section = {targets.TARGET: target}
    kind = targets.locate(section, f"nogan.inflection.{name}")
    if not (isinstance(kind, type) and issubclass(kind, Detector)):
        raise UserError(f"nogan.inflection.{name}.{targets.TARGET}={target}: expected a {Detector.__qualname__}")
    if getattr(kind, "name", None) != name:
        raise UserError(f"{key}={name}: {target} calls itself {getattr(kind, 'name', None)!r}; expected the same")
    return kind


def _settings(kind: type[Detector], conf: dict[str, Any], key: str) -> DetectorSettings:
    try:
        return kind.Settings(**conf)
    except ValidationError as error:
        lines = one_line_a_key(error.errors(include_url=False), lambda path: kind.own_parameters(), key)
        raise UserError(lines[0]) from None
