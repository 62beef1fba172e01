"""The networks of a checkout of DeOldify (https://github.com/jantic/DeOldify), for comparison: used by `speed.py`.

Its own code is imported and run as it is. It brings fastai v1, whose imports of packages that play no part in a network
are met with empty ones.
"""

import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import torch
import torchvision
from torch import Tensor, nn

UNUSED = ("IPython", "fastprogress", "pkg_resources", "pynvx", "spacy")
"""What fastai imports and its networks do not use; pandas, matplotlib and scipy are in `.[dev]`."""


class _Empty(types.ModuleType):
    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


class _EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        unused = name.partition(".")[0] in UNUSED
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if unused else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class Original:
    """DeOldify's generators, critic and loss, with random weights.

    Args:
        checkout: the folder with ``deoldify/`` and ``fastai/``.

    Raises:
        SystemExit: it is no such folder.
    """

    def __init__(self, checkout: Path) -> None:
        if not (checkout / "deoldify" / "unet.py").is_file() or not (checkout / "fastai").is_dir():
            sys.exit(f"--original {checkout}: expected a checkout of DeOldify, with deoldify/ and fastai/ in it")
        warnings.filterwarnings("ignore")
        sys.path.insert(0, str(checkout))
        sys.meta_path.insert(0, finder := _EmptyModules())
        try:
            import deoldify.critics
            import deoldify.loss
            import deoldify.unet
            import fastai.callback
            import fastai.layers
            import fastai.vision.learner
        finally:
            sys.meta_path.remove(finder)
            sys.path.remove(str(checkout))
        self.deoldify, self.fastai = deoldify, fastai

    def generator(self, name: str) -> nn.Module:
        """Of the artistic ("deep") or the stable ("wide") model."""
        unet, architecture, factor = {
            "deep": (self.deoldify.unet.DynamicUnetDeep, torchvision.models.resnet34, 1.5),
            "wide": (self.deoldify.unet.DynamicUnetWide, torchvision.models.resnet101, 2),
        }[name]
        body = self.fastai.vision.learner.create_body(architecture, False)
        norm = self.fastai.layers.NormType.Spectral
        options = {"blur": True, "self_attention": True, "y_range": (-3.0, 3.0), "norm_type": norm}
        return unet(body, n_classes=3, nf_factor=factor, **options)

    def critic(self) -> nn.Module:
        """Of all its models."""
        return self.deoldify.critics.custom_gan_critic()

    def feature_loss(self) -> nn.Module:
        """``(output, target)`` to the loss; it asks for a GPU and for pretrained weights, and gets neither."""
        build = torchvision.models.vgg16_bn
        with (
            patch.object(torchvision.models, "vgg16_bn", lambda pretrained: build(weights=None)),
            patch.object(nn.Module, "cuda", lambda module: module),
        ):
            return self.deoldify.loss.FeatureLoss()

    def optimizer(self, network: nn.Module) -> Any:
        """Adam with fastai's own decoupled weight decay, over the parameters that train."""
        adam = self.fastai.callback.OptimWrapper
        options = {"wd": 1e-3, "true_wd": True, "bn_wd": True}
        return adam.create(partial(torch.optim.Adam, betas=(0.0, 0.9)), 1e-5, [network], **options)

    @staticmethod
    def set_trained(network: nn.Module, trained: bool) -> None:
        """As its ``GANTrainer`` does when it switches: mode and gradients of one network."""
        network.train(trained).requires_grad_(trained)

    @staticmethod
    def critic_loss(critic: nn.Module, generator: nn.Module, gray: Tensor, color: Tensor) -> Tensor:
        """Its ``GANLoss.critic`` of a batch, in the same order."""
        judge = nn.BCEWithLogitsLoss()
        real = critic(color)
        fake = critic(generator(gray).requires_grad_(True))
        return (judge(real, torch.ones_like(real)) + judge(fake, torch.zeros_like(fake))) / 2

    @staticmethod
    def generator_loss(critic: nn.Module, generator: nn.Module, loss: nn.Module, gray: Tensor, color: Tensor) -> Tensor:
        """Its ``GANLoss.generator`` of a batch with DeOldify's weights."""
        output = generator(gray)
        judged = critic(output)
        return nn.BCEWithLogitsLoss()(judged, torch.ones_like(judged)) + 2 * loss(output, color)
