"""Judges by the held-out pictures and the critic's loss together; without pictures, by the loss alone."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from nogan.inflection.base import DetectorSettings, Verdict
from nogan.inflection.probe import BestSnapshot, ProbeSettings
from nogan.inflection.shape import Shape, ShapeSettings


class ShapeWithoutPictures(BestSnapshot):
    """If no snapshot has been measured, as in a training loop without held-out pictures, it does what `shape` does."""

    def __init__(self, settings: DetectorSettings):
        super().__init__(settings)
        self.alone = Shape(ShapeSettings(total_steps=settings.total_steps))

    def _observe(self, step: int, loss: float) -> Verdict | None:
        if self.is_probed:
            return None
        found = self.alone.update(step, loss)
        self.evidence = self.alone.evidence
        return found and self._verdict(found.inflection, found.reason, found.confidence)

    def state_dict(self) -> dict[str, Any]:
        """The state of any detector, with that of `shape` beside it."""
        return super().state_dict() | {"alone": self.alone.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` to the bit."""
        super().load_state_dict(saved)
        self.alone.load_state_dict(saved["alone"])


class CombinedSettings(ProbeSettings):
    """Parameters of `combined`.

    Attributes:
        patience: share of the phase for which both the best snapshot and the crest of the critic's loss must have
            remained unbeaten for the phase to end.
        smoothing: time constant of the average whose crest is taken, as a share of the phase.
        skip: share of the phase, at its start (the first dip), that is left out of the crest.
    """

    patience: float = Field(default=0.2, gt=0, le=1)
    smoothing: float = Field(default=0.05, gt=0, le=1)
    skip: float = Field(default=0.05, ge=0, lt=1)


class Combined(ShapeWithoutPictures):
    """Fires when neither a better snapshot nor a higher critic loss has come for long; names the best snapshot so far.

    Assumes what `probe` assumes about the held-out pictures. Also assumes that merit goes on rising, if in waves, for
    as long as the critic's loss reaches new heights. So the loss keeps the trough of a wave from being taken for the
    end, and half the patience of `probe` is enough. Like `probe`, it does not fire while the snapshot before the phase
    is the best, and has a verdict at the end of every phase.

    If no snapshot has been measured, as in a training loop without held-out pictures, it does what `shape` does.
    """

    name = "combined"
    Settings = CombinedSettings
    settings: CombinedSettings
    STATE = (*BestSnapshot.STATE, "total", "weight", "crest", "crest_step", "previous")

    def __init__(self, settings: CombinedSettings):
        super().__init__(settings)
        self.total = self.weight = 0.0  # of the losses so far, older ones weighted less
        self.crest, self.crest_step, self.previous = -math.inf, 0, 0

    def _observe(self, step: int, loss: float) -> Verdict | None:
        self._follow(step, loss)
        return super()._observe(step, loss)

    def _follow(self, step: int, loss: float) -> None:
        fade = math.exp(-(step - self.previous) / (self.settings.smoothing * self.settings.total_steps))
        self.total, self.weight, self.previous = self.total * fade + loss, self.weight * fade + 1, step
        average = self.total / self.weight
        if step >= self.settings.skip * self.settings.total_steps and average > self.crest:
            self.crest, self.crest_step = average, step

    def _is_over(self, step: int) -> bool:
        since = max(self.best.step, self.crest_step)
        return self.best.step > 0 and step - since >= self.settings.patience * self.settings.total_steps

    def _what_stands(self, step: int) -> str:
        height = f"the critic loss has not risen above {self.crest:.2f} for {step - self.crest_step}"
        return f"{super()._what_stands(step)}, and {height}"
