"""The plan of a run: a flat, immutable tuple of phases, computed from the config before anything heavy is touched.

A phase is one Lightning epoch. Where a run stands is a pure function of (plan, current epoch, batch index), which is
what lets it be printed before it starts, cut anywhere and resumed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple

from nogan.common.errors import UserError
from nogan.plan.config import RunConfig, parse_config
from nogan.plan.schedule import Hyper, OneCycle, layer_group_lr, one_cycle_hyper

PhaseKind = Literal["generator", "critic", "gan"]
Trains = Literal["all", "decoder", "critic"]

# One batch of a phase costs about (this factor) x (images) x (pixels); only the ratio matters, for the time left.
RELATIVE_COST: dict[PhaseKind, float] = {"generator": 1.0, "critic": 0.5, "gan": 1.0}


@dataclass(frozen=True)
class Phase:
    """One stretch of training in which the same thing is done at each batch."""

    name: str
    kind: PhaseKind
    cycle: int  # 0: generator pretraining; 1 and up: the critic/GAN cycles
    size: int  # px, square
    batch_size: int  # images an optimizer step, over all devices
    share: float  # of the training images
    epochs: int  # passes over that share
    images: int  # one pass, whole batches only
    steps: int  # optimizer steps, all passes
    lr: tuple[float, ...]  # maximum, for each generator layer group; (critic,); or (generator, critic) in a GAN phase
    betas: tuple[float, float] | None  # fixed betas, or None where beta1 cycles against the learning rate
    beta2: float
    pct_start: float | None  # the share of steps in which the rate rises; None: constant rate
    trains: Trains
    one_cycle: OneCycle | None = None  # how the rate moves; None: constant
    noise: bool = False  # on the generator's input
    fakes: int = 0  # generated pictures that the phase needs on disk
    fakes_size: int = 0  # px
    held_out: int = 0  # of them, and as many photographs, that the critic is only measured on
    snapshot_every: int = 0  # batches; 0: none

    def hyper(self, step: int, turn: PhaseKind | None = None) -> Hyper:
        """Learning rates and betas in effect at ``step``; in a GAN phase, of the network whose ``turn`` it is."""
        if self.kind == "gan":
            assert self.betas is not None
            return Hyper(lr=(self.lr[1] if turn == "critic" else self.lr[0],), betas=self.betas)
        assert self.pct_start is not None and self.one_cycle is not None
        return one_cycle_hyper(step, self.steps, self.lr, self.pct_start, self.beta2, self.one_cycle)

    def is_snapshot(self, batches_done: int) -> bool:
        """Whether the generator is kept after ``batches_done`` batches of this phase."""
        return self.snapshot_every > 0 and (batches_done % self.snapshot_every == 0 or batches_done == self.steps)

    @property
    def key(self) -> str:
        """The config key that sets this phase."""
        name = self.name.split("@")[0]
        keys = {"generator": f"nogan.pretrain.{name}", "critic": f"nogan.critic.phases.{name}", "gan": "nogan.gan"}
        return keys[self.kind]

    @property
    def cost(self) -> float:
        """Work in this phase, in arbitrary units that compare between phases of one plan."""
        return RELATIVE_COST[self.kind] * self.steps * self.batch_size * self.size**2

    @property
    def title(self) -> str:
        """A name for people: ``cycle 2 · GAN · 192 px`` or ``pretrain g1 · 64 px``."""
        return f"{self.short_title} · {self.size} px"

    @property
    def short_title(self) -> str:
        """The same where there is little room: ``cycle 2 · GAN`` or ``pretrain g1``."""
        kind = {"generator": f"pretrain {self.name}", "critic": f"critic {self.name}", "gan": "GAN"}[self.kind]
        return f"{f'cycle {self.cycle} · ' if self.cycle else ''}{kind.split('@')[0]}"


Plan = tuple[Phase, ...]


class SplitSizes(NamedTuple):
    """How many images each part of the data has."""

    train: int
    reals: int  # photographs that only the critic sees as real
    val: int


def split_sizes(images: int, val_share: float, reals_share: float) -> SplitSizes:
    """How ``images`` are divided; training gets the rest.

    Raises:
        UserError: a share leaves its part, or training, without a single photograph.
    """
    shares = {"data.val_share": val_share, "data.reals_share": reals_share}
    val, reals = counts = [round(images * share) for share in shares.values()]
    for (key, share), count in zip(shares.items(), counts, strict=True):
        if share > 0 and count == 0:
            raise UserError(f"{key}={share:g} of {images} photographs is none: raise it, or give more photographs")
    if val + reals >= images:
        raise UserError(
            f"of {images} photographs data.val_share={val_share:g} takes {val} and data.reals_share={reals_share:g}"
            f" takes {reals}, which leaves none to train on"
        )
    return SplitSizes(images - val - reals, reals, val)


def build_plan(config: RunConfig | Mapping[str, Any], images: int | None = None) -> Plan:
    """Every phase of the run that ``config`` describes, in order.

    Args:
        config: the run's configuration, as a mapping or already parsed.
        images: how many images the data holds, where the config does not say (``data.images: null``).

    Raises:
        UserError: the config is invalid, or a phase would have no batch.
    """
    cfg = _scaled(config if isinstance(config, RunConfig) else parse_config(config))
    images = images if images is not None else cfg.data.images
    if images is None:
        raise UserError("data.images=null: expected the number of images, which is counted when the data is opened")
    train = split_sizes(images, cfg.data.held_out_share, cfg.data.reals_share).train
    phases = list(_pretraining(cfg, train))
    for cycle in range(1, cfg.nogan.repeats + 2):
        phases += _critic_phases(cfg, train, cycle)
        phases.append(_gan_phase(cfg, train, cycle))
    _check_names(phases)
    return tuple(phases)


def _scaled(cfg: RunConfig) -> RunConfig:
    """``nogan.scale=k``: every batch k times as large, every learning rate √k times.

    The square root is the rule for adaptive optimizers (Malladi et al. 2022, https://arxiv.org/abs/2205.10287); betas
    are left as the recipe has them.
    """
    scale = cfg.nogan.scale
    if scale == 1:
        return cfg

    def lr(rate: float) -> float:
        return rate * math.sqrt(scale)

    def batch(size: int) -> int:
        return max(1, round(size * scale))

    def phase(settings: Any) -> Any:
        rates = tuple(map(lr, settings.lr)) if isinstance(settings.lr, tuple) else lr(settings.lr)
        return settings.model_copy(update={"batch_size": batch(settings.batch_size), "lr": rates})

    def phases(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return {name: settings and phase(settings) for name, settings in mapping.items()}

    nogan = cfg.nogan
    scaled = {
        "pretrain": phases(nogan.pretrain),
        "critic": nogan.critic.model_copy(update={"phases": phases(nogan.critic.phases)}),
        "gan": phase(nogan.gan),
    }
    return cfg.model_copy(update={"nogan": nogan.model_copy(update=scaled)})


def _pretraining(cfg: RunConfig, train: int) -> Iterator[Phase]:
    for name, phase in cfg.nogan.pretrain.items():
        if phase is None:
            continue
        batches = _batches(cfg, f"nogan.pretrain.{name}", train * phase.share, phase.batch_size)
        yield Phase(
            name=name,
            kind="generator",
            cycle=0,
            size=phase.size,
            batch_size=phase.batch_size,
            share=phase.share,
            epochs=phase.epochs,
            images=batches * phase.batch_size,
            steps=batches * phase.epochs,
            lr=layer_group_lr(phase.lr),
            betas=None,
            beta2=cfg.nogan.optimizer.beta2,
            pct_start=phase.pct_start,
            trains=phase.trains,
            one_cycle=OneCycle(**cfg.nogan.one_cycle.model_dump()),
            noise=phase.noise,
        )


def _critic_phases(cfg: RunConfig, train: int, cycle: int) -> Iterator[Phase]:
    fakes = cfg.nogan.critic.fakes
    fake_count = _fakes(cfg, train)
    held_out = round(fake_count * cfg.nogan.critic.val_share)
    for name, phase in cfg.nogan.critic.phases.items():
        if phase is None or (phase.cycles == "first" and cycle > 1):
            continue
        # As many photographs as fakes, so one pass is twice the fakes.
        batches = _batches(cfg, f"nogan.critic.phases.{name}", 2 * (fake_count - held_out), phase.batch_size)
        yield Phase(
            name=f"{name}@{cycle}",
            kind="critic",
            cycle=cycle,
            size=phase.size,
            batch_size=phase.batch_size,
            share=fakes.share,
            epochs=phase.epochs,
            images=batches * phase.batch_size,
            steps=batches * phase.epochs,
            lr=(phase.lr,),
            betas=None,
            beta2=cfg.nogan.optimizer.beta2,
            pct_start=phase.pct_start,
            trains="critic",
            one_cycle=OneCycle(**cfg.nogan.one_cycle.model_dump()),
            fakes=fake_count,
            fakes_size=fakes.size,
            held_out=held_out,
        )


def _fakes(cfg: RunConfig, train: int) -> int:
    """Pictures that the generator makes for the critic in a cycle; no more than ``trainer.limit_batches`` lets in."""
    fakes = cfg.nogan.critic.fakes
    count = _whole_batches("nogan.critic.fakes", train * fakes.share, fakes.batch_size) * fakes.batch_size
    if limit := cfg.trainer.limit_batches:
        largest = max((phase.batch_size for phase in cfg.nogan.critic.phases.values() if phase), default=0)
        count = min(count, limit * largest)
    return count


def _gan_phase(cfg: RunConfig, train: int, cycle: int) -> Phase:
    gan = cfg.nogan.gan
    batches = _batches(cfg, "nogan.gan", train * gan.share, gan.batch_size)
    return Phase(
        name=f"gan@{cycle}",
        kind="gan",
        cycle=cycle,
        size=gan.size,
        batch_size=gan.batch_size,
        share=gan.share,
        epochs=gan.epochs,
        images=batches * gan.batch_size,
        steps=batches * gan.epochs,
        lr=(gan.lr, gan.lr * gan.critic_lr_mult),
        betas=gan.betas,
        beta2=gan.betas[1],
        pct_start=None,
        trains="decoder",
        noise=gan.noise,
        snapshot_every=max(1, round(cfg.nogan.snapshot_every * train / gan.batch_size)),
    )


def _batches(cfg: RunConfig, key: str, images: float, batch_size: int) -> int:
    """Whole batches in ``images``, within ``trainer.limit_batches``."""
    batches = _whole_batches(key, images, batch_size)
    return min(batches, cfg.trainer.limit_batches or batches)


def _whole_batches(key: str, images: float, batch_size: int) -> int:
    """Whole batches in ``images``; the last partial one is dropped."""
    batches = int(images) // batch_size
    if batches == 0:
        raise UserError(
            f"{key}: a share of {int(images)} images gives no batch of {batch_size}: expected a larger {key}.share, "
            "a smaller batch_size or more data"
        )
    return batches


def _check_names(phases: Iterable[Phase]) -> None:
    names = [phase.name for phase in phases]
    if len(set(names)) != len(names):
        raise UserError(f"phase names must differ: found {', '.join(names)} (nogan.pretrain, nogan.critic.phases)")


def fakes_bytes(plan: Plan) -> int:
    """Disk that the fakes of one cycle take, in bytes, at the most."""
    return max((phase.fakes * 3 * phase.fakes_size**2 for phase in plan), default=0)


def as_rows(plan: Plan) -> list[dict[str, Any]]:
    """The plan as plain dicts, to be written as JSON."""
    return [asdict(phase) for phase in plan]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> Plan:
    """Inverse of :func:`as_rows`."""
    names = {field.name for field in fields(Phase)}

    def value(key: str, found: Any) -> Any:
        if key == "one_cycle" and found is not None:
            return OneCycle(**{**found, "beta1": tuple(found["beta1"])})
        return tuple(found) if isinstance(found, list) else found

    return tuple(Phase(**{key: value(key, found) for key, found in row.items() if key in names}) for row in rows)
