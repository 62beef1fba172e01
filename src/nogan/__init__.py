"""NoGAN training research: colorize photographs and film, with the inflection point found by the program."""

__version__ = "0.1.0"
