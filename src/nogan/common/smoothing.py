"""The moving average that smooths losses in logs and on pages."""

import math

SMOOTHING = 0.98
"""Weight of the past in each step."""


class DebiasedEMA:
    """Exponential moving average, corrected for its start value 0.

    After values v_1 … v_n it is sum((1 - decay) decay^(n - i) v_i) / (1 - decay^n), so the first is v_1 itself
    (Kingma and Ba, "Adam", 2015, section 3). Values that are not finite are ignored, so that one bad batch does not
    end a curve.
    """

    def __init__(self, decay: float = SMOOTHING):
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; it must lie in [0, 1)")
        self.decay, self._average, self._count = decay, 0.0, 0

    @property
    def value(self) -> float:
        """The smoothed value; NaN before the first finite value."""
        return self._average / (1 - self.decay**self._count) if self._count else math.nan

    def update(self, value: float) -> float:
        """Add ``value``; returns the smoothed value."""
        value = float(value)
        if math.isfinite(value):
            self._average = self.decay * self._average + (1 - self.decay) * value
            self._count += 1
        return self.value

    def state_dict(self) -> dict[str, float | int]:
        """Decay, raw average and count, as plain numbers."""
        return {"decay": self.decay, "average": self._average, "count": self._count}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.decay, self._average, self._count = state["decay"], state["average"], int(state["count"])
