"""The three kinds of phase. A phase is one Lightning epoch in which every batch does the same thing.

Each class has the fields that its kind needs and no others; what they share is in :class:`Phase`. A phase is immutable
and answers for itself: its rates at a step, its cost, its name for people, the config key that sets it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from nogan.plan.schedule import Hyper, OneCycle, one_cycle_hyper

PhaseKind = Literal["generator", "critic", "gan"]
Turn = Literal["critic", "generator"]
TrainedPart = Literal["all", "decoder", "critic"]

# The shape in plans that were written before the config had one.
UNWRITTEN_ONE_CYCLE = OneCycle(div=25.0, final_div=2.5e5, beta1=(0.95, 0.85))


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What every phase has."""

    kind: ClassVar[PhaseKind]
    relative_cost: ClassVar[float] = 1.0  # of a pixel of one image; only ratios matter

    name: str  # unique within a plan
    cycle: int  # 0: generator pretraining; 1 and up: the critic/GAN cycles
    size: int  # px, square
    batch_size: int  # images an optimizer step, over all devices
    share: float  # of the training images
    epochs: int  # passes over that share
    images: int  # one pass, whole batches only
    steps: int  # optimizer steps, all passes
    lr: tuple[float, ...]  # maximum rates: of each generator layer group; (critic,); (generator, critic) in a GAN phase
    number: int = 0  # its place in the whole recipe, from 0, also where a run begins later: a key of random draws

    @property
    def trained_part(self) -> TrainedPart:
        """What trains: the whole generator, its decoder, or the critic; of a GAN phase, the generator's part."""
        raise NotImplementedError

    def hyper(self, step: int, turn: Turn = "generator") -> Hyper:
        """Learning rates and betas at ``step`` (from 0); in a GAN phase, of the network whose ``turn`` it is."""
        raise NotImplementedError

    def is_snapshot(self, batches_done: int) -> bool:
        """Whether the generator is kept after ``batches_done`` batches of this phase."""
        return False

    @property
    def key(self) -> str:
        """The config key that sets this phase."""
        raise NotImplementedError

    @property
    def cost(self) -> float:
        """Work in this phase, in arbitrary units that compare between phases of one plan."""
        return self.relative_cost * self.steps * self.batch_size * self.size**2

    @property
    def title(self) -> str:
        """A name for people: ``cycle 2 · GAN · 192 px`` or ``pretrain g1 · 64 px``."""
        return f"{self.short_title} · {self.size} px"

    @property
    def short_title(self) -> str:
        """The same without the size: ``cycle 2 · GAN`` or ``pretrain g1``."""
        raise NotImplementedError

    @property
    def config_name(self) -> str:
        """The name in the config, where a phase is written once for all cycles."""
        return self.name.split("@")[0]


@dataclass(frozen=True, kw_only=True)
class OneCyclePhase(Phase):
    """A phase in which one network trains alone, under the one-cycle policy."""

    beta2: float
    pct_start: float  # the share of steps in which the rate rises
    one_cycle: OneCycle = UNWRITTEN_ONE_CYCLE  # the shape of the rise and the fall

    def hyper(self, step: int, turn: Turn = "generator") -> Hyper:
        """The rate of each parameter group at ``step``, and the betas."""
        return one_cycle_hyper(step, self.steps, self.lr, self.pct_start, self.beta2, self.one_cycle)


@dataclass(frozen=True, kw_only=True)
class GeneratorPhase(OneCyclePhase):
    """Conventional pretraining of the generator, on the feature loss."""

    kind: ClassVar[PhaseKind] = "generator"

    trains: Literal["all", "decoder"]
    noise: bool = False  # on the generator's input

    @property
    def trained_part(self) -> TrainedPart:
        """The whole generator, or its decoder."""
        return self.trains

    @property
    def key(self) -> str:
        """``nogan.pretrain.NAME``."""
        return f"nogan.pretrain.{self.config_name}"

    @property
    def short_title(self) -> str:
        """``pretrain g1``."""
        return f"pretrain {self.config_name}"


@dataclass(frozen=True, kw_only=True)
class CriticPhase(OneCyclePhase):
    """Training of the critic on photographs against the fakes of its cycle."""

    kind: ClassVar[PhaseKind] = "critic"
    relative_cost: ClassVar[float] = 0.5

    fakes: int  # generated pictures on disk
    fakes_size: int  # px, square
    held_out: int = 0  # fakes, and as many photographs, that the critic is only measured on

    @property
    def trained_part(self) -> TrainedPart:
        """The critic."""
        return "critic"

    @property
    def fakes_bytes(self) -> int:
        """Disk that the fakes take, in bytes."""
        return self.fakes * 3 * self.fakes_size**2

    @property
    def key(self) -> str:
        """``nogan.critic.phases.NAME``."""
        return f"nogan.critic.phases.{self.config_name}"

    @property
    def short_title(self) -> str:
        """``cycle 2 · critic c1``."""
        return f"cycle {self.cycle} · critic {self.config_name}"


@dataclass(frozen=True, kw_only=True)
class GANPhase(Phase):
    """Direct adversarial training: each batch serves the critic or the generator, at rates that are constant.

    With ``decay`` they fall in a straight line to zero over the last part: warmup, stable, decay (Hu et al., "MiniCPM",
    2024, arXiv:2404.06395), without the warmup.
    """

    kind: ClassVar[PhaseKind] = "gan"

    betas: tuple[float, float]
    snapshot_every: int  # batches
    noise: bool = False  # on the generator's input
    decay: float = 0.0  # share of the batches, at the planned end, in which both rates fall to zero

    @property
    def generator_lr(self) -> float:
        """The generator's rate."""
        return self.lr[0]

    @property
    def critic_lr(self) -> float:
        """The critic's rate."""
        return self.lr[1]

    @property
    def trained_part(self) -> TrainedPart:
        """The generator's decoder, by turns with the critic."""
        return "decoder"

    def hyper(self, step: int, turn: Turn = "generator") -> Hyper:
        """The rate of the network whose ``turn`` it is."""
        rate = self.critic_lr if turn == "critic" else self.generator_lr
        left, falling = self.steps - step, self.decay * self.steps
        return Hyper(lr=(rate * left / falling if left < falling else rate,), betas=self.betas)

    def is_snapshot(self, batches_done: int) -> bool:
        """At every ``snapshot_every`` batches, and at the last."""
        return batches_done % self.snapshot_every == 0 or batches_done == self.steps

    @property
    def key(self) -> str:
        """``nogan.gan``."""
        return "nogan.gan"

    @property
    def short_title(self) -> str:
        """``cycle 2 · GAN``."""
        return f"cycle {self.cycle} · GAN"


Plan = tuple[Phase, ...]

CLASSES: dict[PhaseKind, type[Phase]] = {kind.kind: kind for kind in (GeneratorPhase, CriticPhase, GANPhase)}


def fakes_bytes(plan: Plan) -> int:
    """Disk that the fakes of one cycle take at most, in bytes."""
    return max((phase.fakes_bytes for phase in plan if isinstance(phase, CriticPhase)), default=0)


def as_rows(plan: Plan) -> list[dict[str, Any]]:
    """The plan as plain dicts, to be written as JSON: each phase's ``name``, ``kind`` and own fields."""
    return [{"name": phase.name, "kind": phase.kind, **asdict(phase)} for phase in plan]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> Plan:
    """Inverse of :func:`as_rows`; fields that the phase's class does not have, as older files hold, are passed over."""
    return tuple(_phase(CLASSES[row["kind"]], {"number": number, **row}) for number, row in enumerate(rows))


def _phase(kind: type[Phase], row: Mapping[str, Any]) -> Phase:
    names = {field.name for field in fields(kind)}
    values: dict[str, Any] = {key: _from_json(value) for key, value in row.items() if key in names}
    if shape := values.get("one_cycle"):
        values["one_cycle"] = OneCycle(**{key: _from_json(value) for key, value in shape.items()})
    return kind(**values)


def _from_json(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
