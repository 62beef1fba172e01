"""DeOldify's published weights, in and out: the stable name of :mod:`nogan.networks.deoldify`."""

from nogan.networks.deoldify import load_critic, load_generator, save_critic, save_generator

__all__ = ["load_critic", "load_generator", "save_critic", "save_generator"]
