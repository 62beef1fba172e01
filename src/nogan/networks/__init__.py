"""The networks as plain ``nn.Module``s: :func:`build_generator`, :func:`build_critic`, and what training needs of them.

Each carries ``config``, a dict of plain values: ``build_generator(**network.config, pretrained=False)`` builds the same
architecture again, and so does ``build_critic(**network.config)``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nogan.networks.blocks import fold_spectral_norm
    from nogan.networks.build import at_vividness, build_critic, build_generator, layer_groups, trainable_parameters
    from nogan.networks.critic import Critic
    from nogan.networks.unet import UNet

__all__ = [
    "Critic",
    "UNet",
    "at_vividness",
    "build_critic",
    "build_generator",
    "fold_spectral_norm",
    "layer_groups",
    "trainable_parameters",
]

_MODULES = {"Critic": "critic", "UNet": "unet", "fold_spectral_norm": "blocks"}  # the others are in "build"


def __getattr__(name: str) -> Any:
    # Lazily, so that a generator's file can be found, and an ONNX export run, without importing torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'build')}"), name)
