"""Where the recipes are, and how Hydra comes to know them.

In a checkout the recipes are its own ``conf/`` and ``experiments/``. In an installed package they lie within it, where
the build puts copies of them (``setup.py``).
"""

from functools import cache
from pathlib import Path

import yaml
from hydra.core.config_store import ConfigStore

from nogan import inflection
from nogan.training.compose import resolvers

PACKAGE = Path(__file__).parents[2]


def recipes() -> Path:
    """The folder that holds ``conf/`` and ``experiments/``."""
    checkout = PACKAGE.parents[1]
    return checkout if (checkout / "conf" / "config.yaml").is_file() else PACKAGE / "_recipes"


@cache
def groups() -> tuple[str, ...]:
    """What is chosen by name, as in ``model=artistic``: the folders of ``conf/``, and what :func:`register` adds."""
    folders = {path.name for path in (recipes() / "conf").iterdir() if path.is_dir()}
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
