"""What every detector shares: the verdict, the checked settings, the guard against spikes, and block means."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nogan.common.errors import UserError
from nogan.common.validation import no_booleans


@dataclass(frozen=True)
class Verdict:
    """What a detector found, once it is sure.

    Attributes:
        inflection: the GAN batch estimated as the inflection point; at or before ``step``. 0: the phase
            brought no gain, and the generator before it is the one to keep.
        reason: one readable line with the figures behind it.
        step: the GAN batch at which the detector became sure.
        detector: the name of the detector, as in the config.
        confidence: how sure it is, in [0, 1]. Comparable within one detector only.
    """

    inflection: int
    reason: str
    step: int
    detector: str
    confidence: float


class DetectorSettings(BaseModel):
    """What every detector is told about the phase. Each detector adds its own parameters, with their bounds.

    Attributes:
        total_steps: GAN batches planned for the phase. Windows are shares of it.
        batch_size: images a batch, over all devices.
        lr: the generator's learning rate in the phase.
        images: images in the whole data set, of which the phase sees a share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    total_steps: int = Field(ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    lr: float | None = Field(default=None, gt=0)
    images: int | None = Field(default=None, ge=1)

    _no_booleans = field_validator("*", mode="before")(no_booleans)

    def require(self, detector: str, *keys: str) -> list[Any]:
        """The values of ``keys``, which this detector cannot do without.

        Raises:
            UserError: one of them is missing.
        """
        missing = [key for key in keys if getattr(self, key) is None]
        if missing:
            raise UserError(f"nogan.inflection.name={detector} needs {' and '.join(missing)} of the phase: found none")
        return [getattr(self, key) for key in keys]


class SpikeGuard:
    """Clips a value that leaps out of its neighborhood, in O(1).

    The neighborhood is the median of the last five raw values; its edge is ``reach`` times the running mean distance
    from that median. A rise passes (the median follows it within three batches), a lone spike does not.
    """

    STATE = ("recent", "scale", "seen")

    def __init__(self, reach: float = 6.0, memory: int = 100):
        self.reach, self.memory = reach, memory
        self.recent: list[float] = []
        self.scale, self.seen = 0.0, 0

    def __call__(self, value: float) -> float:
        """The value, clipped."""
        self.recent = [*self.recent[-4:], value]
        median = sorted(self.recent)[len(self.recent) // 2]
        distance = abs(value - median)
        if self.seen >= 20 and self.scale > 0 and distance > self.reach * self.scale:
            distance = self.reach * self.scale
            value = median + math.copysign(distance, value - median)
        self.seen += 1
        self.scale += (distance - self.scale) / min(self.seen, self.memory)
        return value


class Blocks:
    """Means over consecutive blocks of steps, in bounded memory.

    Blocks tile the steps from 0 on, whether a loss was seen in each step or not, so that a block's place in time is
    known; one without any loss has count 0. When ``capacity`` closed blocks are full, either the oldest is dropped
    (``doubling=False``: a trailing window) or neighbors are merged and blocks become twice as wide (the whole past, at
    a resolution of between half the capacity and the capacity).
    """

    STATE = ("width", "first", "sums", "counts")

    def __init__(self, width: int, capacity: int, doubling: bool):
        self.width, self.capacity, self.doubling = max(1, int(width)), capacity, doubling
        self.first = 0
        self.sums: list[float] = [0.0]
        self.counts: list[int] = [0]

    def add(self, step: int, value: float) -> bool:
        """Take one value in; True if that closed at least one block (the value itself then lies in the new one)."""
        closed = False
        while step >= (self.first + len(self.sums)) * self.width:
            if step // self.width - (self.first + len(self.sums)) > self.capacity and not self.doubling:
                self.first = step // self.width - self.capacity  # a long gap: nothing of the window is left
                self.sums, self.counts = [0.0] * self.capacity, [0] * self.capacity
            self.sums.append(0.0)
            self.counts.append(0)
            closed = True
            if len(self.sums) > self.capacity:
                self._make_room()
        self.sums[-1] += value
        self.counts[-1] += 1
        return closed

    def _make_room(self) -> None:
        if not self.doubling:
            self.first += 1
            del self.sums[0], self.counts[0]
            return
        if len(self.sums) % 2:
            self.sums.append(0.0)
            self.counts.append(0)
        self.sums = [a + b for a, b in zip(self.sums[::2], self.sums[1::2], strict=True)]
        self.counts = [a + b for a, b in zip(self.counts[::2], self.counts[1::2], strict=True)]
        self.width *= 2

    def closed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centers (in steps), means (0 where there is none) and counts of the blocks that are complete."""
        counts = np.array(self.counts[:-1], dtype=float)
        means = np.array(self.sums[:-1]) / np.maximum(counts, 1)
        centers = (np.arange(self.first, self.first + len(counts)) + 0.5) * self.width - 0.5
        return centers, means, counts


class Detector:
    """One pass over a GAN phase. A detector fires once at most and is silent from then on.

    Subclasses name themselves, give their ``Settings``, list in ``STATE`` the attributes that change with time
    (numbers, strings, lists, or objects that list their own ``STATE``), and implement ``_observe``.

    Attributes:
        evidence: the figures of the last look, for logs; empty before the first, and after a resume until the next.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[DetectorSettings]] = DetectorSettings
    settings: DetectorSettings
    STATE: ClassVar[tuple[str, ...]] = ()
    _COMMON = ("last_step", "seen", "fired", "guard")

    def __init__(self, settings: DetectorSettings):
        self.settings = settings
        self.last_step, self.seen, self.fired = -1, 0, False
        self.guard = SpikeGuard()
        self.evidence: dict[str, float] = {}

    def update(self, step: int, critic_loss: float) -> Verdict | None:
        """Take in the raw critic loss of GAN batch ``step``; a verdict once the detector is sure, else None.

        Call it at critic batches, with ``step`` counting *all* GAN batches of the phase from 0: the gaps are the
        generator's batches. A loss for every batch does as well (only `burden` needs the gaps). A loss that is not
        finite is left out; a step that is not past the last one is ignored.
        """
        step = int(step)
        if self.fired or step <= self.last_step:
            return None
        self.last_step = step
        self.seen += 1
        critic_loss = float(critic_loss)
        if not math.isfinite(critic_loss):
            return None
        verdict = self._observe(step, self.guard(critic_loss))
        self.fired = self.fired or verdict is not None
        return verdict

    def pictured(self, step: int, merits: Sequence[float]) -> None:
        """Take in the merit of each held-out picture at snapshot ``step``, the same pictures in the same order.

        It comes before :meth:`measured` of that snapshot. Detectors that do not compare picture by picture ignore it.
        """

    def measured(self, step: int, metrics: Mapping[str, float]) -> Verdict | None:
        """Take in the probe's metrics of the snapshot after ``step`` batches (0: before the phase).

        Detectors that judge by the critic's loss alone ignore it.
        """
        return None

    def finish(self) -> Verdict | None:
        """Called at the end of a phase without a verdict: a last one, or None from a detector that is not sure."""
        return None

    @classmethod
    def own_parameters(cls) -> list[str]:
        """The names of its parameters, without the facts of the phase."""
        return [name for name in cls.Settings.model_fields if name not in DetectorSettings.model_fields]

    def _observe(self, step: int, loss: float) -> Verdict | None:
        raise NotImplementedError

    def _verdict(self, inflection: float, reason: str, confidence: float) -> Verdict:
        inflection = min(max(round(inflection), 0), self.last_step)
        return Verdict(inflection, reason, self.last_step, self.name, round(float(confidence), 4))

    def state_dict(self) -> dict[str, Any]:
        """All that changes with time, as plain numbers, strings, lists and dicts; with the settings it belongs to."""
        state = {key: _plain(getattr(self, key)) for key in (*self._COMMON, *self.STATE)}
        return {"name": self.name, "settings": self.settings.model_dump(), "state": state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` to the bit.

        Raises:
            UserError: the state is that of another detector or of other settings.
        """
        if saved["name"] != self.name:
            raise UserError(
                f"nogan.inflection.name is {self.name!r}, but the checkpoint's detector is {saved['name']!r}: "
                "resume with the same detector."
            )
        for key, value in self.settings.model_dump().items():
            if saved["settings"].get(key) != value:
                before = saved["settings"].get(key)
                raise UserError(
                    f"nogan.inflection.{self.name}.{key} is {value!r}, but was {before!r} when the checkpoint was "
                    "made: resume with the same settings."
                )
        for key, value in saved["state"].items():
            _restore(self, key, value)


def _plain(value: Any) -> Any:
    if hasattr(value, "STATE"):
        return {key: _plain(getattr(value, key)) for key in value.STATE}
    if isinstance(value, np.generic):
        return value.item()  # checkpoints hold Python's own numbers only
    return list(value) if isinstance(value, list) else value


def _restore(owner: Any, key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for inner, item in value.items():
            _restore(getattr(owner, key), inner, item)
    else:
        setattr(owner, key, list(value) if isinstance(value, list) else value)


def correlation_inflation(residuals: np.ndarray, weights: np.ndarray, parameters: int) -> float:
    """The factor by which AR(1) residuals widen a variance: (1 + r) / (1 - r), r corrected for bias and at least 0."""
    scaled = residuals * np.sqrt(weights)
    power = float(scaled @ scaled)
    if power <= 0 or len(scaled) < 4:
        return 1.0
    r = float(scaled[1:] @ scaled[:-1]) / power + parameters / len(scaled)
    r = min(max(r, 0.0), 0.95)
    return (1 + r) / (1 - r)
