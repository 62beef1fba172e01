"""What is compared: checkpoints, blends, folders of pictures that another program colorized, and gray and truth."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
import torch
from PIL import Image

from nogan.colorize.backends import onnx_network
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.composite import composite, upsample
from nogan.colorize.photos import read_photo
from nogan.colorize.square import MAX_RENDER_FACTOR, PHOTO_RENDER_FACTOR, RenderFactor, gray_square, network_size
from nogan.colorize.vividness import before_gan, check_has_knob
from nogan.common.errors import UserError
from nogan.common.image_files import IMAGE_SUFFIXES, printable
from nogan.evaluation.held_out import shift
from nogan.evaluation.measures import SCALE, SHIFT
from nogan.evaluation.protocols import Protocol
from nogan.evaluation.results import Kind
from nogan.evaluation.truths import Truth, Truths, fitted, name_of, to_rgb
from nogan.networks.generator_file import CHECKPOINT_SUFFIXES, find_weights, render_factor
from nogan.networks.named import is_name
from nogan.networks.requested import Requested, requested, weights_of
from nogan.runs.run_folder import RunFolder

NAMED = 3
"""Files that a message names, of those that are missing."""


class Painter(Interface):
    """Anything that gives a picture for a photograph."""

    def paint(self, batch: Sequence[Truth]) -> list[np.ndarray]:
        """A picture for each of ``batch``, RGB ``(H, W, 3)`` uint8 of the photograph's size."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """A colorizer as the command line names it.

    Attributes:
        name: its row in the tables.
        kind: see :class:`nogan.evaluation.results.Entry`.
        path: of the pictures; None for what has none.
        weights: checkpoints with their weights, of a model; see :mod:`nogan.networks.requested`.
        render_factor: of a model.
    """

    name: str
    kind: Kind
    path: Path | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    render_factor: RenderFactor | None = None

    @property
    def source(self) -> str:
        """Where it comes from, in a word or a path."""
        if self.kind == "gray":
            return "the photograph's luma"
        if self.kind == "truth":
            return "a copy of the photograph"
        if self.path is not None:
            return str(self.path)
        if len(self.weights) == 1:
            return next(iter(self.weights))
        return " + ".join(f"{weight:g} x {path}" for path, weight in self.weights.items())

    def fingerprint(self) -> str:
        """Changes with what it would paint: with the weights' files, or the pictures' sizes and times."""
        parts: list[object] = [self.kind, self.render_factor]
        if self.path is not None:
            files = sorted(path for path in self.path.rglob("*") if path.is_file())
            parts += [(str(f.relative_to(self.path)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        for word, weight in self.weights.items():
            checkpoint, vividness = requested(word)
            files = [find_weights(checkpoint)]
            if vividness is not None:
                files += filter(None, [before_gan(files[0])])
            parts += [weight, vividness, *map(_digest, files)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


GRAY, TRUTH = Request("gray", "gray"), Request("truth", "truth")
"""Rows of every table: a measure that cannot tell the two apart is not one."""


def requests_of(words: Iterable[str], factors: Sequence[RenderFactor | None]) -> list[Request]:
    """The colorizers that the words of a command line mean.

    Args:
        words: each ``PATH``, ``NAME=PATH``, or a blend, ``PATH:0.6+PATH:0.4``, with or without a name; ``PATH:v0.5`` is
            a model at a vividness.
        factors: render factors; with several, each model is there once for each. None is the one that suits the model,
            where its file says so, else that of photographs.

    Raises:
        UserError: a path is not there, or two have one name.
    """
    found = [_request(word) for word in words]
    labels = _unique([request.name for request in found])
    named = [replace(request, name=label) for request, label in zip(found, labels, strict=True)]
    if len(factors) == 1:
        return [_with_factor(request, factors[0]) for request in named]
    several: list[Request] = []
    for request in named:
        if request.kind != "model":
            several.append(request)
        else:
            several += [replace(_with_factor(request, f), name=f"{request.name} at {f}") for f in factors]
    return several


def _with_factor(request: Request, factor: RenderFactor | None) -> Request:
    if request.kind != "model":
        return request
    return replace(request, render_factor=_suitable(request) if factor is None else factor)


def _suitable(request: Request) -> int:
    """The factor that :meth:`Colorizer.colorize` would take by itself."""
    own = None
    if len(request.weights) == 1:
        file = find_weights(requested(next(iter(request.weights))).checkpoint)
        own = onnx_network(file, "cpu", None, 1.0).render_factor if file.suffix == ".onnx" else render_factor(file)
    return own or PHOTO_RENDER_FACTOR


def _request(word: str) -> Request:
    name, equals, rest = word.partition("=")
    given = name if equals and name and not os.path.exists(word) and "/" not in name else ""  # noqa: PTH110
    text = rest if given else word
    weights = weights_of([text] if Path(text).exists() else text.split("+"))
    if given in (GRAY.name, TRUTH.name):
        raise UserError(f"{word}: {given} is a row of every table already; give it another name")
    folder = Path(next(iter(weights)))
    if len(weights) == 1 and _is_pictures(folder):
        return Request(given or folder.resolve().as_posix(), "pictures", folder)
    files = {_as_file(part): weight for part, weight in weights.items()}
    label = given or "+".join(map(_label, weights))
    return Request(label, "model", None, files if len(files) > 1 else dict.fromkeys(weights, 1.0))


def _as_file(part: str) -> str:
    """A part of a blend by its file, so that two names of one are one; what cannot be had is refused here."""
    checkpoint, vividness = requested(part)
    weights = find_weights(checkpoint)
    if vividness is not None:
        check_has_knob(weights, vividness)
    return str(Requested(os.fspath(weights), vividness))


def _label(part: str) -> str:
    checkpoint, vividness = requested(part)
    path = checkpoint if is_name(checkpoint) else _without_suffix(Path(checkpoint).resolve())
    return str(Requested(path, vividness))


def _without_suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in CHECKPOINT_SUFFIXES else path).as_posix()


def _is_pictures(path: Path) -> bool:
    if not path.is_dir() or (path / "generator.safetensors").is_file():
        return False
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.rglob("*")):
        return True
    raise UserError(
        f"{path}: neither a finished run (generator.safetensors) nor a folder of pictures "
        f"({', '.join(IMAGE_SUFFIXES[:4])}, …)"
    )


def _unique(names: Sequence[str]) -> list[str]:
    """Of each path the last parts, as many as tell them apart; names that were given stay as they are.

    Raises:
        UserError: two are the same.
    """
    again = [name for name, count in Counter(names).items() if count > 1]
    if again:
        raise UserError(f"{again[0]}: named twice; NAME={again[0]} gives one of them another name")
    shortest = []
    for name in names:
        parts = name.removeprefix("/").split("/")
        ends = ("/".join(parts[-n:]) for n in range(1, len(parts) + 1))
        taken = {GRAY.name, TRUTH.name}
        shortest.append(
            next(
                (
                    end
                    for end in ends
                    if end not in taken
                    and not any(other != name and f"/{other}".endswith(f"/{end}") for other in names)
                ),
                name,
            )
        )
    return shortest


def group_of(request: Request, key: str) -> str | None:
    """What a run's config has at ``key``, such as ``model``; None for what is no run, or the name of no section.

    Raises:
        UserError: the run's config has no such key.
    """
    if request.kind != "model" or len(request.weights) != 1:
        return None
    path = Path(requested(next(iter(request.weights))).checkpoint)
    folder = RunFolder(path if path.is_dir() else path.parent)
    if not folder.config_file.is_file():
        return None
    value: Any = folder.plain_config()
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UserError(
                f"--group-by {key}: the config of {folder} has no such key; expected model, seed, nogan.gan.lr, …"
            )
        value = value[part]
    return str(value["name"] if isinstance(value, Mapping) and "name" in value else value)


class _Gray:
    def paint(self, batch: Sequence[Truth]) -> list[np.ndarray]:
        return [to_rgb(np.asarray(Image.fromarray(truth.pixels).convert("L"))) for truth in batch]


class _Copy:
    def paint(self, batch: Sequence[Truth]) -> list[np.ndarray]:
        return [truth.pixels for truth in batch]


class Model:
    """A checkpoint or a blend, which runs on gray photographs."""

    def __init__(self, colorizer: Colorizer, factor: RenderFactor, protocol: Protocol) -> None:
        self._colorizer, self._raw = colorizer, protocol.luma == "network"
        self.factor, self.batch_size = factor, colorizer.batch_size

    def paint(self, batch: Sequence[Truth]) -> list[np.ndarray]:
        """See :class:`Painter`."""
        return self.colorize([truth.pixels for truth in batch], self.factor)

    def colorize(self, pixels: Sequence[np.ndarray], factor: RenderFactor) -> list[np.ndarray]:
        """Colorize RGB photographs, ``(H, W, 3)`` uint8, at a render factor."""
        return self._colorizer.colorize_pixels(pixels, factor, raw=self._raw)

    def moved(self, pixels: np.ndarray) -> np.ndarray | None:
        """One photograph, for which the network's input was moved by ``SHIFT`` px and its picture moved back.

        None with the render factor "auto", which has several inputs.
        """
        if self.factor == "auto":
            return None
        gray = torch.from_numpy(gray_square(pixels, network_size(self.factor))[None, None].astype(np.float32))
        square = self._colorizer.predict(shift(gray, SHIFT)[:, 0].numpy().astype(np.uint8))
        back = shift(torch.from_numpy(square).permute(0, 3, 1, 2), -SHIFT)[0].permute(1, 2, 0).numpy()
        return upsample(back, pixels) if self._raw else composite(back, pixels)

    def larger(self, pixels: np.ndarray) -> np.ndarray | None:
        """One photograph, seen by the network at ``SCALE`` times the size, rounded up; None where there is no such."""
        if self.factor == "auto" or (factor := math.ceil(self.factor * SCALE)) > MAX_RENDER_FACTOR:
            return None
        return self.colorize([pixels], factor)[0]


class Pictures:
    """A folder of pictures that another program colorized, with the photographs' names.

    Raises:
        UserError: pictures are missing; the message names some.
    """

    def __init__(self, path: Path, truths: Truths) -> None:
        self._path, self._protocol = path, truths.protocol
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        self._files = {name_of(file.relative_to(path).as_posix()): file for file in files}
        if truths.protocol.order == "name":  # the folders of the photographs are their classes
            self._files |= {file.stem: file for file in files if file.stem not in self._files}
        missing = [name for name in truths.names if self._find(name) is None]
        if missing:
            some = ", ".join(map(printable, missing[:NAMED])) + (", …" if len(missing) > NAMED else "")
            hint = "" if len(missing) < len(truths) else f"; its own are called {', '.join(list(self._files)[:NAMED])}"
            raise UserError(
                f"{path}: no picture for {len(missing)} of {len(truths)} photographs of {truths.label} "
                f"({some}){hint}: expected the same names, whatever the suffix"
            )

    def _find(self, name: str) -> Path | None:
        found = self._files.get(name)
        return self._files.get(Path(name).name) if found is None and self._protocol.order == "name" else found

    def paint(self, batch: Sequence[Truth]) -> list[np.ndarray]:
        """See :class:`Painter`.

        Raises:
            UserError: a picture cannot be read, or has another size than its photograph.
        """
        return [self._load(truth) for truth in batch]

    def _load(self, truth: Truth) -> np.ndarray:
        path = self._find(truth.name)
        assert path is not None
        pixels = to_rgb(read_photo(path).pixels)
        if pixels.shape != truth.pixels.shape and pixels.shape[:2] == truth.full_size:
            pixels = fitted(pixels, self._protocol)
        if pixels.shape != truth.pixels.shape:
            (height, width), (full_height, full_width) = truth.pixels.shape[:2], truth.full_size
            sizes = {f"{width} x {height}", f"{full_width} x {full_height}"}
            raise UserError(
                f"{path}: {pixels.shape[1]} x {pixels.shape[0]} px; expected {' or '.join(sorted(sizes))}, "
                "as its photograph"
            )
        return pixels


def painter_of(request: Request, truths: Truths, device: str | None) -> Painter:
    """What paints for ``request``; its checkpoint is loaded.

    Raises:
        UserError: the checkpoint cannot be used, or pictures are missing.
    """
    match request.kind:
        case "gray":
            return _Gray()
        case "truth":
            return _Copy()
        case "pictures":
            assert request.path is not None
            return Pictures(request.path, truths)
        case _:
            assert request.render_factor is not None
            return Model(
                Colorizer.load(request.weights, device=device, precision="fp32"), request.render_factor, truths.protocol
            )
