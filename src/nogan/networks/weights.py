"""Weight files: reading them without running code from them, and checking tensor by tensor that they fit."""

import codecs
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nogan.common.errors import UserError
from nogan.networks import tensor_file

_SCALAR = np.float64(0).__reduce__()[0]  # what NumPy pickles scalars by
assert callable(_SCALAR)

# In the optimizer states of old checkpoints: learning rates as slices or NumPy scalars.
_HARMLESS_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    slice,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    # NumPy pickles the bytes of a scalar as text, which unpickling encodes.
    (codecs.encode, "_codecs.encode"),
]

_WRAPPERS = ("model", "state_dict", "state_dict_ema", "model_ema")


def read_tensors(path: str | Path, *, setting: str) -> dict[str, Tensor]:
    """All named tensors of a ``.safetensors`` file or PyTorch checkpoint, on the CPU, without wrappers like ``model``.

    Only tensors and plain values are unpickled; a file that asks for anything else is refused before it can run.

    Args:
        path: the file.
        setting: the config key or flag that names it, for the messages.

    Raises:
        UserError: the file is missing, damaged, of another kind, holds numbers that are not finite, or asks to run
            code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{setting}={path}: no such file")
    content = _read_safetensors(path, setting) if path.suffix == ".safetensors" else _unpickle(path, setting)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise UserError(f"{setting}={path}: holds no named tensors; expected a state dict")
    tensor_file.check_finite(tensors, path)
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors.items()}


def _read_safetensors(path: Path, setting: str) -> dict[str, Tensor]:
    try:
        return tensor_file.read(path)
    except UserError as error:
        raise UserError(f"{setting}={error}") from error


def _unpickle(path: Path, setting: str) -> object:
    try:
        with torch.serialization.safe_globals(_HARMLESS_GLOBALS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _forbidden_global(error)
        if wanted is None:
            raise UserError(f"{setting}={path}: not a PyTorch checkpoint, or damaged") from error
        raise UserError(
            f"{setting}={path}: refused, because loading it would run {wanted}; expected tensors and plain values only"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{setting}={path}: truncated, or not a PyTorch checkpoint ({_first_line(error)})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # damaged bytes can mean anything to pickle
        raise UserError(f"{setting}={path}: not a PyTorch checkpoint, or damaged") from error


def _forbidden_global(error: Exception) -> str | None:
    """The name of the forbidden global, as PyTorch's message gives it."""
    match = re.search(r"GLOBAL ([\w.]+)", str(error))
    return match and match.group(1)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]


def check_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, source: str, target: str) -> None:
    """Check that the tensors of a file are those of a network.

    Args:
        found: tensors of the file.
        expected: tensors of the network.
        source: what the message calls the file.
        target: what the message calls the network.

    Raises:
        UserError: names the first tensor that is missing, unknown or of a wrong shape.
    """
    for name, tensor in expected.items():
        if name not in found:
            shape = tuple(tensor.shape)
            raise UserError(f"{source}: tensor {name} is missing; {target} has it, of shape {shape}")
        if found[name].shape != tensor.shape:
            raise UserError(
                f"{source}: tensor {name} has shape {tuple(found[name].shape)}; {target} has {tuple(tensor.shape)}"
            )
    unknown = next((name for name in found if name not in expected), None)
    if unknown is not None:
        raise UserError(f"{source}: tensor {unknown} (shape {tuple(found[unknown].shape)}) is unknown to {target}")


def assign(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make ``tensors``, which must fit, the state of ``network``; floats become float32, others are not copied."""
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    network.load_state_dict(state, strict=True, assign=True)
