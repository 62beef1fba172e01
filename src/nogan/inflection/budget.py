"""Stops after a fixed share of the data, as published: the baseline for all other detectors."""

import math

from pydantic import Field

from nogan.inflection.base import Detector, DetectorSettings, Verdict

# Found by eye by the author of NoGAN (repository jantic/DeOldify): share of ImageNet, at the generator's learning rate.
_PUBLISHED = ((1e-5, 0.014), (5e-6, 0.022))


def published_share(lr: float) -> float:
    """The share of the data at the inflection point for a learning rate: the power law through both published
    points."""
    (lr_a, share_a), (lr_b, share_b) = _PUBLISHED
    return share_a * (lr / lr_a) ** (math.log(share_b / share_a) / math.log(lr_b / lr_a))


class BudgetSettings(DetectorSettings):
    """``share``: of the data, in (0, 1]; left out, the published share for the learning rate."""

    share: float | None = Field(default=None, gt=0, le=1)


class Budget(Detector):
    """Fires when a fixed share of the data has been seen in the phase; does not look at the loss.

    Assumes that the inflection point depends on the learning rate alone: 1.4 % of the data at 1e-5, 2.2 % at 5e-6, a
    power law between and beyond. Needs ``images`` and ``batch_size``, and ``lr`` unless ``share`` is given. If the
    budget lies beyond the phase it never fires.
    """

    name = "budget"
    Settings = BudgetSettings
    settings: BudgetSettings

    def __init__(self, settings: BudgetSettings):
        super().__init__(settings)
        images, self.batch_size = settings.require(self.name, "images", "batch_size")
        self.share = settings.share or published_share(*settings.require(self.name, "lr"))
        self.at = max(0, math.ceil(self.share * images / self.batch_size) - 1)

    def _observe(self, step: int, loss: float) -> Verdict | None:
        if step < self.at:
            return None
        seen = (self.at + 1) * self.batch_size
        return self._verdict(self.at, f"the budget of {self.share:.2%} of the data is spent ({seen} images)", 1.0)
