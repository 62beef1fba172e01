"""Between two checkpoints: ``nogan blend A B --alpha 0.5 -o C`` interpolates their weights.

Two checkpoints of one lineage (pretrained only and after the GAN phase; cycle 1 and cycle 5) are joined by a path of
networks that work: ``--alpha`` is the knob from A's temper to B's, from stable to vivid. This is the interpolation of
Wang et al., "ESRGAN" (arXiv:1809.00219, section 3.4), there between a PSNR-oriented network and its GAN fine-tuning.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.common.errors import UserError
from nogan.networks.generator_file import load_generator, save_generator, trained_size

if TYPE_CHECKING:
    from torch import Tensor, nn

_ORIGINAL, _U, _V = "original", "0._u", "0._v"
_POWER_ITERATIONS = 50


def blend(a: nn.Module, b: nn.Module, alpha: float) -> nn.Module:
    """The generator ``(1 - alpha) A + alpha B``, weight by weight; A and B stay as they are.

    Under spectral norm the unnormalized weights are interpolated, and the largest singular value is found anew (50
    power iterations): every layer keeps the norm that its neighbors' batch norm statistics expect. At 0 and 1 the
    result is A or B to the bit.

    Raises:
        UserError: two architectures, or an alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"--alpha {alpha:g}: expected a number from 0 (all A) to 1 (all B).")
    if dict(a.config) != dict(b.config):
        differing = [key for key in {**a.config, **b.config} if a.config.get(key) != b.config.get(key)]
        found = ", ".join(f"{key} {a.config.get(key)} and {b.config.get(key)}" for key in differing)
        raise UserError(f"Only checkpoints of one architecture can be interpolated; these have {found}.")
    mixed = copy.deepcopy(a)
    mixed.load_state_dict(interpolate(a.state_dict(), b.state_dict(), alpha))
    return mixed.eval()


def interpolate(a: Mapping[str, Tensor], b: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """State dicts, as in :func:`blend`; whole-number buffers are A's."""
    import torch

    if alpha in (0, 1):
        return {name: (b if alpha else a)[name].clone() for name in a}
    mixed = {name: torch.lerp(x, b[name], alpha) if x.is_floating_point() else x.clone() for name, x in a.items()}
    for name in a:
        stem = name.removesuffix(_U)
        if stem != name:
            weight = mixed[stem + _ORIGINAL].flatten(1)
            u = a[name]
            for _ in range(_POWER_ITERATIONS):
                v = torch.nn.functional.normalize(weight.T @ u, dim=0)
                u = torch.nn.functional.normalize(weight @ v, dim=0)
            mixed[name], mixed[stem + _V] = u, v
    return mixed


def blend_checkpoints(a: str | os.PathLike[str], b: str | os.PathLike[str], alpha: float, path: Path) -> None:
    """Write :func:`blend` of two checkpoints to ``path``: a folder, a ``.safetensors`` file, or DeOldify's ``.pth``.

    Raises:
        UserError: as :func:`blend`, or one of the two is no checkpoint.
    """
    mixed = blend(load_generator(a), load_generator(b), alpha)
    if path.suffix == ".pth":
        from nogan.networks import deoldify

        path.parent.mkdir(parents=True, exist_ok=True)
        deoldify.save_generator(mixed, path)
    else:
        size = max(trained_size(a), trained_size(b))
        save_generator(mixed, path, size=size, blend={"a": str(a), "b": str(b), "alpha": alpha})
