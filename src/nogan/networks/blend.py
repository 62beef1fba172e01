"""Interpolation between the weights of two checkpoints: ``nogan blend A B --alpha 0.5 -o C``.

Between two checkpoints of one run (before and after a GAN phase, or of two cycles) all interpolated networks work, and
their colors change gradually from those of A to those of B, e.g. from stable to vivid. This is the interpolation of
Wang et al., "ESRGAN" (arXiv:1809.00219, section 3.4), there between a PSNR-oriented network and its GAN fine-tuning.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nogan.common.errors import UserError
from nogan.networks.generator_file import about_training, load_generator, save_generator

if TYPE_CHECKING:
    from torch import Tensor

    from nogan.networks import UNet

_ORIGINAL, _U, _V = "original", "0._u", "0._v"
_POWER_ITERATIONS = 50


def blend(a: UNet, b: UNet, alpha: float) -> UNet:
    """The generator ``(1 - alpha) A + alpha B``, weight by weight; A and B stay as they are.

    Under spectral norm the unnormalized weights are interpolated, and their largest singular value is computed again
    (50 power iterations), so that every layer has the norm that the statistics of batch norm are for. At 0 and 1 the
    result is A or B to the bit. Its ``trained_size`` is the larger one.

    Raises:
        UserError: A and B differ in their architecture, or alpha is outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"--alpha {alpha:g}: expected a number from 0 (all A) to 1 (all B).")
    if a.config != b.config:
        differing = [key for key in {**a.config, **b.config} if a.config.get(key) != b.config.get(key)]
        found = ", ".join(f"{key} {a.config.get(key)} and {b.config.get(key)}" for key in differing)
        raise UserError(f"Only checkpoints of one architecture can be interpolated; these have {found}.")
    mixed = copy.deepcopy(a)
    mixed.load_state_dict(interpolate(a.state_dict(), b.state_dict(), alpha))
    mixed.trained_size = max(a.trained_size, b.trained_size)
    return mixed.eval()


class Norm(NamedTuple):
    """Where a state dict has a weight under spectral norm and the vectors of its power iteration.

    Attributes:
        weight: name of the weight before it is normalized.
        u: name of the vector along dimension ``dim`` of the weight.
        v: name of the vector along all others.
        dim: 0 but for transposed convolutions, which have the channels that they return in dimension 1.
    """

    weight: str
    u: str
    v: str
    dim: int = 0


def interpolate(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], alpha: float, norms: Iterable[Norm] | None = None
) -> dict[str, Tensor]:
    """The state dict between two, as in :func:`blend`; integer buffers are those of A.

    Args:
        a: state dict of A.
        b: state dict of B, with the same names and shapes.
        alpha: share of B, in [0, 1].
        norms: the spectral norms; None: those of the generators of this package, by their names.
    """
    import torch

    if alpha in (0, 1):
        return {name: (b if alpha else a)[name].clone() for name in a}
    mixed = {name: torch.lerp(x, b[name], alpha) if x.is_floating_point() else x.clone() for name, x in a.items()}
    for norm in _norms_named_in(a) if norms is None else norms:
        weight = mixed[norm.weight].movedim(norm.dim, 0).flatten(1)
        u = (b if alpha > 0.5 else a)[norm.u]  # that of the nearer one
        for _ in range(_POWER_ITERATIONS):
            v = torch.nn.functional.normalize(weight.T @ u, dim=0)
            u = torch.nn.functional.normalize(weight @ v, dim=0)
        mixed[norm.u], mixed[norm.v] = u, v
    return mixed


def _norms_named_in(state: Mapping[str, Tensor]) -> Iterator[Norm]:
    stems = (name.removesuffix(_U) for name in state if name.endswith(_U))
    return (Norm(stem + _ORIGINAL, stem + _U, stem + _V) for stem in stems)


def blend_checkpoints(a: str | os.PathLike[str], b: str | os.PathLike[str], alpha: float, path: Path) -> None:
    """Write :func:`blend` of two checkpoints to ``path``: a folder, a ``.safetensors`` file, or DeOldify's ``.pth``.

    Raises:
        UserError: as for :func:`blend`; A or B is not a checkpoint; or ``path`` cannot be written.
    """
    mixed = blend(load_generator(a), load_generator(b), alpha)
    if path.suffix == ".pth":
        from nogan.networks import deoldify

        deoldify.save_generator(mixed, path)
    else:
        save_generator(
            mixed, path, size=mixed.trained_size, blend={"a": str(a), "b": str(b), "alpha": alpha}, **_in_common(a, b)
        )


def _in_common(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> dict[str, Any]:
    """What two checkpoints say of their training that also holds for a blend of them."""
    ours, theirs = (about_training(path) for path in (a, b))
    return {
        key: ours[key]
        for key in ("run", "model", "data", "render_factor")
        if key in ours and ours[key] == theirs.get(key)
    }
