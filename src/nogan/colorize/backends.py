"""The network as a function of gray squares, run by torch or by onnxruntime.

Neither is imported before a network is made, and an ONNX export never needs torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nogan.colorize.precision import Precision, choose
from nogan.colorize.vividness import check
from nogan.common.errors import UserError
from nogan.networks.original import DEOLDIFY_SIZE

if TYPE_CHECKING:
    from nogan.networks import UNet

Network = Callable[[np.ndarray], np.ndarray]
"""Gray ``(B, S, S)`` float32 in [0, 1] to RGB ``(B, S, S, 3)`` float32 in [0, 1]."""


FEATURE_REDUCTIONS = (8, 16)
"""Reductions of the features of an encoder that frames are matched by."""


@dataclass(frozen=True)
class TorchNetwork:
    """A :data:`Network` with an encoder.

    Attributes:
        run: the network.
        features: what its encoder makes of gray ``(S, S)`` float32 in [0, 1]: ``(S / 8, S / 8, C)`` float32.
    """

    run: Network
    features: Network

    def __call__(self, gray: np.ndarray) -> np.ndarray:
        """Gray to RGB, as :data:`Network` says."""
        return self.run(gray)


def pick_device(device: str | None) -> str:
    """The device that the user names; without a name, a GPU if there is one.

    Raises:
        UserError: this machine, or this build of torch, does not have the device.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {device}: not available here ({str(error).splitlines()[0]})") from error
    return device


def torch_network(generator: UNet, device: str, precision: Precision, compile: bool) -> Network:
    """``generator`` as a :data:`Network`; its spectral norm is folded in place, and it moves to ``device``."""
    import torch

    from nogan.common.color import denormalize, normalize
    from nogan.common.failures import naming_out_of_memory
    from nogan.networks import fold_spectral_norm

    where = torch.device(device)
    network = fold_spectral_norm(generator).to(where).to(memory_format=torch.channels_last)
    network.requires_grad_(False)

    def run(gray: np.ndarray, bfloat16: bool) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=bfloat16):
            x = torch.from_numpy(gray).to(where)[:, None].expand(-1, 3, -1, -1)
            x = normalize(x).contiguous(memory_format=torch.channels_last)
            rgb = denormalize(network(x).float()).clamp_(0, 1)
            return rgb.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    bfloat16 = (choose(run, device) if precision == "auto" else precision) == "bf16"
    if compile:
        network.compile()

    def guarded(gray: np.ndarray) -> np.ndarray:
        what = f"colorizing {len(gray)} x {gray.shape[1]} px on {where}"
        try:
            with naming_out_of_memory(what, "lower --render-factor or --batch-size"):
                return run(gray, bfloat16)
        except RuntimeError as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                reason = str(error).strip().splitlines()[0]
                raise UserError(f"--compile does not work here; leave it out ({reason})") from error
            raise

    def features(gray: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(gray).to(where)[None, None].expand(-1, 3, -1, -1)
            x = normalize(x).contiguous(memory_format=torch.channels_last)
            pyramid = dict(zip(network.encoder.reductions, network.encoder(x), strict=True))
            kept = [pyramid[reduction].float() for reduction in FEATURE_REDUCTIONS]
            size = kept[0].shape[-2:]
            parts = [torch.nn.functional.interpolate(part, size, mode="bilinear") for part in kept]
            return torch.cat(parts, dim=1)[0].permute(1, 2, 0).contiguous().cpu().numpy()

    return TorchNetwork(guarded, features) if _has_features(network) else guarded


def _has_features(network: UNet) -> bool:
    """Whether a network, which may be a user's own, has an encoder with the features that are needed."""
    return set(FEATURE_REDUCTIONS) <= set(getattr(getattr(network, "encoder", None), "reductions", ()))


class Exported(NamedTuple):
    """An ONNX export: what runs it, and what the file says of it.

    Attributes:
        network: as of torch.
        size: side in px of the pictures that it was trained on.
        render_factor: the one that suits it; None where the file does not say.
    """

    network: Network
    size: int
    render_factor: int | None


def onnx_network(path: Path, device: str | None, vividness: float | None, default: float) -> Exported:
    """Open an ONNX export.

    Args:
        path: the file.
        device: as in :func:`pick_device`.
        vividness: for an export with that input; None is ``default``.
        default: see there.

    Raises:
        UserError: onnxruntime is missing, it does not support ``device``, the file is not from `nogan export`, or it
            has no such input.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f'{path} needs onnxruntime: pip install -e ".[onnx]"') from error
    available = onnxruntime.get_available_providers()
    known = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
    wanted = list(known) if device is None else [device.partition(":")[0]]
    providers = [known[kind] for kind in wanted if known.get(kind) in available]
    if not providers:
        raise UserError(f"--device {device}: this onnxruntime offers {', '.join(available)}.")
    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
        metadata = session.get_modelmeta().custom_metadata_map
        mean, std = (np.array(metadata[key].split(), np.float32).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        size = int(metadata.get("size", DEOLDIFY_SIZE))
        factor = int(metadata["render_factor"]) if "render_factor" in metadata else None
        name, *knobs = (given.name for given in session.get_inputs())
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise UserError(f"{path} is damaged, or was not written by `nogan export`.") from error

    check(vividness)
    if vividness is not None and not knobs:
        raise UserError(f"--vividness {vividness:g}: {path} was exported without that input; leave it out")
    level = np.float32(default if vividness is None else vividness)

    def run(gray: np.ndarray) -> np.ndarray:
        x = (np.broadcast_to(gray[:, None], (len(gray), 3, *gray.shape[1:])) - mean) / std
        (y,) = session.run(None, {name: x} | {knob: np.full(len(gray), level) for knob in knobs})
        return np.ascontiguousarray((y * std + mean).clip(0, 1).transpose(0, 2, 3, 1))

    return Exported(run, size, factor)
