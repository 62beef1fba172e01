"""What the study keeps of each simulated curve and of each real run: one JSON line each."""

from collections.abc import Mapping
from typing import TypedDict

from nogan.study.curves import Traits

Key = tuple[str, str, int]  # of a curve: split, family, index


class Found(TypedDict):
    """What one detector said of one curve; ``inflection`` and ``step`` are None where it did not fire."""

    inflection: float | None  # the batch named as the inflection point
    step: int | None  # the batch at which the detector became sure
    micros: float  # time of an update, in microseconds


class PlayedCurve(TypedDict):
    """One simulated curve and what every detector said of it."""

    key: Key
    total: int  # batches
    truth: float | None  # the inflection point; None where there is none
    traits: Traits
    found: dict[str, Found]  # by detector


SINGLE = "single"
"""The kind of snapshot that is the generator as it trained; the others are averages, by their width."""
AVERAGED = "0.1"
"""The width of the average that rules are judged with."""

Pictures = Mapping[str, list[float]]  # merit of each of the probe's pictures, by snapshot step
ByKind = Mapping[str, Mapping[str, float]]  # by kind of snapshot, then by step


class TrainedRun(TypedDict):
    """What a finished run left in its folder."""

    steps: int  # batches of its GAN phase
    batch_size: int
    lr: float  # the generator's, in the GAN phase
    images: int  # in the whole data set
    generator_steps: int
    losses: list[list[float]]  # [GAN batch from 0, critic loss] of each critic batch
    verdict: dict[str, object] | None  # of the run's own detector
    seconds: float
    commit: str | None


class RealRun(TrainedRun):
    """A run with its data set and seed, and its snapshots as measured afterwards, of each kind."""

    data: str
    seed: int
    probe: Mapping[str, Pictures]  # by kind, on pictures that nothing trains on
    oracle: ByKind  # merit on pictures that neither the run nor its probe has seen
    others: Mapping[str, ByKind]  # other measures of the oracle's pictures, by their key
