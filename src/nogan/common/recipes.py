"""Where the recipes are.

In a checkout the recipes are its own ``conf/`` and ``experiments/``. In an installed package they lie within it, where
the build puts copies of them (``setup.py``).
"""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def recipes() -> Path:
    """The folder that holds ``conf/`` and ``experiments/``."""
    checkout = PACKAGE.parents[1]
    return checkout if (checkout / "conf" / "config.yaml").is_file() else PACKAGE / "_recipes"
