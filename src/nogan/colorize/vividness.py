"""One knob for every generator: how vivid its colors are, from 0 (steady) to 1 (vivid).

A generator with a vividness of its own (``model=unified``) is set to it. Of a run without, 0 is the generator before
the first GAN phase, 1 the final one, and between them their weights are interpolated. Of two checkpoints, 0 is the
first one, 1 the second, and between them their pictures are mixed, whatever their architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.common.errors import UserError
from nogan.networks.generator_file import describe, find_weights, load_generator

if TYPE_CHECKING:
    import os

    from nogan.networks import UNet

PHOTO_VIVIDNESS = 1.0
"""Of photographs, where no vividness is given and the generator has that knob."""

FILM_VIVIDNESS = 0.0
"""Of films: the steady end."""


def generator_at(checkpoint: str | os.PathLike[str], vividness: float | None, default: float = PHOTO_VIVIDNESS) -> UNet:
    """The generator of ``checkpoint`` at one vividness, in eval mode; a generator without that knob.

    Args:
        checkpoint: as for :func:`nogan.networks.generator_file.load_generator`.
        vividness: in [0, 1]; None is ``default`` for a generator with the knob, and leaves others as they are.
        default: see there.

    Raises:
        UserError: no such checkpoint; a vividness out of range; or it has neither the knob nor, beside it, the
            generator before the GAN phase.
    """
    check(vividness)
    generator = load_generator(checkpoint)
    if getattr(generator, "vividness", None) is not None:
        from nogan.networks import at_vividness

        plain = at_vividness(generator, default if vividness is None else vividness)
        plain.trained_size, plain.render_factor = generator.trained_size, generator.render_factor
        return plain
    if vividness is None:
        return generator
    pretrained = before_gan(find_weights(checkpoint))
    if pretrained is None:
        raise _no_knob(checkpoint, vividness)
    from nogan.networks.blend import blend

    return blend(load_generator(pretrained), generator, vividness)


def check(vividness: float | None) -> None:
    """Refuse a vividness that is not in [0, 1].

    Raises:
        UserError: says so.
    """
    if vividness is not None and not 0 <= vividness <= 1:
        raise UserError(f"--vividness {vividness:g}: expected a number from 0 (steady) to 1 (vivid)")


def placed(checkpoints: Mapping[str, float], vividness: float | None) -> tuple[dict[str, float], float | None]:
    """The checkpoints with the weights that ``vividness`` means, and what of it is left for each of them.

    Args:
        checkpoints: with their weights. Of two, the steady one comes first.
        vividness: in [0, 1], or None.

    Returns:
        For one checkpoint, or no vividness, what was given. For two, each with its share of the mix, those with none
        left out; and None, since each has its own default then.

    Raises:
        UserError: a vividness out of range; or it is asked of more than two, or of two with other weights.
    """
    check(vividness)
    if vividness is None or len(checkpoints) == 1:
        return dict(checkpoints), vividness
    if len(checkpoints) != 2 or len(set(checkpoints.values())) != 1:
        found = " ".join(f"{name}:{weight:g}" for name, weight in checkpoints.items())
        raise UserError(
            f"--vividness {vividness:g} of a blend, {found}: expected two checkpoints without weights, the steady one "
            "first (RUN:v0.5 sets the vividness of one of several)"
        )
    steady, vivid = checkpoints
    shares = {steady: 1 - vividness, vivid: vividness}
    return {name: share for name, share in shares.items() if share > 0}, None


def check_has_knob(weights: Path, vividness: float) -> None:
    """Refuse a vividness that is out of range, or asked of a file that cannot have one; without loading the network.

    Of an ONNX export it is known when it is loaded.

    Raises:
        UserError: as :func:`generator_at`.
    """
    check(vividness)
    told = weights.suffix == ".safetensors" and "vividness" in describe(weights)["network"]
    if not told and weights.suffix != ".onnx" and before_gan(weights) is None:
        raise _no_knob(weights, vividness)


def _no_knob(checkpoint: str | os.PathLike[str], vividness: float) -> UserError:
    return UserError(
        f"--vividness {vividness:g}: {checkpoint} has no such knob, and there is no generator from before its GAN "
        "phase beside it; expected a model=unified generator, or the folder of a run with a GAN phase"
    )


def before_gan(weights: Path) -> Path | None:
    """The generator before the GAN phase, beside the final one of a run; None where there is none."""
    from nogan.runs.run_folder import RunFolder  # which knows configs, and loads Pydantic for that

    run = RunFolder(weights.parent)
    pretrained = run.generator("pretrained")
    return pretrained if weights == run.generator() and pretrained.is_file() else None
