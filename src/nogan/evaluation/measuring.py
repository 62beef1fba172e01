"""What is measured of each picture, chunk by chunk, so that a cut evaluation goes on and several processes share it.

The photographs are divided into chunks of :data:`CHUNK`. For each colorizer and chunk there is one file below
``measured/``: the values of each image, and what the measures of whole sets need of it. A file is there whole or not at
all, so what is missing is what is left to do, whoever does it. What a chunk holds does not depend on the batch size.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nogan.common.files import write_atomically
from nogan.common.threads import read_ahead
from nogan.evaluation.colorizers import Painter, Request
from nogan.evaluation.per_image import PER_IMAGE, Pair
from nogan.evaluation.protocols import Protocol
from nogan.evaluation.results import ResultsFolder
from nogan.evaluation.truths import Truth, Truths

CHUNK = 32
"""Photographs in a file of ``measured/``."""

SHOWN_SIDE = 1024
"""Longer side in px of the pictures that are kept to be looked at."""


@dataclass(frozen=True)
class Cells:
    """What has been measured of one colorizer.

    Attributes:
        values: ``(N,)`` float64 of each measure that single images have; NaN where one was not taken.
    """

    values: dict[str, np.ndarray]


class Measuring:
    """Measures the pictures of one colorizer.

    Args:
        request: the colorizer.
        truths: the photographs.
        folder: of the evaluation.
        keep: of how many photographs the pictures are kept, from the first.
    """

    def __init__(self, request: Request, truths: Truths, folder: ResultsFolder, keep: int) -> None:
        self.request, self.truths, self._folder, self._keep = request, truths, folder, keep
        self.slug = slug(request.name)
        settings = repr((request.fingerprint(), truths.protocol.model_dump(exclude={"published", "title"})))
        digest = hashlib.sha256("\n".join([settings, repr(truths.fingerprint), *truths.files]).encode()).hexdigest()[
            :12
        ]
        self._chunks = folder.measured / f"{self.slug}-{digest}"

    @property
    def chunks(self) -> range:
        """The numbers of all chunks."""
        return range(-(-len(self.truths) // CHUNK))

    def file(self, chunk: int) -> Path:
        """What has been measured of ``chunk``, once it has been."""
        return self._chunks / f"{chunk:05d}.npz"

    def measure(self, painter: Painter, chunks: Sequence[int], batch_size: int, done: Callable[[int], None]) -> None:
        """Measure ``chunks``, reading ahead of the network.

        Args:
            painter: makes the pictures.
            chunks: their numbers.
            batch_size: photographs in one pass of the network.
            done: called with the number of images, after each batch.
        """
        self._chunks.mkdir(parents=True, exist_ok=True)
        numbers = [n for chunk in chunks for n in self._numbers(chunk)]
        truths = read_ahead((self.truths.load(number) for number in numbers), 2 * batch_size)
        for chunk in chunks:
            count = len(self._numbers(chunk))
            rows: list[dict[str, float]] = []
            while len(rows) < count:
                batch = [next(truths) for _ in range(min(batch_size, count - len(rows)))]
                for truth, output in zip(batch, painter.paint(batch), strict=True):
                    if chunk * CHUNK + len(rows) < self._keep:
                        self._show(truth, output)
                    rows.append(measured(truth, through_codec(output, self.truths.protocol)))
                done(len(batch))
            columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
            _write(self.file(chunk), columns)

    def _numbers(self, chunk: int) -> range:
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.truths)))

    def _show(self, truth: Truth, output: np.ndarray) -> None:
        path = self._folder.pictures / self.slug / f"{truth.name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(output)
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
        write_atomically(path, lambda temporary: image.save(temporary, quality=92, subsampling=0))

    def cells(self) -> Cells:
        """Everything that has been measured, put together."""
        parts = [dict(np.load(self.file(chunk))) for chunk in self.chunks]
        return Cells({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def _write(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    write_atomically(path, lambda temporary: np.savez(temporary, allow_pickle=False, **columns))


def measured(truth: Truth, output: np.ndarray) -> dict[str, float]:
    """Every measure of one picture."""
    pair = Pair(as_tensor(output), as_tensor(truth.pixels))
    return {key: float(measure(pair)) for key, measure in PER_IMAGE.items()}


def as_tensor(pixels: np.ndarray) -> Tensor:
    """RGB ``(H, W, 3)`` uint8 to ``(1, 3, H, W)`` float32 in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def through_codec(output: np.ndarray, protocol: Protocol) -> np.ndarray:
    """The picture after it was written and read again as the protocol says; 8 bits a channel lose nothing."""
    if protocol.codec == "png":
        return output
    import io

    buffer = io.BytesIO()
    Image.fromarray(output).save(buffer, "JPEG", quality=protocol.quality, subsampling=0)
    return np.asarray(Image.open(buffer))


def slug(name: str) -> str:
    """``name`` as the name of a folder: what file systems or URLs take amiss becomes a dash."""
    plain = "".join(letter if letter.isalnum() or letter in "._@" else "-" for letter in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
