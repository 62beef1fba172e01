"""The average of the generators of a GAN phase so far, which is steadier than any of them."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from nogan.networks.blend import Norm, interpolate


def power_of(width: float) -> float:
    """The exponent γ of the weights t^γ whose standard deviation is ``width`` of the time so far, in (0, 0.288).

    It solves width = (γ + 1)^½ (γ + 2)^-1 (γ + 3)^-½: Karras et al., "Analyzing and improving the training dynamics of
    diffusion models", 2024 (arXiv:2312.02696).
    """
    low, high = 0.0, 1e6
    for _ in range(200):
        power = (low + high) / 2
        found = math.sqrt(power + 1) / ((power + 2) * math.sqrt(power + 3))
        low, high = (power, high) if found > width else (low, power)
    return (low + high) / 2


def norms_of(network: nn.Module) -> list[Norm]:
    """The spectral norms of ``network``, also of one that is not of this package: in both of PyTorch's forms."""
    found = []
    for name, module in network.named_modules():
        if isinstance(module, _SpectralNorm) and hasattr(module, "_u") and name.endswith(".0"):  # the weight as it is
            found.append(Norm(f"{name.rpartition('.')[0]}.original", f"{name}._u", f"{name}._v", module.dim))
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                stem = f"{name}.{hook.name}".removeprefix(".")
                found.append(Norm(f"{stem}_orig", f"{stem}_u", f"{stem}_v", hook.dim))
    return found


def _forget_graphs(network: nn.Module) -> None:
    """Detach what modules keep of their last pass, such as a normalized weight: it could not be copied."""
    for module in network.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                vars(module)[name] = value.detach()


class SnapshotAverage:
    """Averages the generator over the snapshots of a GAN phase; those of batch t count as t^γ.

    So the average reaches back over a constant share of the phase so far, and forgets the generator before the phase.
    It needs one copy of the generator, moved at each snapshot: average ← β average + (1 - β) snapshot, with
    β = (t of the snapshot before / t)^(γ + 1).

    Parameters are averaged, and so are the statistics of batch norm, which saves a pass over photographs: estimated
    again they gain no more (``experiments/inflection.md``). The vectors of spectral norm's power iteration are found
    again for the averaged weight: an average of unit vectors is not a unit vector (see
    :func:`nogan.networks.blend.interpolate`).

    Args:
        width: standard deviation of the weights' distribution over time, as a share of the time so far.
    """

    def __init__(self, width: float) -> None:
        self.power = power_of(width)
        self.step = 0  # of the last snapshot, in batches of the phase
        self.network: nn.Module | None = None  # the average; on rank zero, from the begin of a phase on
        self.norms: list[Norm] = []  # of that network

    def begin(self, network: nn.Module) -> None:
        """Begin a phase with ``network``, which the first snapshot replaces."""
        _forget_graphs(network)
        self.step, self.network = 0, copy.deepcopy(network).eval().requires_grad_(False)
        self.norms = norms_of(network)

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> nn.Module:
        """Take in the snapshot after ``step`` batches, later than the last one; the average."""
        assert self.network is not None and step > self.step
        share = 1 - (self.step / step) ** (self.power + 1)
        self.network.load_state_dict(interpolate(self.network.state_dict(), network.state_dict(), share, self.norms))
        self.step = step
        return self.network

    def end(self) -> None:
        """Drop the average: the phase is over."""
        self.step, self.network = 0, None

    def state_dict(self) -> dict[str, Any]:
        """The average and its time; empty where there is none."""
        return {"step": self.step, "network": dict(self.network.state_dict())} if self.network is not None else {}

    def load_state_dict(self, state: dict[str, Any], like: nn.Module) -> None:
        """Inverse of :meth:`state_dict`, for a network built as ``like``."""
        self.begin(like)
        assert self.network is not None
        self.network.load_state_dict(state["network"])
        self.step = state["step"]
