"""The config that Hydra composed for a job, checked and as a plain ``RunConfig``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from nogan.common.errors import UserError, shown
from nogan.common.program import command, for_hydra
from nogan.common.recipes import recipes
from nogan.plan.config import RunConfig, parse_config
from nogan.runs.run_folder import RunFolder
from nogan.training import sweeps
from nogan.training.compose.recipes import groups, register
from nogan.training.own_parts import check_trusted

PATHS = (
    *("data.path", "data.val_path", "data.cutouts", "model.init", "model.init_critic"),
    *("model.encoder_weights", "loss.network_weights"),
    *("resume", "hydra.run.dir", "hydra.sweep.dir"),
)
"""Keys whose values are paths."""


def read_config(*overrides: str) -> RunConfig:
    """The checked config that ``nogan train`` makes of ``overrides``: for notebooks and for programs of your own.

    Raises:
        UserError: names a key, the value found and what was expected.
        hydra.errors.HydraException: an override that Hydra does not understand.
    """
    register()
    with initialize_config_dir(str(recipes() / "conf"), version_base="1.3"):
        return parse_config(_plain(compose("config", overrides=list(overrides))))


def run_config(cfg: DictConfig) -> RunConfig:
    """The checked config of this job.

    With ``resume=RUN_DIR`` it is that run's own, with the command line laid over it; ``resume=auto`` goes on with the
    newest unfinished run of the same config, or begins one.

    Raises:
        UserError: names a key, the value found and what was expected.
    """
    return _fresh(cfg) if not cfg.resume or cfg.resume == "auto" else _resumed(Path(cfg.resume))


def _fresh(cfg: DictConfig) -> RunConfig:
    config = parse_config(_plain(cfg))
    sweeps.check_objective(config.objective)
    hydra = HydraConfig.get()
    found = hydra.callbacks.get("folders", {}).get("would_go_on")  # by a dry run, whose own folder is a passing one
    folder = Path(found or hydra.runtime.output_dir)
    begun = config.resume is not None and RunFolder(folder).config_file.is_file()
    return config.model_copy(update={"resume": str(folder) if begun else None})


def _resumed(folder: Path) -> RunConfig:
    saved = OmegaConf.create(literal({**RunFolder(folder).config().model_dump(mode="json"), "trust": []}))
    saved.data.changed = "refuse"  # allowed once is not allowed for ever
    chosen = HydraConfig.get().runtime.choices
    for override in OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task)):
        if override.key_or_group in chosen:
            raise UserError(
                f"{override.input_line}: a resumed run keeps its own config; only single keys can change, "
                "such as nogan.repeats=N"
            )
        OmegaConf.update(saved, override.key_or_group, override.value())
    config = parse_config(_plain(saved))
    check_trusted(config)
    return config


def literal(value: Any) -> Any:
    """``value`` as OmegaConf has to be given it, so that ``${…}`` in a saved config stays what it is: text.

    A run folder may come from anybody; ``${oc.env:SECRET}`` in it would bring the user's secret into the report.
    """
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, Mapping):
        return {key: literal(inner) for key, inner in value.items()}
    return [literal(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def chosen_groups() -> dict[str, str]:
    """The option taken in each config group, e.g. ``{"model": "artistic"}``, without Hydra's own groups."""
    choices = HydraConfig.get().runtime.choices
    return {str(group): str(choice) for group, choice in choices.items() if not str(group).startswith("hydra/")}


def chosen_keys() -> list[str]:
    """The single keys that the command line of this job sets, e.g. ``nogan.gan.lr``; those of a mapping one by one."""
    found: list[str] = []
    for override in OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task)):
        if override.key_or_group not in groups() and not override.is_delete():
            found += _leaves(override.key_or_group, override.value())
    return found


def _leaves(key: str, value: Any) -> list[str]:
    if not isinstance(value, dict) or not value:
        return [key]
    return [leaf for name, below in value.items() for leaf in _leaves(f"{key}.{name}", below)]


def check_choices(arguments: Iterable[str]) -> None:
    """Refuse choices such as ``model=null``, for which Hydra's message names neither the group nor what it expects.

    Raises:
        UserError: names the group.
    """
    for argument in arguments:
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
        except OverrideParseException:
            continue  # a flag; or Hydra says what is wrong with it
        if override.key_or_group not in groups() or override.is_delete() or override.is_sweep_override():
            continue
        if not isinstance(value := override.value(), str | list | dict):
            raise UserError(
                f"{override.key_or_group}={shown(value)}: expected the name of one; "
                f"{command('train')} --help lists them"
            )


def check_dashes(arguments: Sequence[str]) -> None:
    """Refuse settings that are written as flags: ``--experiment quickstart``.

    Raises:
        UserError: says how they are written.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or key.partition(".")[0] not in {*groups(), *RunConfig.model_fields}:
            continue
        if not equals:
            value = "VALUE" if not following or following.startswith("-") or "=" in following else following
        raise UserError(f"{argument}: settings are written without dashes: {key}={value}")


def check_pairs(overrides: Iterable[str]) -> None:
    """Refuse words on the command line that are no setting.

    Raises:
        UserError: names the word, and what a setting looks like.
    """
    for override in overrides:
        key, equals, _ = override.lstrip("+").partition("=")
        if not key or not (equals or key.startswith("~")):
            raise UserError(
                f"{override}: expected settings such as experiment=quickstart; {command('train')} --help lists them"
            )


def with_quoted_paths(arguments: Sequence[str]) -> list[str]:
    """``arguments``, with Hydra's quotes around paths that it would not take for one text: ``album (1)``."""
    return [_quoted(argument) for argument in arguments]


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    if key.lstrip("+") not in PATHS or not value or "${" in value:
        return argument
    try:
        (override,) = OverridesParser.create().parse_overrides([argument])
    except OverrideParseException:
        return f"{key}={for_hydra(value)}"
    is_text = not override.is_sweep_override() and isinstance(override.value(), str)
    return argument if is_text or not Path(value).exists() else f"{key}={for_hydra(value)}"
