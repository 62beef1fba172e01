"""Between two checkpoints: ``nogan blend A B --alpha 0.5 -o C`` interpolates their weights.

Two checkpoints of one lineage (pretrained only and after the GAN phase; cycle 1 and cycle 5) are joined by a path of
networks that work: ``--alpha`` is the knob from A's temper to B's, from stable to vivid. This is the interpolation of
Wang et al., "ESRGAN" (arXiv:1809.00219, section 3.4), there between a PSNR-oriented network and its GAN fine-tuning.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Mapping, Sequence
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


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line that says what is wrong."""
    parser = argparse.ArgumentParser("nogan blend", description="Interpolate the weights of two checkpoints.")
    parser.add_argument("a", metavar="A", help="run folder, .safetensors export, or DeOldify .pth")
    parser.add_argument("b", metavar="B", help="another of the same architecture")
    parser.add_argument("--alpha", type=float, default=0.5, help="0 gives A, 1 gives B (default 0.5)")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="C", help="folder, .safetensors or .pth")
    parser.add_argument("--overwrite", action="store_true", help="replace C if it is there")
    arguments = parser.parse_args(argv)
    path: Path = arguments.output
    try:
        written = path if path.suffix in (".safetensors", ".pth") else path / "generator.safetensors"
        if written.exists() and not arguments.overwrite:
            raise UserError(f"{written} is there already; --overwrite replaces it.")
        mixed = blend(load_generator(arguments.a), load_generator(arguments.b), arguments.alpha)
        if path.suffix == ".pth":
            from nogan.networks import deoldify

            path.parent.mkdir(parents=True, exist_ok=True)
            deoldify.save_generator(mixed, path)
        else:
            size = max(trained_size(arguments.a), trained_size(arguments.b))
            made_of = {"a": arguments.a, "b": arguments.b, "alpha": arguments.alpha}
            save_generator(mixed, path, size=size, blend=made_of)
    except UserError as error:
        print(f"nogan.networks.blend: {error}", file=sys.stderr)
        return 1
    print(f"{written}: python colorize.py PHOTO -o OUT --checkpoint {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
