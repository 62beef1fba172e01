"""How Hydra comes to know the recipes."""

from functools import cache
from pathlib import Path

import yaml
from hydra.core.config_store import ConfigStore

from nogan import inflection
from nogan.common.recipes import recipes
from nogan.training.compose import resolvers

NOT_OF_A_RUN = {"protocol"}
"""Folders of ``conf/`` that a run has nothing to choose from: ``nogan evaluate --protocol`` does."""


@cache
def groups() -> tuple[str, ...]:
    """What is chosen by name, as in ``model=artistic``: the folders of ``conf/``, and what :func:`register` adds."""
    folders = {path.name for path in (recipes() / "conf").iterdir() if path.is_dir()} - NOT_OF_A_RUN
    return tuple(sorted(folders | {"experiment", "inflection"}))


def register(experiments: Path | None = None) -> None:
    """Tell Hydra of resolvers, experiments and detectors. Calling it again changes nothing.

    Args:
        experiments: the folder whose ``NAME.yaml`` files ``experiment=NAME`` chooses from; by default ours.
    """
    resolvers.register()
    store = ConfigStore.instance()
    for file in sorted((experiments or recipes() / "experiments").glob("*.yaml")):
        if "." in file.stem:
            continue  # sweep.wandb.yaml is for W&B to read
        content = yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if isinstance(content, dict):
            store.store(group="experiment", name=file.stem, node=content, package="_global_")
    for name in inflection.DETECTORS:
        store.store(group="inflection", name=name, node={"name": name}, package="nogan.inflection")
    defaults = {name: inflection.complete(name) for name in inflection.DETECTORS}
    store.store(name="detectors", node=defaults, package="nogan.inflection")
