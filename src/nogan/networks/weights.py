"""Weight files: read without running anything from them, and fitted to a network tensor by tensor."""

import codecs
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nogan.common.errors import UserError

# What optimizer states in old checkpoints hold beside tensors: a learning rate as a slice or as a NumPy scalar.
_HARMLESS_GLOBALS = [
    slice,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    # NumPy pickles the bytes of a scalar as text: a codec call on a literal.
    (codecs.encode, "_codecs.encode"),
]

_WRAPPERS = ("model", "state_dict", "state_dict_ema", "model_ema")


def read_tensors(path: str | Path, *, setting: str) -> dict[str, Tensor]:
    """All named tensors of a ``.safetensors`` file or a PyTorch checkpoint, on the CPU, out of wrappers like ``model``.

    Only tensors and plain values are unpickled; a file that asks for anything else is refused before it can run.

    Args:
        path: the file.
        setting: the config key or flag that names it, for the messages.

    Raises:
        UserError: not there, not such a file, damaged, or asks to run code.
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
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors.items()}


def _read_safetensors(path: Path, setting: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{setting}={path}: not a whole .safetensors file ({_first_line(error)})") from error


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
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # bytes that mean something else to pickle
        raise UserError(f"{setting}={path}: not a PyTorch checkpoint, or damaged") from error


def _forbidden_global(error: Exception) -> str | None:
    """The name that a refused pickle asked for, as PyTorch's message gives it."""
    match = re.search(r"GLOBAL ([\w.]+)", str(error))
    return match and match.group(1)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]


def check_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, source: str, target: str) -> None:
    """Raise a :class:`UserError` that names the first tensor missing, misshapen or unknown.

    Args:
        found: tensors of the file.
        expected: tensors that the network has.
        source: the file, as the message names it.
        target: the network, as the message names it.
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
    """Give ``network`` these checked ``tensors`` as its state, floats as float32, copied only where they must be."""
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    network.load_state_dict(state, strict=True, assign=True)
