"""What is measured of each picture, chunk by chunk, so that a cut evaluation goes on and several processes share it.

The photographs are divided into chunks of :data:`CHUNK`. For each colorizer and chunk there is one file below
``measured/``: the values of each image, and what the measures of whole sets need of it. A file is there whole or not at
all, so what is missing is what is left to do, whoever does it. What a chunk holds does not depend on the batch size.

A file stands for what was painted: for the colorizer, the photographs of the chunk and how they were prepared. Which
measures were taken is not part of its name, and neither is how many photographs there are: with others of them, what is
there is kept, and what is missing is added to it.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nogan.common.files import write_atomically
from nogan.common.threads import read_ahead
from nogan.common.version import __version__
from nogan.evaluation.colorizers import Model, Painter, Request
from nogan.evaluation.deep import Deep
from nogan.evaluation.metrics import chroma_distance, chroma_features
from nogan.evaluation.per_image import PER_IMAGE, Pair
from nogan.evaluation.protocols import Protocol
from nogan.evaluation.results import ResultsFolder
from nogan.evaluation.truths import Truth, Truths

CHUNK = 8
"""Photographs in a file of ``measured/``: so many are lost where an evaluation is cut."""

SHOWN_SIDE = 1024
"""Longer side in px of the pictures that are kept to be looked at."""


STABILITY_IMAGES = 64
"""Photographs that variation under shifts and sizes is measured on, because each costs two further passes."""

STABILITY = {"shift_variation": "moved", "scale_variation": "larger"}
"""These measures, and the method of :class:`~nogan.evaluation.colorizers.Model` that paints for them."""


@dataclass(frozen=True)
class Instruments:
    """What is measured, and with what.

    Attributes:
        keys: measures of single images.
        device: that they are computed on.
        inception: for FID; None where it is not measured.
        lpips: None where it is not measured.
    """

    keys: frozenset[str] = frozenset({*PER_IMAGE, *STABILITY})
    device: str = "cpu"
    inception: Deep | None = None
    lpips: Deep | None = None

    @property
    def columns(self) -> dict[str, str]:
        """What is kept of each picture, by its name in the files; that of a network's changes with its weights."""
        taken = [key for key in (*PER_IMAGE, *STABILITY) if key in self.keys]
        found = {key: key for key in (*taken, "chroma_sum", "chroma_outer")}
        deep = {"lpips": self.lpips, "inception": self.inception}
        return found | {f"{key} {network.fingerprint}": key for key, network in deep.items() if network is not None}


class Measuring:
    """Measures the pictures of one colorizer.

    Args:
        request: the colorizer.
        truths: the photographs.
        folder: of the evaluation.
        instruments: what is measured.
        keep: of how many photographs the pictures are kept, from the first.

    Attributes:
        folder: the name of its folders below ``measured/`` and ``pictures/``, which changes with what is painted.
    """

    def __init__(
        self, request: Request, truths: Truths, folder: ResultsFolder, instruments: Instruments, keep: int
    ) -> None:
        self.request, self.truths, self._folder = request, truths, folder
        self._instruments, self._keep = instruments, keep
        self._columns = instruments.columns
        protocol = truths.protocol.model_dump(include={"size", "fit", "codec", "quality", "luma"})
        settings = (CHUNK, __version__, request.fingerprint(), protocol, truths.fingerprint)
        self.folder = f"{slug(request.name)}-{_short(settings, 12)}"
        self._chunks = folder.measured / self.folder

    @property
    def chunks(self) -> range:
        """The numbers of all chunks."""
        return range(-(-len(self.truths) // CHUNK))

    def numbers(self, chunk: int) -> range:
        """The photographs of ``chunk``."""
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.truths)))

    def left(self) -> list[int]:
        """The chunks that have not been measured, or not by every measure; or whose pictures are not there."""
        return [chunk for chunk in self.chunks if self._missing(chunk) or not self._is_shown(chunk)]

    def _missing(self, chunk: int) -> dict[str, str]:
        """Which columns the file of ``chunk`` lacks; all of them if there is none that can be read."""
        try:
            with np.load(self._file(chunk)) as file:
                there = set(file.files)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):
            there = set()
        return {name: key for name, key in self._columns.items() if name not in there}

    def _is_shown(self, chunk: int) -> bool:
        return all(self._picture(self.truths.names[n]).is_file() for n in self.numbers(chunk) if n < self._keep)

    def _file(self, chunk: int) -> Path:
        numbers = self.numbers(chunk)
        files = self.truths.files[numbers.start : numbers.stop]
        return self._chunks / f"{chunk:05d}-{_short(files, 8)}.npz"

    def measure(self, painter: Painter, chunks: Sequence[int], batch_size: int, done: Callable[[int], None]) -> None:
        """Measure ``chunks``, reading ahead of the network; what was measured of them before is kept.

        Args:
            painter: makes the pictures.
            chunks: their numbers.
            batch_size: photographs in one pass of the network.
            done: called with the number of images, after each batch.
        """
        self._chunks.mkdir(parents=True, exist_ok=True)
        numbers = [number for chunk in chunks for number in self.numbers(chunk)]
        truths = read_ahead((self.truths.load(number) for number in numbers), 2 * batch_size)
        for chunk in chunks:
            left = list(self.numbers(chunk))
            missing = self._missing(chunk)
            rows: list[dict[str, np.ndarray]] = []
            while left:
                numbers, left = left[:batch_size], left[batch_size:]
                batch = [next(truths) for _ in numbers]
                for number, truth, output in zip(numbers, batch, painter.paint(batch), strict=True):
                    if number < self._keep:
                        self._show(truth, output)
                    model = painter if isinstance(painter, Model) and number < STABILITY_IMAGES else None
                    rows.append(self._measured(truth, output, model, missing.values()))
                done(len(batch))
            if missing:
                kept = {} if len(missing) == len(self._columns) else self._stored(chunk)
                added = {name: np.stack([row[key] for row in rows]) for name, key in missing.items()}
                _write(self._file(chunk), kept | added)

    def _measured(
        self, truth: Truth, output: np.ndarray, model: Model | None, keys: Collection[str]
    ) -> dict[str, np.ndarray]:
        """``keys`` of one picture, as arrays; pictures are measured one by one, so that batches change nothing."""
        use = self._instruments
        output = through_codec(output, self.truths.protocol)
        pair = Pair(*(as_tensor(pixels).to(use.device) for pixels in (output, truth.pixels)))
        values = {key: measure(pair).item() for key, measure in PER_IMAGE.items() if key in keys}
        if use.lpips is not None and "lpips" in keys:
            values["lpips"] = use.lpips.run(pair.output, pair.truth).item()
        for key, paint in STABILITY.items():
            if key in keys:
                other = None if model is None else getattr(model, paint)(truth.pixels)
                values[key] = np.nan if other is None else chroma_distance(as_tensor(other), as_tensor(output)).item()
        found = {key: np.array(value, np.float64) for key, value in values.items()}
        if "chroma_sum" in keys:
            rows = chroma_features(pair.output_lab).to("cpu", torch.float64)
            found |= {"chroma_sum": rows.sum(0).numpy(), "chroma_outer": (rows.T @ rows).numpy()}
        if use.inception is not None and "inception" in keys:
            pixels = torch.from_numpy(np.array(output)).permute(2, 0, 1)[None]
            found["inception"] = use.inception.run(pixels).cpu().numpy()[0]
        return found

    def _picture(self, name: str) -> Path:
        return self._folder.pictures / self.folder / f"{name}.jpg"

    def _show(self, truth: Truth, output: np.ndarray) -> None:
        path = self._picture(truth.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(output)
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
        write_atomically(path, lambda temporary: image.save(temporary, quality=92, subsampling=0))

    def read(self) -> Iterator[dict[str, np.ndarray]]:
        """What has been measured, chunk by chunk: arrays with a row for each image, by key."""
        for chunk in self.chunks:
            stored = self._stored(chunk)
            yield {key: stored[name] for name, key in self._columns.items()}

    def _stored(self, chunk: int) -> dict[str, np.ndarray]:
        with np.load(self._file(chunk)) as file:
            return dict(file)

    def values(self) -> dict[str, np.ndarray]:
        """The values of single images, ``(N,)`` float64, by the key of the measure; NaN where one was not taken."""
        columns: dict[str, list[np.ndarray]] = {}
        for part in self.read():
            for key, column in part.items():
                if column.ndim == 1:
                    columns.setdefault(key, []).append(column)
        return {key: np.concatenate(found) for key, found in columns.items()}


def _short(value: object, digits: int) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:digits]


def _write(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    write_atomically(path, lambda temporary: np.savez(temporary, allow_pickle=False, **columns))


def as_tensor(pixels: np.ndarray) -> Tensor:
    """RGB ``(H, W, 3)`` uint8 to ``(1, 3, H, W)`` float32 in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def through_codec(output: np.ndarray, protocol: Protocol) -> np.ndarray:
    """The picture after it was written and read again as the protocol says; 8 bits a channel lose nothing."""
    if protocol.codec == "png":
        return output
    buffer = io.BytesIO()
    Image.fromarray(output).save(buffer, "JPEG", quality=protocol.quality)
    return np.asarray(Image.open(buffer))


def slug(name: str) -> str:
    """``name`` as the name of a folder: what file systems or URLs take amiss becomes a dash."""
    plain = "".join(letter if letter.isalnum() or letter in "._@" else "-" for letter in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
