"""What a run notes of each phase: its cost, how it ended, what came of it. ``records.json`` is a list of them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from nogan.inflection import Verdict
from nogan.plan import Phase, PhaseKind

End = Literal["complete", "inflection", "budget"]
Action = Literal["stop", "mark"]


@dataclass(frozen=True)
class NotedVerdict:
    """A detector's verdict on a GAN phase, and what followed from it."""

    inflection: int  # batches of the phase; 0: it brought no gain
    step: int  # the batch at which the detector became sure, the first being 0
    detector: str
    reason: str  # one line, with the figures behind it
    action: Action  # "stop": the phase ended and the generator went back; "mark": only noted

    @classmethod
    def of(cls, verdict: Verdict, action: Action) -> "NotedVerdict":
        """Note what the detector found."""
        return cls(verdict.inflection, verdict.step, verdict.detector, verdict.reason, action)

    @property
    def seen_at(self) -> int:
        """Batches of the phase that were done when the detector became sure, counted as ``inflection`` is."""
        return self.step + 1


@dataclass
class PhaseRecord:
    """One phase as it went. What a phase of its kind does not have, or what is still open, is None.

    ``to_dict`` leaves out what is None, so that a key that is there says something.
    """

    name: str
    kind: PhaseKind
    cycle: int
    steps: int = 0  # batches so far
    seconds: float = 0.0  # of training
    probe_seconds: float = 0.0  # of measuring
    verdict: NotedVerdict | None = None
    end: End | None = None  # None while the phase is on; "budget": a GAN phase without a verdict
    critic_steps: int | None = None  # of a GAN phase
    generator_steps: int | None = None  # of a GAN phase
    rolled_back_to: int | None = None  # the snapshot (GAN batches) that the generator went back to
    metrics: dict[str, float] | None = None  # held-out metrics of the generator after the phase
    critic: dict[str, float] | None = None  # held-out loss and accuracy after a critic phase

    @classmethod
    def begin(cls, phase: Phase) -> "PhaseRecord":
        """The record of a phase that is just entered."""
        return cls(phase.name, phase.kind, phase.cycle)

    @property
    def total_seconds(self) -> float:
        """Time in the phase, training and measuring."""
        return self.seconds + self.probe_seconds

    @property
    def chosen(self) -> int | None:
        """The batch of a GAN phase whose generator the run went on from; None while the phase is on."""
        if self.end is None:
            return None
        return self.steps if self.rolled_back_to is None else self.rolled_back_to

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and checkpoints."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PhaseRecord":
        """Inverse of :meth:`to_dict`; keys that this version does not know are passed over."""
        names = {field.name for field in fields(cls)}
        known = {key: value for key, value in values.items() if key in names}
        if verdict := known.get("verdict"):
            known["verdict"] = NotedVerdict(**verdict)
        return cls(**known)


def final_metrics(records: Iterable[PhaseRecord]) -> dict[str, float]:
    """Held-out metrics of the generator that ``records`` ended with; empty before the first are there."""
    return next((record.metrics for record in reversed(list(records)) if record.metrics), {})
