"""How fast color is made: the networks alone, and everything around them.

python benchmarks/colorize.py [-o benchmarks/colorize.md]
python benchmarks/colorize.py --differences MODEL...      # only: what half precision does to a model's colors
python benchmarks/colorize.py --folder PHOTOS             # only: how busy a folder keeps the processor's cores
python benchmarks/colorize.py --around                    # only: all but the network
"""

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from pages import publish
from PIL import Image

from nogan.colorize.batch import BatchOptions, colorize_photos
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.composite import composite
from nogan.colorize.film import FilmOptions, colorize_film
from nogan.colorize.jobs import plan_jobs
from nogan.colorize.photos import PHOTO_SUFFIXES, read_photo, write_photo
from nogan.colorize.precision import choose, difference
from nogan.colorize.square import gray_square, network_size
from nogan.common.color import denormalize, normalize
from nogan.data.scenes import Scenes
from nogan.networks import build_generator, fold_spectral_norm
from nogan.networks.generator_file import load_generator

NETWORKS = {"deep": ("resnet34", "deep", 1.5), "wide": ("resnet101", "wide", 2.0)}

ORIGINAL_SECONDS = {("deep", 21): 5.5, ("deep", 35): 15.2, ("wide", 21): 4.9, ("wide", 35): 12.6}
"""DeOldify's own code on two CPU cores in fp32, the network alone (torch 2.15)."""


def best_of(repeats: int, action: Callable[[], object]) -> float:
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def network_table(arguments: argparse.Namespace) -> tuple[list[str], dict[tuple[str, int], float]]:
    lines = ["| network | render factor | DeOldify's code, s | ours, s | times as fast |", "|---|---|---|---|---|"]
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        from nogan.networks.generator_file import save_generator

        for name, (encoder, decoder, width) in NETWORKS.items():
            save_generator(build_generator(encoder, decoder, width, pretrained=False), Path(folder) / name)
            options = {"device": arguments.device, "precision": arguments.precision, "compile": arguments.compile}
            colorizer = Colorizer.load(Path(folder) / name, **options)
            for factor in arguments.factors:
                side = network_size(factor)
                gray = np.random.default_rng(0).integers(0, 255, (arguments.batch_size, side, side), dtype=np.uint8)
                ours = best_of(arguments.repeats, lambda c=colorizer, g=gray: c.predict(g)) / arguments.batch_size
                seconds[name, factor] = ours
                theirs = ORIGINAL_SECONDS.get((name, factor))
                compared = f"{theirs} | {ours:.2f} | {theirs / ours:.2f}" if theirs else f"– | {ours:.3f} | –"
                lines.append(f"| {name} | {factor} | {compared} |")
                print(lines[-1], flush=True)
    return lines, seconds


def difference_table(arguments: argparse.Namespace) -> list[str]:
    """Chroma in bfloat16 and float16 against float32 on three built-in scenes: the largest of mean and percentile."""
    lines = [
        "| model | render factor | fp32, s | bf16, s | levels: mean, 99.9 % | fp16, s | levels: mean, 99.9 % | auto |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in arguments.differences:
        network = fold_spectral_norm(load_generator(model)).to(memory_format=torch.channels_last).requires_grad_(False)

        def run(gray: np.ndarray, dtype: torch.dtype | None, network: torch.nn.Module = network) -> np.ndarray:
            x = normalize(torch.from_numpy(gray)[:, None].expand(-1, 3, -1, -1))
            enabled = dtype is not None
            with torch.inference_mode(), torch.autocast("cpu", dtype or torch.bfloat16, enabled=enabled):
                y = network(x.contiguous(memory_format=torch.channels_last))
            return denormalize(y.float()).clamp(0, 1).permute(0, 2, 3, 1).numpy()

        auto = choose(lambda gray, bf16, run=run: run(gray, torch.bfloat16 if bf16 else None), "cpu")
        for factor in arguments.factors:
            seconds, apart = {None: [], torch.bfloat16: [], torch.float16: []}, {torch.bfloat16: [], torch.float16: []}
            for index in range(3):
                picture = Scenes(seed=1, length=3).load(index, network_size(factor))
                gray = (picture.mean(-1, keepdims=False) / 255).astype(np.float32)[None]
                for dtype, times in seconds.items():
                    start = time.process_time()
                    result = run(gray, dtype)
                    times.append(time.process_time() - start)
                    if dtype is None:
                        exact = result
                    else:
                        apart[dtype].append(difference(exact, result))
            cells = [model, str(factor), f"{min(seconds[None]):.2f}"]
            for dtype, found in apart.items():
                cells += [f"{min(seconds[dtype]):.2f}", ", ".join(f"{worst:.2f}" for worst in np.max(found, axis=0))]
            lines.append(f"| {' | '.join([*cells, auto])} |")
    return lines


def photograph_table(repeats: int) -> tuple[list[str], float]:
    """Every step around the network for a 12-megapixel JPEG."""
    smooth = cv2.resize(np.random.default_rng(0).uniform(0, 255, (60, 80)).astype(np.float32), (4000, 3000))
    grain = np.random.default_rng(1).normal(0, 4, smooth.shape)
    pixels = np.repeat((smooth + grain).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    square = np.random.default_rng(2).uniform(0, 1, (560, 560, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.jpg", Path(folder) / "out.jpg"
        Image.fromarray(pixels).save(source, quality=92)
        photo = read_photo(source)
        steps = {
            "read the JPEG": lambda: read_photo(source),
            "shrink and make gray": lambda: gray_square(photo.pixels, 560),
            "chroma to full size, joined with luma": lambda: composite(square, photo.pixels),
            "write the JPEG": lambda: write_photo(photo, target),
        }
        seconds = {name: best_of(repeats, step) for name, step in steps.items()}
    lines = ["| step | s |", "|---|---|", *(f"| {name} | {value:.3f} |" for name, value in seconds.items())]
    total = sum(seconds.values())
    lines.append(f"| together | {total:.3f} |")
    return lines, total


def film_rate(frames: int = 120, colorizer: Colorizer | None = None, *, factor: int = 21, batch_size: int = 4) -> float:
    """Frames a second of 1080p film, decoded, filled with chroma and encoded; by default coloring itself is free."""
    options = FilmOptions(factor, batch_size=batch_size)
    with tempfile.TemporaryDirectory() as folder:
        source = _panned(Path(folder) / "in.mp4", frames, (1920, 1080))
        report = colorize_film(colorizer or _free(), source, Path(folder) / "out.mp4", options)
        return report.frames / report.seconds


def film_cost(frames: int, size: tuple[int, int]) -> float:
    """Processor seconds of a frame of film of ``size`` px, where coloring itself is free; in all threads together."""
    with tempfile.TemporaryDirectory() as folder:
        source = _panned(Path(folder) / "in.mp4", frames, size)
        began = time.process_time()
        colorize_film(_free(), source, Path(folder) / "out.mp4", FilmOptions(21))
        return (time.process_time() - began) / frames


def film_lines() -> list[str]:
    """What film costs beside the network, in words."""
    costs = [film_cost(frames, size) for frames, size in ((100, (1920, 1080)), (30, (3840, 2160)))]
    return [
        f"Decoding, chroma and encoding (H.264, crf 17) go at {film_rate():.0f} frames/s of 1080p when the network is",
        f"free, and take {costs[0]:.2f} s of processor time a frame of 1080p, and {costs[1]:.2f} s of 4K.",
    ]


def _free() -> Colorizer:
    return Colorizer([(lambda gray: np.repeat(gray[..., None], 3, axis=-1), 1.0)])


def _panned(film: Path, frames: int, size: tuple[int, int]) -> Path:
    """A film of a wall along which the camera moves."""
    import av

    width, height = size
    wall = np.random.default_rng(0).uniform(30, 220, (40, 120)).astype(np.float32)
    wall = cv2.resize(wall, (width + 4 * frames, height))
    with av.open(film, "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height = size
        for index in range(frames):
            picture = wall[:, 3 * index : 3 * index + width].round().astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "gray")))
        container.mux(video.encode())
    return film


def folder_line(photos: Path, count: int = 12, megapixels: float = 2.0, rounds: int = 2) -> str:
    """Wall seconds of a folder of JPEGs with the starter, and how many cores they keep busy: processor time over it.

    On a machine that others use, too, the cores are not all there for the asking. So the threads that were ready to run
    are counted as well, every 10 ms: that many cores they would have taken.
    """
    colorizer = Colorizer.load(device="cpu")
    options, found = BatchOptions(overwrite=True), []
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)[:count]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in", Path(folder) / "out"
        source.mkdir()
        target.mkdir()
        for number, file in enumerate(files):
            with Image.open(file) as image:
                scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
                size = (round(image.width * scale), round(image.height * scale))
                image.convert("RGB").resize(size).save(source / f"{number:02d}.jpg", quality=92)
        jobs, _ = plan_jobs([str(source)], str(target))
        for _ in range(rounds + 1):  # the first warms up
            with Ready() as ready:
                wall, processor = time.perf_counter(), time.process_time()
                failures, _ = colorize_photos(colorizer, jobs, options, _Silent())
                assert not failures, failures
                found.append((time.perf_counter() - wall, time.process_time() - processor, ready))
    wall, processor, ready = min(found[1:], key=lambda each: each[0])
    return (
        f"A folder of {len(files)} photographs of {megapixels:g} megapixels with the starter, "
        f"{torch.get_num_threads()} threads: {wall:.2f} s, processor time {processor:.2f} s, {processor / wall:.2f} of "
        f"{os.cpu_count()} cores busy; {ready.mean:.2f} threads ready to run."
    )


class Ready:
    """Counts the threads of this process that are ready to run, within its context."""

    def __enter__(self) -> "Ready":
        self.counts: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count)
        self._thread.start()
        return self

    def _count(self) -> None:
        own = str(threading.get_native_id())
        while not self._over.wait(0.01):
            states = [state(task) for task in Path("/proc/self/task").iterdir() if task.name != own]
            self.counts.append(states.count("R"))

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mean(self) -> float:
        """On average."""
        return sum(self.counts) / max(len(self.counts), 1)


def state(task: Path) -> str:
    """The state of a thread in a letter, R for ready or running; empty once it has ended."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class _Silent:
    def task(self, name: str, total: int | None) -> contextlib.AbstractContextManager[Callable[..., None]]:
        return contextlib.nullcontext(lambda done, total: None)

    def remark(self, text: str) -> None:
        pass


def scan_memory(side: int = 20_000) -> tuple[float, float]:
    """Peak memory in GB above the start, and seconds, of a gray scan of ``side`` px square, from file to file."""
    script = """
import re, sys, time
from pathlib import Path
import numpy as np
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.photos import read_photo, write_photo
colorizer = Colorizer([(lambda gray: np.repeat(gray[..., None], 3, axis=-1), 1.0)])
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e9
start, clock = peak(), time.perf_counter()
photo = read_photo(Path(sys.argv[1]))
write_photo(photo.with_pixels(colorizer.colorize_pixels([photo.pixels], 35)[0]), Path(sys.argv[2]))
print(peak() - start, time.perf_counter() - clock)
"""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "scan.jpg", Path(folder) / "out.jpg"
        row = (np.arange(side) % 251).astype(np.uint8)
        Image.fromarray(np.broadcast_to(row, (side, side)).copy()).save(source)
        command = [sys.executable, "-c", script, str(source), str(target)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    gigabytes, seconds = map(float, output.split())
    return gigabytes, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--factors", type=int, nargs="+", default=[21, 35])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--differences", nargs="+", default=[], metavar="MODEL", help="only print this table")
    parser.add_argument("--folder", type=Path, metavar="PHOTOS", help="only print this line")
    parser.add_argument("--around", action="store_true", help="only print what all but the network takes")
    arguments = parser.parse_args()
    if arguments.folder:
        print(folder_line(arguments.folder))
        return
    if arguments.differences:
        print("\n".join(difference_table(arguments)))
        return

    if arguments.around:
        print("\n".join([*photograph_table(arguments.repeats)[0], "", *film_lines()]))
        return

    networks, seconds = network_table(arguments)
    around, total = photograph_table(arguments.repeats)
    share = total / (total + seconds["deep", arguments.factors[-1]])
    gigabytes, scan_seconds = scan_memory()
    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else platform.processor() or "CPU"
    lines = [
        "# Speed of color",
        "",
        f"`python {' '.join(sys.argv)}` on {os.cpu_count()} cores ({where}), {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {arguments.precision}{', compiled' if arguments.compile else ''}, "
        f"batch {arguments.batch_size}. Best of {arguments.repeats}.",
        "",
        "## The network alone, an image",
        "",
        *networks,
        "",
        "## Everything else, for a 12-megapixel photograph",
        "",
        *around,
        "",
        f"Of the time for a photograph at factor {arguments.factors[-1]} with the deep network, that is "
        f"{share:.1%}; in a folder it happens beside the network.",
        "",
        f"A gray scan of 20,000 x 20,000 px (JPEG) takes {gigabytes:.1f} GB and {scan_seconds:.0f} s, "
        "the network left out.",
        "",
        "## Film",
        "",
        *film_lines(),
    ]
    publish(lines, arguments.output)


if __name__ == "__main__":
    main()
