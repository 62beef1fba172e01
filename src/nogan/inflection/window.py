"""Believes another detector only near the published inflection points."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from nogan.common.errors import UserError
from nogan.inflection.base import Detector, DetectorSettings, Verdict

# lr x generator batches at the inflection point, as the author of NoGAN found it by eye (repository jantic/DeOldify).
PRIOR = (0.016, 0.020)


class WindowSettings(DetectorSettings):
    """Parameters of `window`.

    Attributes:
        of: the other detector: its name, or a mapping of ``name`` and its parameters. It hears the loss alone.
        factor: how far from the prior a verdict may lie: from its lower end / factor to its upper end x factor.
    """

    of: str | dict[str, Any] = "shape"
    factor: float = Field(default=2.0, ge=1)


class Window(Detector):
    """Passes on another detector's verdict if lr x generator batches at its inflection point is near 0.016–0.020.

    Assumes that the generator can be moved only so far before it starts to oscillate, whatever its learning rate, as
    the two published points suggest. Generator batches are the gaps between the updates; where there are none (a loss
    for every batch), half of the batches count as the generator's. Needs ``lr``. A verdict that comes too early is
    discarded and the other detector starts again; one that comes too late is discarded for good, and the phase runs
    to its planned end.
    """

    name = "window"
    Settings = WindowSettings
    settings: WindowSettings
    STATE = ("trail", "refused")
    TRAIL = 256  # points of the phase at which the count of the generator's batches is kept

    def __init__(self, settings: WindowSettings):
        super().__init__(settings)
        (self.lr,) = settings.require(self.name, "lr")
        self.low, self.high = PRIOR[0] / settings.factor, PRIOR[1] * settings.factor
        self.every = math.ceil(settings.total_steps / self.TRAIL)
        self.trail: list[int] = []  # the generator's batches so far, at every `every`-th batch
        self.refused = 0
        self.inner = self._fresh()

    def _fresh(self) -> Detector:
        from nogan.inflection import make_detector  # here, since the package imports this module

        known = self.settings.model_dump(exclude=set(self.own_parameters()))
        of = self.settings.of
        conf = {"name": of} if isinstance(of, str) else dict(of)
        if conf.get("name") == self.name:
            raise UserError("nogan.inflection.window.of is 'window'; expected another detector for it to bound.")
        if conf.get("name") == "probe":
            raise UserError("nogan.inflection.window.of is 'probe'; expected a detector that hears the loss.")
        return make_detector(**(known | conf), key="nogan.inflection.window.of")

    def _observe(self, step: int, loss: float) -> Verdict | None:
        while len(self.trail) * self.every <= step:
            self.trail.append(step + 1 - self.seen)
        found = self.inner.update(step, loss)
        self.evidence = self.inner.evidence
        if found is None:
            return None
        gaps = step + 1 - self.seen
        at = found.inflection
        generator = self.trail[at // self.every] if gaps > 0.01 * step else at / 2
        moved = self.lr * generator
        if moved < self.low:
            self.refused += 1
            self.inner = self._fresh()
            return None
        if moved > self.high:
            self.fired = True
            return None
        reason = f"{found.reason}; lr x generator batches is {moved:.4f} there (prior {PRIOR[0]}–{PRIOR[1]})"
        return self._verdict(at, reason, found.confidence)

    def state_dict(self) -> dict[str, Any]:
        """The state of any detector, with that of the bounded one beside it."""
        return super().state_dict() | {"inner": self.inner.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` to the bit."""
        super().load_state_dict(saved)
        self.inner.load_state_dict(saved["inner"])
