"""The generator as a file: ``generator.safetensors`` (the weights) beside ``generator.json`` (how to rebuild it).

The JSON is also stored in the header of the ``.safetensors`` file, so that the weights file alone is enough. The
file beside it is for people and for other programs.

torch is imported when weights are read or written; finding a checkpoint does not need it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nogan.common.errors import UserError
from nogan.common.files import bytes_of, write_atomically
from nogan.common.targets import TARGET, already_imported, arguments, has_target
from nogan.common.version import __version__
from nogan.networks import named
from nogan.networks.original import DEOLDIFY_SIZE
from nogan.networks.tensor_file import DESCRIPTION, DIGEST, check_digest, check_finite, digest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nogan.networks import UNet

FORMAT = "nogan-generator"
VERSION = 1
WEIGHTS_NAME = "generator.safetensors"
CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".onnx")
"""Suffixes of generators: ours, DeOldify's, and ONNX exports."""


def save_generator(network: nn.Module, path: str | os.PathLike[str], **training_info: Any) -> Path:
    """Write a generator and its description, each file whole or not at all.

    Args:
        network: from :func:`nogan.networks.build_generator`; its ``config`` goes into the description.
        path: the ``.safetensors`` file to write, or a folder, in which it is called ``generator.safetensors``.
        training_info: anything that JSON can hold, stored under ``training``. The program itself reads ``size`` (see
            :func:`trained_size`), ``render_factor``, the one that suits the generator, and ``data``, what kind of
            pictures it was trained on.

    Returns:
        The path of the ``.safetensors`` file.

    Raises:
        UserError: ``path`` cannot be written, or a weight is not finite.
    """
    assert isinstance(network.config, dict)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    return _save(tensors, network.config, training_info, path)


def save_half(
    checkpoint: str | os.PathLike[str], path: str | os.PathLike[str], render_factor: int | None = None
) -> Path:
    """Write the generator of ``checkpoint`` at half the size, to hand on.

    Weights of convolutions become float16; means, variances, biases and the vectors of spectral norm, which are few,
    stay as they are. It is read, trained further and blended like any other.

    Args:
        checkpoint: what ``--checkpoint`` takes, but ``.onnx``.
        path: the ``.safetensors`` file to write.
        render_factor: the one that suits it, 4 to 100; None leaves what the checkpoint says, if anything.

    Raises:
        UserError: no checkpoint, a weight that float16 cannot hold, or ``path`` cannot be written.
    """
    import torch

    network = load_generator(checkpoint)
    info = {"size": network.trained_size, **about_training(checkpoint)}
    if render_factor is not None:
        info["render_factor"] = render_factor
    tensors = {
        name: (tensor.half() if tensor.ndim > 1 and tensor.dtype == torch.float32 else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    return _save(tensors, dict(network.config), info, path)


def _save(
    tensors: dict[str, Tensor],
    config: Mapping[str, Any],
    training_info: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> Path:
    from safetensors.torch import save_file

    weights = weights_path(path)
    check_finite(tensors, weights)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "network": dict(config),
        "training": dict(training_info),
        "nogan_version": __version__,
        DIGEST: digest(tensors),
    }
    text = json.dumps(description, indent=2) + "\n"
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(weights.with_suffix(".json"), lambda temporary: temporary.write_text(text, encoding="utf-8"))
        write_atomically(
            weights,
            lambda temporary: save_file(tensors, temporary, metadata={DESCRIPTION: text}),
            needed=bytes_of(tensors),
        )
    except OSError as error:
        raise UserError(f"Cannot write the generator to {weights}: {error.strerror or error}.") from error
    return weights


def weights_path(path: str | os.PathLike[str]) -> Path:
    """The file that :func:`save_generator` writes: ``path`` itself, or in the folder ``path``."""
    return Path(path) if Path(path).suffix == ".safetensors" else Path(path) / WEIGHTS_NAME


def load_generator(path: str | os.PathLike[str], own: type[nn.Module] | None = None) -> UNet:
    """Read a generator: in eval mode, on the CPU, with spectral norm not folded.

    A file whose generator is a class of its user's own (``model.networks.generator``) names that class. Loading does
    not import it, since a file may come from anybody: import its module first, or pass the class.

    Args:
        path: a run folder (with ``generator.safetensors`` in it), a ``.safetensors`` file that :func:`save_generator`
            wrote, one of DeOldify's ``.pth`` files, or a name: "starter", "deoldify-artistic", …
        own: the class of a generator that is not this package's.

    Raises:
        UserError: in one line: there is no such file, it holds no generator, or one of a class that is not known.
    """
    weights = find_weights(path)
    if weights.suffix == ".pth":
        from nogan.networks import deoldify

        return deoldify.load_generator(weights, setting="--checkpoint")
    if weights.suffix == ".onnx":
        raise UserError(f"{weights}: ONNX files can only be run; take the run folder or the .safetensors instead.")
    description, tensors = _read(weights)
    config = description["network"]
    make = _own_class(config, weights, own) if has_target(config) else None
    try:
        network = make(**arguments(config)) if make is not None else _unfilled_generator(config)
        network.config = dict(config)
        network.load_state_dict(tensors)
    except RuntimeError as error:  # of load_state_dict, one line for each tensor
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{weights}: its weights do not fit the network it describes: {reason}") from error
    except (TypeError, ValueError, KeyError, UserError) as error:
        raise UserError(f"{weights}: its description does not make a generator: {_one_line(error)}") from error
    network.trained_size = _trained_size(description)
    network.render_factor = _positive(description, "render_factor")
    return network.eval()


def _unfilled_generator(config: Mapping[str, Any]) -> UNet:
    from nogan.networks import build_generator
    from nogan.networks.blocks import Unfilled

    with Unfilled():
        return build_generator(**{**config, "pretrained": False})


def _own_class(config: Mapping[str, Any], weights: Path, own: type[nn.Module] | None) -> Any:
    """The class that the file names, if its user has imported or passed it.

    Typed as Any, because the network is only ever called.
    """
    from torch import nn

    found = own or already_imported(config[TARGET])
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    module = config[TARGET].rpartition(".")[0]
    raise UserError(
        f"{weights}: its generator is a {config[TARGET]}, and code that a file names is not run unasked: "
        f"in Python, `import {module}` before loading it"
    )


def find_weights(path: str | os.PathLike[str]) -> Path:
    """The weights file of a user's ``--checkpoint``: the file itself, the one in a run folder, or that of a name.

    Raises:
        UserError: there is none, or it cannot be fetched (:mod:`nogan.networks.named`).
    """
    given = named.resolve(path)
    if not os.access(given, os.R_OK) and given.exists():
        raise UserError(f"{given}: no permission to read it.")
    if given.is_dir():
        if (given / WEIGHTS_NAME).is_file():
            return given / WEIGHTS_NAME
        raise UserError(f"{given} holds no {WEIGHTS_NAME}: expected the folder of a finished run (or a weights file).")
    if not given.exists():
        raise UserError(
            f"No checkpoint at {given}: expected a run folder, a .safetensors, .onnx or DeOldify .pth file, or a name "
            "that `nogan models` lists."
        )
    if given.suffix not in CHECKPOINT_SUFFIXES:
        raise UserError(
            f"{given} is not a checkpoint: expected a run folder, a .safetensors, .onnx or DeOldify .pth file."
        )
    return given


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The description in a ``.safetensors`` generator, or of that in a run folder: network, training, versions."""
    return _read(find_weights(path), tensors=False)[0]


def trained_size(path: str | os.PathLike[str]) -> int:
    """Side in px of the pictures that a generator was last trained on; 192 where its file does not say.

    DeOldify's files do not say; all of its recipes end at 192 px.
    """
    weights = find_weights(path)
    return _trained_size(describe(weights)) if weights.suffix == ".safetensors" else DEOLDIFY_SIZE


def render_factor(path: str | os.PathLike[str]) -> int | None:
    """The render factor that suits a generator, as its file says; None where it says nothing."""
    weights = find_weights(path)
    return _positive(describe(weights), "render_factor") if weights.suffix == ".safetensors" else None


def _trained_size(description: Mapping[str, Any]) -> int:
    return _positive(description, "size") or DEOLDIFY_SIZE


def _positive(description: Mapping[str, Any], name: str) -> int | None:
    """The whole number above 0 that the description of the training has under ``name``, if it has one."""
    value = _about_training(description).get(name)
    return value if isinstance(value, int) and value > 0 else None


def about_training(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the file of a checkpoint says of its training; {} where it says nothing, as DeOldify's do."""
    weights = find_weights(path)
    return _about_training(_read(weights, tensors=False)[0]) if weights.suffix == ".safetensors" else {}


def _about_training(description: Mapping[str, Any]) -> dict[str, Any]:
    training = description.get("training")
    return training if isinstance(training, dict) else {}


def _read(weights: Path, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            header = (file.metadata() or {}).get(DESCRIPTION)
            state = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118 (no mapping)
        beside = weights.with_suffix(".json")
        if header is None and not beside.is_file():
            raise UserError(
                f"{weights} does not say how to rebuild its network, and there is no {beside.name} beside it."
            )
        description = json.loads(header if header is not None else beside.read_text(encoding="utf-8"))
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{weights} is damaged or not a generator: {_one_line(error)}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise UserError(f"{weights} is not a generator: expected the format {FORMAT!r}.")
    if description.get("version") != VERSION:
        raise UserError(
            f"{weights} has format version {description.get('version')}; this nogan {__version__} reads {VERSION}."
        )
    if not isinstance(description.get("network"), dict):
        raise UserError(f"{weights} does not say how to rebuild its network (its 'network' is missing).")
    check_digest(state, description.get(DIGEST) if tensors else None, weights)
    check_finite(state, weights)
    return description, state


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
