"""NoGAN training research: colorize photographs and film, with the inflection point found by the program."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nogan.colorizer import Colorizer

__all__ = ["Colorizer", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the colorizer when it is asked for: ``import nogan`` alone stays light."""
    if name == "Colorizer":
        from nogan.colorizer import Colorizer

        return Colorizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
