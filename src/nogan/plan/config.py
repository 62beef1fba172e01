"""The settings of a run: the schema behind ``conf/``, checked as a whole before any data or network is touched.

The YAML files under ``conf/`` hold every default; this module holds none, so that there is one place to read a value
and one place to read what is allowed. :func:`parse_config` turns a plain mapping into a :class:`RunConfig` or raises a
:class:`~nogan.common.errors.UserError` with one line for each mistake.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nogan import inflection
from nogan.common import validation
from nogan.common.errors import UserError
from nogan.common.targets import TARGET, has_target
from nogan.common.validation import Line, no_booleans, one_line_a_key, one_of

Count = Annotated[int, BeforeValidator(no_booleans), Field(ge=1)]
Natural = Annotated[int, BeforeValidator(no_booleans), Field(ge=0)]
Repeats = Annotated[Natural, Field(le=1000)]
Pixels = Annotated[int, BeforeValidator(no_booleans), Field(ge=32, le=2048)]
Number = Annotated[float, BeforeValidator(no_booleans), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(gt=0, le=1)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Rate = Annotated[Number, Field(gt=0, le=1)]
Weight = Annotated[Number, Field(ge=0)]
Width = Annotated[Number, Field(ge=0.001, le=0.28)]


class Section(BaseModel):
    """A mapping of the config: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _naming_a_class(section: dict[str, Any]) -> dict[str, Any]:
    if not has_target(section):
        raise ValueError(f"expected {TARGET}: MODULE.CLASS in it, and the arguments of that class beside it")
    return section


Part = Annotated[dict[str, Any], AfterValidator(_naming_a_class)]
"""A part of the run that the user provides: ``{_target_: my_module.MyClass, …}``. Nothing of it is imported here."""


class GeneratorPhaseConfig(Section):
    """One conventional pretraining pass of the generator."""

    size: Pixels
    batch_size: Count
    share: Share
    epochs: Count = 1
    lr: Rate | tuple[Rate, Rate]
    pct_start: Share
    trains: Literal["all", "decoder"] = "all"
    noise: bool = False

    @model_validator(mode="after")
    def _ordered_pair(self) -> "GeneratorPhaseConfig":
        if isinstance(self.lr, tuple) and self.lr[0] > self.lr[1]:
            raise ValueError(f"lr={list(self.lr)}: expected [encoder, decoder] rates in ascending order")
        return self


class CriticPhaseConfig(Section):
    """One training of the critic on fakes of the generator as it stands."""

    size: Pixels
    batch_size: Count
    epochs: Count
    lr: Rate
    pct_start: Share
    cycles: Literal["first", "all"] = "all"


class Fakes(Section):
    """The generator's pictures that the critic trains on, made again in each cycle."""

    size: Pixels
    batch_size: Count
    share: Share


class Critic(Section):
    """Critic pretraining: ``nogan.critic``."""

    fakes: Fakes
    reals: Literal["heldout", "train"]
    val_share: Fraction
    restart: Literal["pre_gan", "post_gan"]
    phases: dict[str, CriticPhaseConfig | None]


class LossWeights(Section):
    """Weights of the generator's two losses in the GAN phase."""

    adversarial: Weight
    feature: Weight


class VividnessDraw(Section):
    """How vividness is drawn for each picture of a GAN phase: ``nogan.gan.vividness``, for ``model.vividness``."""

    at_zero: Probability
    at_one: Probability
    critic_sees: Literal["vivid", "all", "told"]

    @model_validator(mode="after")
    def _shares_of_one(self) -> "VividnessDraw":
        if self.at_zero + self.at_one > 1:
            raise ValueError(
                f"at_zero={self.at_zero:g} and at_one={self.at_one:g} are shares of the pictures: expected at most 1 "
                "together"
            )
        return self


class Gan(Section):
    """Direct adversarial training: ``nogan.gan``."""

    size: Pixels
    batch_size: Count
    share: Share
    epochs: Count
    lr: Rate
    critic_lr_mult: Positive
    critic_threshold: Positive
    max_critic_steps: Count | None
    weights: LossWeights
    betas: tuple[Fraction, Fraction]
    noise: bool
    decay: Probability = 0.0
    vividness: VividnessDraw = VividnessDraw(at_zero=0.25, at_one=0.5, critic_sees="vivid")


class Inflection(Section, extra="allow"):
    """The detector of the inflection point, what follows its verdict, and the parameters of each detector.

    A section that is none of the package's detectors names a class of the user's own by ``_target_``.
    """

    name: str
    action: Literal["stop", "mark"]
    average: Width | None = None
    cycle_worth: Fraction | None = None
    __pydantic_extra__: dict[str, dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        told = {name: {} for name in inflection.DETECTORS} | {
            k: v for k, v in given.items() if k not in cls.model_fields
        }
        sections = {
            name: section if has_target(section) else _parameters(name, section) for name, section in told.items()
        }
        return {**given, **sections}

    @model_validator(mode="after")
    def _one_that_there_is(self) -> "Inflection":
        if self.name not in self._sections:
            raise Line(f"nogan.inflection.name={self.name}: expected {one_of(self._sections)}")
        if self.name in inflection.DETECTORS:
            try:  # in any phase: what a detector makes of its parameters does not depend on it
                inflection.make_detector(
                    self.name, total_steps=1000, batch_size=8, lr=1e-5, images=10**6, **self.parameters
                )
            except UserError as error:
                raise Line(str(error)) from None
        return self

    @property
    def _sections(self) -> dict[str, dict[str, Any]]:
        assert self.__pydantic_extra__ is not None
        return self.__pydantic_extra__

    @property
    def parameters(self) -> dict[str, Any]:
        """The chosen detector's own parameters, as ``make_detector`` takes them."""
        return dict(self._sections[self.name])


def _parameters(name: str, told: Any) -> dict[str, Any]:
    """What detector ``name`` is ``told``, with the defaults of the rest."""
    key = f"nogan.inflection.{name}"
    if name not in inflection.DETECTORS:
        raise Line(unknown_key(key))
    if not isinstance(told, Mapping):
        raise Line(f"{key}={told}: expected {', '.join(inflection.DETECTORS[name].own_parameters())} below it")
    try:
        return inflection.complete(name, dict(told))
    except UserError as error:
        raise Line(str(error)) from None


class OneCycle(Section):
    """The learning rate of every phase but the GAN's: ``nogan.one_cycle``."""

    div: Annotated[Number, Field(ge=1)]
    final_div: Annotated[Number, Field(ge=1)]
    beta1: tuple[Fraction, Fraction]


class AugmentStyle(Section):
    """How far a photograph may be changed: see :class:`nogan.data.augment.AugmentConfig`."""

    warp: Fraction
    rotate: Annotated[Number, Field(ge=0, le=180)]
    zoom: Annotated[Number, Field(ge=1)]
    lighting: Fraction
    p_geometry: Probability
    p_lighting: Probability
    p_flip: Probability
    random_crop: bool


class Augment(Section):
    """Augmentation of the generator's photographs and of the critic's pictures: ``nogan.augment``."""

    generator: AugmentStyle
    critic: AugmentStyle


class Consistency(Section):
    """What keeps film from flickering: a moved, noisy input has to give the moved output. ``nogan.consistency``."""

    weight: Weight
    noise: Weight
    shift: Annotated[Number, Field(ge=0, le=0.5)]
    rotate: Annotated[Number, Field(ge=0, le=180)]
    zoom: Annotated[Number, Field(ge=0, le=1)]


class Optimizer(Section):
    """Adam with decoupled weight decay on every parameter that trains."""

    weight_decay: Weight
    eps: Positive
    beta2: Fraction
    gradient_clip: Positive | None


class Nogan(Section):
    """The recipe."""

    start: Literal["beginning", "gan"]
    repeats: Repeats
    scale: Positive
    pretrain: dict[str, GeneratorPhaseConfig | None]
    critic: Critic
    gan: Gan
    inflection: Inflection
    snapshot_every: Share
    snapshot_budget_gb: Positive
    one_cycle: OneCycle
    augment: Augment
    consistency: Consistency | None = None
    optimizer: Optimizer
    ema: Fraction | None


class CriticNetwork(Section):
    """The critic's architecture."""

    width: Count
    doublings: Count
    dropout: Fraction


class VividnessNetwork(Section):
    """How the generator's decoder is told how vivid to be: see :class:`nogan.networks.vividness.Vividness`."""

    hidden: Count
    rate: Positive


class Networks(Section):
    """Networks of the user's own, each in place of the one that the other keys describe."""

    generator: Part | None = None
    critic: Part | None = None


class Model(Section):
    """The two networks."""

    name: str
    encoder: str
    decoder: Literal["deep", "wide"]
    width: Positive
    pretrained: bool
    encoder_weights: str | None
    init: str | None
    init_critic: str | None
    init_stage: Literal["final", "pretrained", "before_gan"]
    init_required: bool
    critic: CriticNetwork
    vividness: VividnessNetwork | None = None
    networks: Networks = Networks()

    @model_validator(mode="after")
    def _a_knob_of_our_own(self) -> "Model":
        if self.vividness is not None and self.networks.generator is not None:
            raise ValueError(
                "model.vividness is for the generators of this package: expected model.vividness=null with "
                "model.networks.generator"
            )
        return self


class Loss(Section):
    """The generator's conventional loss: pixels and the features of a frozen network (``network: null`` for none).

    ``function`` is a loss of the user's own, in place of all of that.
    """

    network: str | None
    layers: tuple[Natural, ...]
    weights: tuple[Weight, ...]
    pixel_weight: Weight
    pretrained: bool
    network_weights: str | None
    rebalance: Weight = 0.0
    function: Part | None = None

    @model_validator(mode="after")
    def _a_weight_a_layer(self) -> "Loss":
        if len(self.layers) != len(self.weights):
            raise ValueError(
                f"loss.layers has {len(self.layers)} entries and loss.weights {len(self.weights)}: expected as many"
            )
        if self.network is not None and not self.layers:
            raise ValueError(
                f"loss.network={self.network}, but loss.layers=[] takes nothing of it: expected layers and their "
                "loss.weights, or loss.network=null (pixels alone)"
            )
        return self


BUILT_IN_DATA = ("scenes", "folder", "imagenet")


class Data(Section):
    """Where the photographs come from and how they are divided.

    With ``source``, one of the user's own, ``kind`` is a name for it, and ``path`` and ``images`` mean nothing.
    """

    kind: str
    source: Part | None = None
    path: str | None
    val_path: str | None
    images: Count | None
    seed: Natural
    val_share: Fraction
    reals_share: Fraction
    hue_cue: Probability = 0.0
    augment: bool
    workers: Natural
    max_bad_share: Fraction
    changed: Literal["refuse", "allow"] = "refuse"
    cutouts: str | None = None
    cutouts_share: Probability = 0.5

    @model_validator(mode="after")
    def _a_source_that_there_is(self) -> "Data":
        if self.source is None and self.kind not in BUILT_IN_DATA:
            raise Line(f"data.kind={self.kind}: expected {one_of(BUILT_IN_DATA)}; or data.source, one of your own")
        return self

    @property
    def held_out_share(self) -> float:
        """The share of the training folder that is held out: none where ``val_path`` is."""
        return 0.0 if self.val_path else self.val_share


class Trainer(Section):
    """The devices that train, in what precision, and when checkpoints and logged points are written."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Count | Literal["auto"]
    num_nodes: Count | Literal["auto"]
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"]
    sync_batchnorm: bool
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    compile: bool
    limit_batches: Count | None
    limit_epochs: Count | None = None
    accumulate: Count
    max_bad_batches: Natural
    log_every_n_steps: Count
    checkpoint_every_n_batches: Count
    checkpoint_every_n_minutes: Positive
    max_minutes: Positive | None
    max_silent_minutes: Positive | None = 10.0
    lightning: dict[str, Any]


class WandBSettings(Section):
    """Weights & Biases."""

    project: str
    entity: str | None
    upload_weights: bool


class TensorBoardSettings(Section):
    """TensorBoard, which has no settings."""


class Loggers(Section, extra="allow"):
    """Where metrics go beside ``metrics.csv``, which is always written: any number, by name.

    A section that is neither of these two names a class of the user's own by ``_target_``.
    """

    wandb: WandBSettings | None = None
    tensorboard: TensorBoardSettings | None = None
    __pydantic_extra__: dict[str, Part | None]

    @model_validator(mode="before")
    @classmethod
    def _known_or_named(cls, given: Any) -> Any:
        for name, section in given.items() if isinstance(given, Mapping) else ():
            if name not in cls.model_fields and section is not None and not has_target(section):
                raise Line(unknown_key(f"logger.{name}"))
        return given

    @property
    def own(self) -> dict[str, dict[str, Any]]:
        """The user's own, by name."""
        return {name: section for name, section in (self.__pydantic_extra__ or {}).items() if section is not None}


class ProbeConfig(Section):
    """The held-out measurement at phase ends and snapshots, of ``images`` pictures where so many are held out."""

    images: Count
    size: Pixels
    grid: Count
    batch_size: Count
    color_weight: Weight = 4.0  # of runs from before it could be set


class RunConfig(Section):
    """A whole run."""

    name: str
    seed: Natural
    model: Model
    loss: Loss
    data: Data
    nogan: Nogan
    trainer: Trainer
    logger: Loggers
    callbacks: dict[str, Part | None]
    probe: ProbeConfig
    objective: str | None
    resume: str | None
    dry_run: bool
    trust: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _enough_to_begin_with(self) -> "RunConfig":
        if self.data.val_share == 0 and not self.data.val_path:
            raise ValueError(
                "data.val_share=0 holds no photographs out to measure on: expected data.val_share above 0, "
                "or data.val_path=DIR"
            )
        if self.nogan.start == "gan" and self.model.init is None:
            raise ValueError(
                "nogan.start=gan begins with the networks of another run: expected start=gan model.init=RUN_DIR"
            )
        critic = self.nogan.critic
        if self.data.reals_share == 0 and critic.reals == "heldout" and any(critic.phases.values()):
            raise ValueError(
                "nogan.critic.reals=heldout, but data.reals_share=0 holds none: expected data.reals_share above 0, "
                "or nogan.critic.reals=train"
            )
        return self

    @model_validator(mode="after")
    def _a_critic_that_can_be_told(self) -> "RunConfig":
        told = self.model.vividness is not None and self.nogan.gan.vividness.critic_sees == "told"
        if told and self.model.networks.critic is not None:
            raise ValueError(
                "nogan.gan.vividness.critic_sees=told is for the critic of this package: expected vivid or all with "
                "model.networks.critic"
            )
        return self


def parse_config(config: Mapping[str, Any]) -> RunConfig:
    """Check ``config`` and return it typed. Nothing that a ``_target_`` names is imported.

    Raises:
        UserError: a line for each mistake, with the key, the value found and what is allowed.
    """
    try:
        return RunConfig.model_validate(config)
    except ValidationError as error:
        raise UserError("\n".join(one_line_a_key(error.errors(include_url=False), _keys_at))) from None


def unknown_key(key: str, groups: Iterable[str] = ()) -> str:
    """The one line for a key that the schema does not have: the nearest known one, and all that are allowed there.

    Args:
        key: the unknown one.
        groups: what can be set at the top level beside the schema's keys.
    """
    return validation.unknown_key(key, _keys_at, groups)


def _keys_at(path: Sequence[str]) -> list[str]:
    section: type[BaseModel] | None = RunConfig
    for depth, part in enumerate(path):
        if section is None:
            return []
        if section is Inflection and part in inflection.DETECTORS:
            return inflection.DETECTORS[part].own_parameters() if path[depth + 1 :] == [] else []
        field = section.model_fields.get(part)
        # An unknown name inside a mapping of phases is a phase: look into the mapping's value type.
        section = next(_sections(field.annotation), None) if field else None
        if field is not None and _is_mapping(field.annotation):
            return list(section.model_fields) if section and len(path) == depth + 2 else []
    detectors = inflection.DETECTORS if section is Inflection else ()
    return [*section.model_fields, *detectors] if section else []


def _is_mapping(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)
