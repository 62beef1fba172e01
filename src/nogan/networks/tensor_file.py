"""Named tensors as safetensors, with a checksum: a flipped bit in a weight must not be used unnoticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.common.errors import UserError
from nogan.common.files import bytes_of, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "blake2b"  # the key of the checksum: in the header, or in the description of a generator there
DESCRIPTION = "nogan"  # the key of that description


def write(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write ``tensors`` atomically; the folder is made.

    Raises:
        UserError: one of them is not finite.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    check_finite(plain, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {DIGEST: digest(plain)}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata=header), needed=bytes_of(plain))


def read(path: Path) -> dict[str, Tensor]:
    """Read what :func:`write` or :func:`~nogan.networks.generator_file.save_generator` wrote.

    Raises:
        UserError: the file is not there or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            noted = _noted(file.metadata())
    except (SafetensorError, ValueError, AttributeError, OSError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): bring back a copy") from error
    check_digest(tensors, noted, path)
    return tensors


def noted_digest(path: Path) -> str | None:
    """The checksum that ``path`` was written with, whatever became of its tensors; None if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return _noted(file.metadata())
    except (SafetensorError, ValueError, AttributeError, OSError):
        return None


def _noted(header: Mapping[str, str] | None) -> str | None:
    header = header or {}
    return header.get(DIGEST) or json.loads(header.get(DESCRIPTION, "{}")).get(DIGEST)


def check_digest(tensors: Mapping[str, Tensor], noted: str | None, path: Path) -> None:
    """Check ``tensors`` against the checksum that was ``noted``; files of 0.1.0 have none.

    Raises:
        UserError: they are not those that were written.
    """
    if noted is not None and digest(tensors) != noted:
        raise UserError(f"{path} is damaged (its weights do not match their checksum): bring back a copy")


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are no numbers.

    Raises:
        UserError: names the first such tensor.
    """
    import torch

    bad = next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)
    if bad is not None:
        raise UserError(f"{path}: its tensor {bad} is not finite: expected the weights of a network that works")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A checksum of names, kinds, shapes and values."""
    import torch

    total = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
