"""Golden data of the original DeOldify: the fill formula and the inputs (tests/data/deoldify/README.md)."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from nogan.networks import deoldify

DATA = Path(__file__).parent / "data" / "deoldify"
CHUNK = 1 << 18


@cache
def layout(name):
    return json.loads((DATA / f"{name}.layout.json").read_text())


@cache
def golden(name):
    return json.loads((DATA / f"{name}.golden.json").read_text())


@cache
def arrays(name):
    with np.load(DATA / f"{name}.golden.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def uniform(k, start, stop):
    """U(k, i) in [0, 1) for i in [start, stop)."""
    with np.errstate(over="ignore"):  # uint32 arithmetic is modulo 2^32, as the formula wants
        t = np.arange(start, stop, dtype=np.uint32) * np.uint32(0x9E3779B1)
        t += np.uint32((k * 0x85EBCA77 + 0x165667B1) % 2**32)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            t ^= t >> np.uint32(shift)
            t *= np.uint32(factor)
        t ^= t >> np.uint32(16)
    return t / 2.0**32


def noise(k, start, stop):
    """H(k, i): mean 0, variance 1."""
    return (2 * uniform(k, start, stop) - 1) * np.sqrt(3)


def unit(k, size):
    values = noise(k, 0, size)
    return values / np.linalg.norm(values)


def filled(entries, *, gain=lambda key: 1.0):
    """The tensors of a layout under the fill formula, by the original's names and in its order."""
    numbers = {entry["key"]: entry["k"] for entry in entries}
    tensors = {}
    for entry in entries:
        key, shape, k = entry["key"], tuple(entry["shape"]), entry["k"]
        stem, _, kind = key.rpartition(".")
        size = int(np.prod(shape))
        if kind == "num_batches_tracked":
            tensors[key] = torch.zeros((), dtype=torch.int64)
            continue
        out = np.empty(size, np.float32)
        if kind in ("weight_u", "weight_v") and f"{stem}.weight_u" in numbers:
            out[:] = unit(k, size)
        elif kind == "gamma":
            out[:] = 0.5
        else:
            fan = size // shape[0]
            if kind == "weight_orig":
                u = unit(numbers[f"{stem}.weight_u"], shape[0])
                v = unit(numbers[f"{stem}.weight_v"], fan)
            for start in range(0, size, CHUNK):
                stop = min(start + CHUNK, size)
                if kind == "running_var":
                    part = 0.75 + 0.5 * uniform(k, start, stop)
                else:
                    part = noise(k, start, stop)
                    if kind in ("bias", "running_mean"):
                        part *= 0.1
                    elif kind == "weight_g":
                        part = 1.5 + 0.2 * part
                    elif kind == "weight" and len(shape) == 1:
                        part = 1 + 0.1 * part
                    else:
                        part *= gain(key) * np.sqrt(2 / fan)
                if kind == "weight_orig":
                    rows, columns = np.divmod(np.arange(start, stop, dtype=np.uint32), np.uint32(fan))
                    part += u[rows] * v[columns]
                out[start:stop] = part
        tensors[key] = torch.from_numpy(out.reshape(shape))
    return tensors


def filled_network(name):
    """All tensors of "deep", "wide" or "critic"."""
    last_conv = {"deep": ".conv2.weight", "wide": ".conv3.weight"}.get(name)

    def gain(key):
        if last_conv and key.startswith("layers.0.") and key.endswith(last_conv):
            return 0.25
        return 0.5 if key.endswith(".downsample.0.weight") else 1.0

    return filled(layout(name)["entries"], gain=gain)


@cache
def network(name):
    """The network "deep", "wide" or "critic" under the fill, in eval mode. One for the session: copy it to train it."""
    build = deoldify.critic_from if name == "critic" else deoldify.generator_from
    return build(filled_network(name), source=name)


def tensors_of(name):
    """The tensors of :func:`network`, under the original's names and in its order."""
    state = network(name).state_dict()
    return {theirs: state[ours] for theirs, ours in deoldify.deoldify_names(network(name))}


def image(n, height, width):
    """The goldens' input, model space (n, 3, height, width)."""
    n, c, y, x = np.ogrid[:n, :3, :height, :width]
    wave = 1.2 * np.sin(0.21 * x * (c + 1) + 0.13 * y + 0.5 * n)
    return torch.from_numpy((wave + 0.8 * np.cos(0.17 * y * (c + 1) - 0.003 * x * y + c)).astype(np.float32))


def image2(n, height, width):
    """The goldens' target, model space (n, 3, height, width)."""
    n, c, y, x = np.ogrid[:n, :3, :height, :width]
    wave = 1.0 * np.cos(0.19 * x * (c + 1) - 0.11 * y + 0.3 * n)
    return torch.from_numpy((wave + 0.7 * np.sin(0.15 * y * (c + 1) + 0.002 * x * y - c)).astype(np.float32))


def sized(text):
    """Batch, height and width of "2x64x64"."""
    return tuple(int(number) for number in text.split("x"))


def inference() -> dict[str, np.ndarray]:
    """The pictures of DeOldify's inference, from the photograph to the result."""
    with np.load(DATA / "inference.golden.npz") as arrays:
        return dict(arrays)
