"""What a user brings to a run by ``_target_``: data, networks, a loss, callbacks, loggers, a detector.

Each is one section of the config, ``{_target_: my_module.MyClass, width: 16}``. :func:`check_own_parts` refuses in one
line what could not be built, before anything is; the others build. docs/extending.md has an example of each.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from pydantic import TypeAdapter, ValidationError

from nogan.common import targets
from nogan.common.errors import UserError, shown
from nogan.plan.config import Loss, RunConfig, Trainer

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import nn

    from nogan.training.signals import StopOnSignal

Section = Mapping[str, Any]

TRUSTED = ("nogan.", "pytorch_lightning.")
"""Packages whose classes may be built from the config of any run folder."""

# What the user's own classes must derive from; named, so that a dry run need not import them.
CALLBACK = "pytorch_lightning.Callback"
LOGGER = "pytorch_lightning.loggers.Logger"
MODULE = "torch.nn.Module"
DETECTOR = "nogan.inflection.Detector"

# Arguments of Lightning's Trainer that the program sets itself, and what to set instead.
OURS = {
    **{key: f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "precision")},
    **{key: f"trainer.{key}" for key in ("log_every_n_steps", "sync_batchnorm")},
    **dict.fromkeys(("max_epochs", "min_epochs", "max_steps", "min_steps"), "nogan.repeats and the phases of nogan"),
    **dict.fromkeys(("limit_train_batches", "overfit_batches", "fast_dev_run"), "trainer.limit_batches"),
    **dict.fromkeys(("limit_val_batches", "val_check_interval", "check_val_every_n_epoch"), "probe.images"),
    **dict.fromkeys(("num_sanity_val_steps", "limit_test_batches", "limit_predict_batches"), "probe.images"),
    **dict.fromkeys(("gradient_clip_val", "gradient_clip_algorithm"), "nogan.optimizer.gradient_clip"),
    "accumulate_grad_batches": "trainer.accumulate",
    "max_time": "trainer.max_minutes",
    "logger": "logger",
    "callbacks": "callbacks",
    "enable_checkpointing": "trainer.checkpoint_every_n_batches",
    "default_root_dir": "hydra.run.dir",
    "use_distributed_sampler": "nothing: batches are divided between the devices already",
    "reload_dataloaders_every_n_epochs": "nothing: each phase has a loader of its own",
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary"), "nothing: the program has its own"),
    **dict.fromkeys(("plugins", "barebones"), "nothing: the program needs its own"),
}


class OwnPart(NamedTuple):
    """A section that names a class of the user's, and what is expected of it."""

    key: str  # where it stands in the config
    section: Section
    kind: str  # "MODULE.CLASS" that it must derive from


def own_parts(config: RunConfig) -> Iterator[OwnPart]:
    """Every section of ``config`` that names a class."""
    if config.data.source is not None:
        yield OwnPart("data.source", config.data.source, "builtins.object")
    for name, section in config.model.networks:
        if section is not None:
            yield OwnPart(f"model.networks.{name}", section, MODULE)
    if config.loss.function is not None:
        yield OwnPart("loss.function", config.loss.function, MODULE)
    for name, section in config.callbacks.items():
        if section is not None:
            yield OwnPart(f"callbacks.{name}", section, CALLBACK)
    for name, section in config.logger.own.items():
        yield OwnPart(f"logger.{name}", section, LOGGER)
    detector = config.nogan.inflection
    if targets.has_target(detector.parameters):
        key = f"nogan.inflection.{detector.name}"
        yield OwnPart(key, detector.parameters, DETECTOR)


def check_own_parts(config: RunConfig) -> None:
    """Refuse classes that do not exist, are not what they should be, or do not take the given arguments.

    Raises:
        UserError: names the key.
    """
    for part in own_parts(config):
        if part.kind == DETECTOR:
            _check_detector(config, part.section)
        else:
            targets.check(part.section, part.key, _class(part.kind))
    lightning_arguments(config.trainer)


def check_trusted(config: RunConfig) -> None:
    """Refuse to import what the config of a resumed run names, unless ``trust`` does too.

    A run folder may come from anybody; what its config names by ``_target_`` runs as its user's own code.

    Raises:
        UserError: names the module, and how to say that it is trusted.
    """
    for part in own_parts(config):
        target = part.section[targets.TARGET]
        module = target.rpartition(".")[0]
        if not target.startswith(TRUSTED) and module not in config.trust:
            raise UserError(
                f"{part.key}.{targets.TARGET}={target} is in the config of the run to be resumed, which would run that "
                f"code: if you trust it, add trust=[{module}]"
            )


def build_part(section: Section, key: str, kind: str) -> Any:
    """What ``section`` describes.

    Args:
        section: holds ``_target_``.
        key: where it stands in the config.
        kind: "MODULE.CLASS" that it must derive from.
    """
    return targets.build(section, key, _class(kind))


def build_callbacks(config: RunConfig, stop: "StopOnSignal") -> "list[pl.Callback]":
    """The callbacks that ``callbacks`` and ``trainer.max_minutes`` ask for.

    Args:
        config: the run's configuration.
        stop: is asked to end the run when its time is over.
    """
    from nogan.training.callbacks.time_limit import TimeLimit

    sections = {name: section for name, section in config.callbacks.items() if section is not None}
    own = [build_part(section, f"callbacks.{name}", CALLBACK) for name, section in sections.items()]
    minutes = config.trainer.max_minutes
    return own if minutes is None else [*own, TimeLimit(minutes, stop)]


def build_generator(config: RunConfig) -> "nn.Module":
    """The generator that ``model`` describes, with the weights that it starts from before ``model.init``."""
    from nogan import networks

    model = config.model
    if model.networks.generator is not None:
        return _network(model.networks.generator, "generator", config.seed)
    return networks.build_generator(
        model.encoder,
        model.decoder,
        model.width,
        pretrained=model.pretrained and not model.init,
        encoder_weights=model.encoder_weights,
        vividness=model.vividness.model_dump() if model.vividness else None,
        seed=config.seed,
    )


def build_critic(config: RunConfig) -> "nn.Module":
    """The critic that ``model`` describes, with random weights."""
    from nogan import networks

    model = config.model
    if model.networks.critic is not None:
        return _network(model.networks.critic, "critic", config.seed)
    told = model.vividness if config.nogan.gan.vividness.critic_sees == "told" else None
    return networks.build_critic(
        **model.critic.model_dump(), vividness=told.model_dump() if told else None, seed=config.seed
    )


def _network(section: Section, name: str, seed: int) -> "nn.Module":
    """A network of the user's own. Its first weights depend on ``seed`` alone."""
    import torch

    from nogan.common.rng import derive_seed

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("networks", name, seed))
        network = build_part(section, f"model.networks.{name}", MODULE)
    network.config = dict(section)  # what its weights file says of how to build it again
    return network


def build_loss(loss: Loss) -> "nn.Module":
    """The generator's conventional loss: ``(output, target) -> (total, parts)``."""
    from nogan.networks.losses import FeatureLoss

    if loss.function is not None:
        return build_part(loss.function, "loss.function", MODULE)
    return FeatureLoss(
        loss.network,
        layers=loss.layers,
        weights=loss.weights,
        pixel_weight=loss.pixel_weight,
        network_weights=loss.network_weights,
        pretrained=loss.pretrained,
        rebalance=loss.rebalance,
    )


def lightning_arguments(trainer: Trainer) -> dict[str, Any]:
    """``trainer.lightning``, without what is null: further arguments of Lightning's Trainer.

    Raises:
        UserError: the Trainer has no such argument, or not of that kind; or the program sets it.
    """
    given = {key: value for key, value in trainer.lightning.items() if value is not None}
    if not given:
        return {}
    import pytorch_lightning as pl

    known = [key for key in inspect.signature(pl.Trainer.__init__).parameters if key != "self" and key not in OURS]
    for key, value in given.items():
        if key in OURS:
            raise UserError(f"trainer.lightning.{key}={value}: the program sets it; set {OURS[key]} instead")
        if key not in known:
            raise UserError(f"unknown key trainer.lightning.{key}: allowed in trainer.lightning: {', '.join(known)}")
        _check_kind(f"trainer.lightning.{key}", value, get_type_hints(pl.Trainer.__init__).get(key, Any))
    return given


def _check_kind(key: str, value: Any, kind: Any) -> None:
    """Refuse a ``value`` that is not of ``kind``, a type annotation: Lightning itself fails in the midst of the run."""
    try:
        TypeAdapter(kind, config={"arbitrary_types_allowed": True}).validate_python(value, strict=True)
    except ValidationError:
        words = kind.__name__ if isinstance(kind, type) else re.sub(r"\w+\.", "", str(kind))
        raise UserError(f"{key}={shown(value)}: expected {words}, as Lightning's Trainer takes it") from None


def _check_detector(config: RunConfig, section: Section) -> None:
    from nogan.inflection import make_detector

    known: dict[str, Any] = {"total_steps": 1000, "batch_size": 8, "lr": 1e-5, "images": 10**6}  # any phase will do
    make_detector(name=config.nogan.inflection.name, **known, **section)


def _class(name: str) -> type:
    found = targets.locate({targets.TARGET: name}, name)
    assert isinstance(found, type)
    return found
