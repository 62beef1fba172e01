"""Generators as ONNX, for programs without torch: ``nogan export RUN_DIR -o model.onnx``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.common.version import __version__
from nogan.networks.generator_file import load_generator

if TYPE_CHECKING:
    from torch import nn

ONNX_OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between an export and torch, in model space, that is accepted."""

CHECKED_SIZES = ((1, 64, 96), (2, 80, 112))
"""Batch, height and width of the check, other than the traced ones; 80 and 112 are not divisible by 32."""

_TRACED_SIZE = (2, 96, 128)


def export_onnx(checkpoint: str | os.PathLike[str], path: Path) -> float:
    """Write a generator as ONNX, with spectral norm folded, for any batch size and any height and width of 16 x n px.

    The model has one input, ``gray``: ImageNet-normalized gray, ``(B, 3, H, W)`` float32, and one output, ``color``,
    in the same space; of a generator with a vividness also the input ``vividness``: ``(B,)`` float32 in [0, 1]. Its
    metadata hold ``mean`` and ``std`` of that space, ``size``, side in px of the pictures that it was trained on, and
    ``render_factor``, if the checkpoint says which one suits it.

    Args:
        checkpoint: what ``--checkpoint`` takes, but ``.onnx``.
        path: the file to write; whole and checked, or not at all.

    Returns:
        The largest difference between torch and onnxruntime on noise, in model space.

    Raises:
        UserError: no checkpoint, a package is missing, the difference is above :data:`TOLERANCE`, or the file cannot be
            written.
    """
    try:
        import onnxruntime  # noqa: F401 (needed for the check at the end)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f'The ONNX export needs {error.name}: pip install -e ".[onnx]"') from error
    import torch
    from torch.export import Dim

    from nogan.common.color import IMAGENET_MEAN, IMAGENET_STD
    from nogan.networks import fold_spectral_norm

    network = fold_spectral_norm(load_generator(checkpoint))
    network.requires_grad_(False)
    batch, height, width = _TRACED_SIZE
    given = [torch.zeros(batch, 3, height, width)]
    names = ["gray"]
    axes = {"x": {0: Dim("batch"), 2: Dim("height", min=32), 3: Dim("width", min=32)}}
    if has_vividness(network):
        given.append(torch.ones(batch))
        names.append("vividness")
        axes["vividness"] = {0: axes["x"][0]}
    program = torch.onnx.export(
        network,
        tuple(given),
        dynamo=True,
        opset_version=ONNX_OPSET,
        input_names=names,
        output_names=["color"],
        dynamic_shapes=axes,
        verbose=False,
    )
    assert program is not None  # None only without dynamo
    program.model.metadata_props.update(
        {
            "format": "nogan-generator",
            "nogan_version": __version__,
            "size": str(network.trained_size),
            "mean": " ".join(map(str, IMAGENET_MEAN)),
            "std": " ".join(map(str, IMAGENET_STD)),
            **({"render_factor": str(network.render_factor)} if network.render_factor else {}),
        }
    )
    difference = 0.0

    def write(temporary: Path) -> None:
        nonlocal difference
        program.save(temporary)
        difference = onnx_difference(network, temporary)
        if not difference <= TOLERANCE:
            raise UserError(f"{path}: the ONNX model differs from torch by {difference:.2g}, above {TOLERANCE:g}.")

    write_export(path, write)
    return difference


def write_export(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` write ``path``, whole or not at all, and make its folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}.") from error


def has_vividness(network: nn.Module) -> bool:
    """Whether ``network`` is told how vivid to be."""
    return getattr(network, "vividness", None) is not None


def onnx_difference(network: nn.Module, path: Path) -> float:
    """Largest absolute difference between a network and its ONNX file, for noise of :data:`CHECKED_SIZES`."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for seed, (batch, height, width) in enumerate(CHECKED_SIZES):
        x = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
        given = [x, *([torch.linspace(0, 1, batch)] if has_vividness(network) else [])]
        with torch.inference_mode():
            expected = network(*given)
        names = [each.name for each in session.get_inputs()]
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)})
        differences.append((torch.from_numpy(found) - expected).abs().max().item())
    return max(differences)
