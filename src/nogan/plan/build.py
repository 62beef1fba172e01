"""From a config to its plan: how many batches each phase has, and in which order they come."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from nogan.common.errors import UserError
from nogan.plan.config import CriticPhaseConfig, Gan, GeneratorPhaseConfig, RunConfig, parse_config
from nogan.plan.phases import CriticPhase, GANPhase, GeneratorPhase, Phase, Plan
from nogan.plan.schedule import OneCycle, layer_group_lr

Settings = TypeVar("Settings", GeneratorPhaseConfig, CriticPhaseConfig, Gan)


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
    """Every phase of the run that ``config`` describes, in order; with ``nogan.start=gan``, from the first GAN phase.

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
    phases: list[Phase] = list(_pretraining(cfg, train))
    for cycle in range(1, cfg.nogan.repeats + 2):
        phases += _critic_phases(cfg, train, cycle)
        phases.append(_gan_phase(cfg, train, cycle))
    _check_names(phases)
    whole = [replace(phase, number=number) for number, phase in enumerate(phases)]
    first = next(phase.number for phase in whole if cfg.nogan.start == "beginning" or isinstance(phase, GANPhase))
    return tuple(whole[first:])


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

    def phase(settings: Settings) -> Settings:
        rates = (lr(settings.lr[0]), lr(settings.lr[1])) if isinstance(settings.lr, tuple) else lr(settings.lr)
        return settings.model_copy(update={"batch_size": batch(settings.batch_size), "lr": rates})

    def phases(mapping: Mapping[str, Settings | None]) -> dict[str, Settings | None]:
        return {name: settings and phase(settings) for name, settings in mapping.items()}

    nogan = cfg.nogan
    scaled = {
        "pretrain": phases(nogan.pretrain),
        "critic": nogan.critic.model_copy(update={"phases": phases(nogan.critic.phases)}),
        "gan": phase(nogan.gan),
    }
    return cfg.model_copy(update={"nogan": nogan.model_copy(update=scaled)})


def _pretraining(cfg: RunConfig, train: int) -> Iterator[GeneratorPhase]:
    for name, phase in cfg.nogan.pretrain.items():
        if phase is None:
            continue
        batches = _batches(cfg, f"nogan.pretrain.{name}", train * phase.share, phase.batch_size)
        yield GeneratorPhase(
            name=name,
            cycle=0,
            size=phase.size,
            batch_size=phase.batch_size,
            share=phase.share,
            epochs=_epochs(cfg, phase.epochs),
            images=batches * phase.batch_size,
            steps=batches * _epochs(cfg, phase.epochs),
            lr=layer_group_lr(phase.lr),
            beta2=cfg.nogan.optimizer.beta2,
            pct_start=phase.pct_start,
            one_cycle=OneCycle(**cfg.nogan.one_cycle.model_dump()),
            trains=phase.trains,
            noise=phase.noise,
        )


def _critic_phases(cfg: RunConfig, train: int, cycle: int) -> Iterator[CriticPhase]:
    fakes = cfg.nogan.critic.fakes
    fake_count = _fakes(cfg, train)
    held_out = round(fake_count * cfg.nogan.critic.val_share)
    for name, phase in cfg.nogan.critic.phases.items():
        if phase is None or (phase.cycles == "first" and cycle > 1):
            continue
        # As many photographs as fakes, so one pass is twice the fakes.
        batches = _batches(cfg, f"nogan.critic.phases.{name}", 2 * (fake_count - held_out), phase.batch_size)
        yield CriticPhase(
            name=f"{name}@{cycle}",
            cycle=cycle,
            size=phase.size,
            batch_size=phase.batch_size,
            share=fakes.share,
            epochs=_epochs(cfg, phase.epochs),
            images=batches * phase.batch_size,
            steps=batches * _epochs(cfg, phase.epochs),
            lr=(phase.lr,),
            beta2=cfg.nogan.optimizer.beta2,
            pct_start=phase.pct_start,
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


def _gan_phase(cfg: RunConfig, train: int, cycle: int) -> GANPhase:
    gan = cfg.nogan.gan
    batches = _batches(cfg, "nogan.gan", train * gan.share, gan.batch_size)
    return GANPhase(
        name=f"gan@{cycle}",
        cycle=cycle,
        size=gan.size,
        batch_size=gan.batch_size,
        share=gan.share,
        epochs=_epochs(cfg, gan.epochs),
        images=batches * gan.batch_size,
        steps=batches * _epochs(cfg, gan.epochs),
        lr=(gan.lr, gan.lr * gan.critic_lr_mult),
        betas=gan.betas,
        noise=gan.noise,
        decay=gan.decay,
        snapshot_every=max(1, round(cfg.nogan.snapshot_every * train / gan.batch_size)),
    )


def _epochs(cfg: RunConfig, epochs: int) -> int:
    """``epochs``, within ``trainer.limit_epochs``."""
    return min(epochs, cfg.trainer.limit_epochs or epochs)


def _batches(cfg: RunConfig, key: str, images: float, batch_size: int) -> int:
    """Whole batches in ``images``, within ``trainer.limit_batches``."""
    batches = _whole_batches(key, images, batch_size)
    return min(batches, cfg.trainer.limit_batches or batches)


def _whole_batches(key: str, images: float, batch_size: int) -> int:
    """Whole batches in ``images``; the last partial one is dropped."""
    batches = int(images) // batch_size
    if batches == 0:
        share = "nogan.critic.fakes.share" if key.startswith("nogan.critic.") else f"{key}.share"
        raise UserError(
            f"{key}: a share of {int(images)} images gives no batch of {batch_size}: expected a larger {share}, "
            "a smaller batch_size or more data"
        )
    return batches


def _check_names(phases: Iterable[Phase]) -> None:
    names = [phase.name for phase in phases]
    if len(set(names)) != len(names):
        raise UserError(f"phase names must differ: found {', '.join(names)} (nogan.pretrain, nogan.critic.phases)")
