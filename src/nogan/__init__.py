"""NoGAN training research: colorize photographs and film, with the inflection point found by the program."""

from typing import TYPE_CHECKING, Any

from nogan.common.version import __version__

if TYPE_CHECKING:
    from nogan.colorize.colorizer import Colorizer

__all__ = ["Colorizer", "__version__"]


def __getattr__(name: str) -> Any:
    # `import nogan` must stay light: torch comes with the first use of what needs it.
    if name == "Colorizer":
        from nogan.colorize.colorizer import Colorizer

        return Colorizer
    raise AttributeError(f"module 'nogan' has no attribute {name!r}")
