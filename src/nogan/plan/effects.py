"""Which settings have no effect in a config, because another setting replaces what they are for.

They are not mistakes as such, for a config may be shared between runs; but whoever has set one is told.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nogan import inflection
from nogan.plan.config import Loss, RunConfig


class Rule(NamedTuple):
    """``keys``, and all keys below them, have no effect where ``because`` gives a reason."""

    keys: tuple[str, ...]
    because: Callable[[RunConfig], str | None]


def without_effect(config: RunConfig, chosen: Iterable[str]) -> Iterator[str]:
    """A line for each key of ``chosen`` that nothing heeds in ``config``: ``KEY has no effect with OTHER=VALUE``.

    Args:
        config: the whole run.
        chosen: keys that the user has set.
    """
    for key in dict.fromkeys(chosen):
        for rule in (*RULES, *_of_detectors(config)):
            heeded = not any(key == prefix or key.startswith(f"{prefix}.") for prefix in rule.keys)
            if not heeded and (reason := rule.because(config)):
                yield f"{key} has no effect {reason}"
                break


def _of_detectors(config: RunConfig) -> Iterator[Rule]:
    name = config.nogan.inflection.name
    others = tuple(f"nogan.inflection.{other}" for other in inflection.DETECTORS if other != name)
    yield Rule(others, lambda _: f"with nogan.inflection.name={name}")


def _given(condition: Callable[[RunConfig], object], reason: str) -> Callable[[RunConfig], str | None]:
    return lambda config: reason if condition(config) else None


def _starts_with_gan(config: RunConfig) -> bool:
    return config.nogan.start == "gan"


def _has_no_critic_phase(config: RunConfig) -> bool:
    nogan = config.nogan
    cycles = nogan.repeats + (0 if _starts_with_gan(config) else 1)
    phases = [phase for phase in nogan.critic.phases.values() if phase]
    return not any(cycles > 0 and (phase.cycles == "all" or not _starts_with_gan(config)) for phase in phases)


def _pretrained_encoder(config: RunConfig) -> str | None:
    if config.model.encoder == "tiny":
        return "with model.encoder=tiny, which has no pretrained weights"
    return "with model.encoder_weights" if config.model.encoder_weights else _initial(config)


def _initial(config: RunConfig) -> str | None:
    return "with model.init, whose weights replace it" if config.model.init else None


def _one_process(config: RunConfig) -> bool:
    trainer = config.trainer
    return trainer.strategy == "auto" and trainer.devices == 1 and trainer.num_nodes in (1, "auto")


RULES = (
    Rule(
        ("model.encoder", "model.decoder", "model.width", "model.pretrained", "model.encoder_weights"),
        _given(lambda config: config.model.networks.generator, "with model.networks.generator"),
    ),
    Rule(("model.critic",), _given(lambda config: config.model.networks.critic, "with model.networks.critic")),
    Rule(("model.pretrained",), _pretrained_encoder),
    Rule(("model.encoder_weights",), _initial),
    Rule(("model.init_stage",), _given(lambda config: not config.model.init, "without model.init")),
    Rule(
        ("model.init", "model.init_critic", "model.init_stage"),
        _given(lambda config: config.resume, "on a run that goes on, from its own checkpoint"),
    ),
    Rule(
        tuple(f"loss.{key}" for key in Loss.model_fields if key != "function"),
        _given(lambda config: config.loss.function, "with loss.function"),
    ),
    Rule(
        ("loss.layers", "loss.weights"),
        _given(lambda config: config.loss.network is None and config.loss.layers, "with loss.network=null"),
    ),
    Rule(
        ("loss.pretrained", "loss.network_weights"),
        _given(lambda config: config.loss.network is None, "with loss.network=null"),
    ),
    Rule(("loss.pretrained",), _given(lambda config: config.loss.network_weights, "with loss.network_weights")),
    Rule(("data.images",), _given(lambda config: config.data.source, "with data.source, which is counted")),
    Rule(
        ("data.images",),
        _given(
            lambda config: config.data.kind == "imagenet" and config.data.path,
            "with data.path, whose photographs are counted",
        ),
    ),
    Rule(
        ("data.hue_cue",),
        _given(lambda config: config.data.kind != "scenes" or config.data.source, "without data=scenes"),
    ),
    Rule(("data.val_share",), _given(lambda config: config.data.val_path, "with data.val_path")),
    Rule(
        ("data.max_bad_share",),
        _given(lambda config: config.data.kind == "scenes" and not config.data.source, "with data=scenes"),
    ),
    Rule(("data.changed",), _given(lambda config: not config.resume, "on a run that begins")),
    Rule(("trust",), _given(lambda config: not config.resume, "on a run that begins")),
    Rule(("nogan.augment",), _given(lambda config: not config.data.augment, "with data.augment=false")),
    Rule(("nogan.pretrain",), _given(_starts_with_gan, "with nogan.start=gan")),
    Rule(
        ("nogan.critic.phases",),
        _given(
            lambda config: _starts_with_gan(config) and not config.nogan.repeats,
            "with nogan.start=gan and nogan.repeats=0",
        ),
    ),
    Rule(
        ("nogan.critic.fakes", "nogan.critic.reals", "nogan.critic.val_share", "nogan.critic.restart"),
        _given(_has_no_critic_phase, "without a phase of nogan.critic.phases"),
    ),
    Rule(
        ("nogan.critic.restart", "nogan.inflection.cycle_worth"),
        _given(lambda config: not config.nogan.repeats, "with nogan.repeats=0"),
    ),
    Rule(
        ("nogan.inflection.cycle_worth",),
        _given(lambda config: config.nogan.inflection.action == "mark", "with nogan.inflection.action=mark"),
    ),
    Rule(
        ("trainer.sync_batchnorm", "trainer.max_silent_minutes"),
        _given(_one_process, "with trainer.devices=1"),
    ),
)
"""Every pair of settings of which one replaces the other; the first rule that holds for a key gives the reason."""
