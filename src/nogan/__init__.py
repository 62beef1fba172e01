"""Train colorizers with NoGAN, whose inflection point the program finds, and colorize photographs and film."""

from typing import TYPE_CHECKING, Any

from nogan.common.version import __version__

if TYPE_CHECKING:
    from nogan.colorize.colorizer import Colorizer

__all__ = ["Colorizer", "__version__"]


def __getattr__(name: str) -> Any:
    # `import nogan` must stay light: torch is imported when something that needs it is first used.
    if name == "Colorizer":
        from nogan.colorize.colorizer import Colorizer

        return Colorizer
    raise AttributeError(f"module 'nogan' has no attribute {name!r}")
