"""Images a second on one core, for each stage from file to augmented batch; and how long a million rows take to open.

    python benchmarks/data.py PHOTOS            # any folder of photographs
    python benchmarks/data.py PHOTOS --rows 0   # without the opening of 1.28 million rows
    python benchmarks/data.py                   # with nothing else

The photographs are first brought to what ImageNet mostly holds (500x375, JPEG quality 95, 4:2:0) in a temporary folder.
A rate is images over seconds of CPU time of one thread, or of a DataLoader worker and all it does to hand a batch over:
what a core delivers that has nothing else to do.
"""

import argparse
import io
import itertools
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from nogan.common.rng import torch_rng
from nogan.data import images
from nogan.data.augment import NONE, AugmentConfig, augment
from nogan.data.prepare import Settings, prepare, write_rows
from nogan.data.sources import FolderSource, PreparedSource, Source, load_batch

RECIPE = Path(__file__).parents[1] / "conf" / "nogan" / "artistic.yaml"
SIZES = (64, 128, 192)
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", help="folder of photographs")
    parser.add_argument("--count", type=int, default=192, help="how many of them to use")
    parser.add_argument("--rows", type=int, default=1_281_167, help="rows of the synthetic set to open; 0 for none")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time spent on each figure")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu_name()}; Python {platform.python_version()}, torch {torch.__version__}, one thread.")
    with tempfile.TemporaryDirectory() as scratch:
        if given.photos:
            print_rates(Path(scratch), given.photos, given.count, given.seconds)
        if given.rows:
            print("\n| rows | opening | memory of its own | mapped file pages | then loading 1,000 at random |")
            print("|---|---|---|---|---|", flush=True)
            for rows in (given.rows // 10, given.rows):
                print_opening(Path(scratch, f"rows-{rows}"), rows)


def print_rates(scratch: Path, photos: Path, count: int, seconds: float) -> None:
    like_imagenet, copy = scratch / "folder", scratch / "copy"
    bring_to_imagenet(FolderSource(photos), like_imagenet, count)
    folder = FolderSource(like_imagenet)
    import datasets  # noqa: F401 - not to be counted below

    began = time.process_time()
    report = prepare(folder, copy, Settings(shard=64), workers=1)
    made, kilobytes = rate(began, len(folder)), report.bytes / report.kept / 1e3
    print(f"{len(folder)} photographs of 500x375, {mean_size(folder):.0f} kB each. The prepared copy is made at")
    print(f"{made:.0f} images/s on one core, shorter side 256, {kilobytes:.0f} kB each.\n")
    print_stages(folder, PreparedSource(copy), seconds)


def bring_to_imagenet(source: FolderSource, dest: Path, count: int) -> None:
    dest.mkdir()
    for index in range(min(count, len(source))):
        picture = Image.fromarray(images.decode(source.read(index)))
        size = (500, 375) if picture.width >= picture.height else (375, 500)
        picture.resize(size, Image.Resampling.LANCZOS).save(dest / f"{index:05d}.jpg", quality=95, subsampling="4:2:0")


def print_stages(folder: FolderSource, prepared: PreparedSource, seconds: float) -> None:
    files, small = ([source.read(i) for i in range(len(source))] for source in (folder, prepared))

    def over(things: list, function: Callable) -> float:
        return measure(function, things, seconds)

    import simplejpeg
    from torchvision.io import decode_jpeg

    def pillow(data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(data)))

    def pillow_half(data: bytes) -> np.ndarray:
        picture = Image.open(io.BytesIO(data))
        picture.draft("RGB", (picture.width // 2, picture.height // 2))
        return np.asarray(picture)

    def half(data: bytes) -> np.ndarray:
        return simplejpeg.decode_jpeg(data, min_height=1, min_width=1, min_factor=2)

    print("| JPEG decoder, images/s on one core | 500x375 | its half | prepared copy, 256 px |")
    print("|---|---|---|---|")
    print(f"| Pillow | {over(files, pillow):,.0f} | {over(files, pillow_half):,.0f} | {over(small, pillow):,.0f} |")
    vision = [over(x, lambda d: decode_jpeg(torch.frombuffer(bytearray(d), dtype=torch.uint8))) for x in (files, small)]
    print(f"| torchvision | {vision[0]:,.0f} | – | {vision[1]:,.0f} |")
    turbo = [over(files, simplejpeg.decode_jpeg), over(files, half), over(small, simplejpeg.decode_jpeg)]
    print(f"| simplejpeg | {turbo[0]:,.0f} | {turbo[1]:,.0f} | {turbo[2]:,.0f} |\n")

    print(f"| stage, images/s on one core | {' | '.join(f'{size} px' for size in SIZES)} |")
    print(f"|---|{'---|' * len(SIZES)}")

    def row(name: str, figure: Callable[[int], float]) -> None:
        print(f"| {name} | {' | '.join(f'{figure(size):,.0f}' for size in SIZES)} |", flush=True)

    for source, name in ((folder, "folder, 500x375"), (prepared, "prepared copy")):
        batches = batched(len(source))
        row(
            f"{name}: one photograph, read and decoded to size",
            lambda s, source=source: over(range(len(source)), lambda i: source.load(i, s)),
        )
        row(
            f"{name}: uint8 batches of {BATCH}",
            lambda s, source=source, batches=batches: (
                BATCH * over(batches, lambda indices: load_batch(source, indices, s))
            ),
        )
        row(
            f"{name}: uint8 batches of {BATCH}, from a DataLoader worker",
            lambda s, source=source: delivered(source, s, seconds),
        )
    recipe = yaml.safe_load(RECIPE.read_text())["nogan"]["augment"]
    styles = {name: AugmentConfig(**strengths) for name, strengths in recipe.items()}
    for name, config in {**styles, "none: resize, center crop": NONE}.items():

        def figure(size: int, config=config) -> float:
            batch = load_batch(prepared, range(BATCH), size)
            return BATCH * over([batch], lambda b: augment(b.images, b.sizes, size, config, torch_rng(0)))

        row(f"augmentation on the CPU, {name}", figure)


def batched(count: int) -> list[range]:
    return [range(start, start + BATCH) for start in range(0, count - BATCH + 1, BATCH)]


def measure(function: Callable, things, seconds: float) -> float:
    """Things a second of CPU time, after a first pass that warms the caches."""
    for thing in things:
        function(thing)
    began, done = time.process_time(), 0
    while time.process_time() - began < seconds:
        for thing in things:
            function(thing)
        done += len(things)
    return rate(began, done)


def rate(began: float, count: int) -> float:
    return count / (time.process_time() - began)


class _Batches(Dataset):
    """Batches, each with the CPU time that the worker had used when it was ready."""

    def __init__(self, source: Source, size: int):
        self.source, self.size = source, size
        self.rows = batched(len(source))

    def __len__(self) -> int:
        return 1 << 20

    def __getitem__(self, step: int):
        return load_batch(self.source, self.rows[step % len(self.rows)], self.size), time.process_time()


def delivered(source: Source, size: int, seconds: float) -> float:
    """Images a second of its CPU time that a worker process hands to the main process, sending them included."""
    loader = iter(DataLoader(_Batches(source, size), batch_size=None, num_workers=1, prefetch_factor=4))
    for _ in range(8):
        _, began = next(loader)
    for done in itertools.count(1):
        _, now = next(loader)
        if now - began > seconds:
            return BATCH * done / (now - began)


def print_opening(dest: Path, rows: int) -> None:
    """Open a copy of ``rows`` tiny photographs in a fresh process: seconds and memory."""
    write_copy(dest, rows)
    subprocess.run([sys.executable, "-c", _OPEN, str(dest)], check=True)


_OPEN = """
import re, sys, time, numpy
from pathlib import Path
from nogan.data.sources import PreparedSource
import pyarrow

def memory(kind):
    return int(re.search(kind + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

own, mapped, began = memory("RssAnon"), memory("RssFile"), time.perf_counter()
source = PreparedSource(sys.argv[1])
opened, own, mapped = time.perf_counter() - began, memory("RssAnon") - own, memory("RssFile") - mapped
began = time.perf_counter()
for index in numpy.random.default_rng(0).integers(len(source), size=1000):
    source.load(int(index), 64)
loaded = 1e3 * (time.perf_counter() - began)
print(f"| {len(source):,} | {opened:.2f} s | {own:.1f} MiB | {mapped:.0f} MiB | {loaded:.0f} ms |")
"""


def write_copy(dest: Path, rows: int) -> None:
    """A prepared copy whose rows are all one tiny photograph, in the shards and record batches of a real one."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(out, "JPEG")
    dest.mkdir()
    names = []
    for number, start in enumerate(range(0, rows, Settings().shard)):
        names.append(f"data-{number:05d}.arrow")
        numbers = range(start, min(start + Settings().shard, rows))
        write_rows(dest / names[-1], ((out.getvalue(), f"n/{row}.JPEG") for row in numbers))
    (dest / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))


def mean_size(source: FolderSource) -> float:
    return sum(len(source.read(i)) for i in range(len(source))) / len(source) / 1e3


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
