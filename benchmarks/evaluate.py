"""What `nogan evaluate` costs: peak memory for many and for few photographs, and processor time beside the network's.

    python benchmarks/evaluate.py --checkpoint RUN -o benchmarks/evaluate.md

Photographs are drawn: 256 px, JPEG, of which most are links to others. Memory is that of a process of its own, which
measures one row (a copy of the truth) by PSNR, wrong strong color and chroma FD; times are seconds of processor time,
which other programs on the machine hardly change, with one thread.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from nogan.data.scenes import Scenes
from nogan.data.sources.folders import FolderSource
from nogan.evaluation.colorizers import TRUTH, Model, painter_of, requests_of
from nogan.evaluation.evaluate import evaluate  # noqa: F401 (loaded in all processes, so that memory is compared alike)
from nogan.evaluation.measuring import STABILITY, Instruments, Measuring
from nogan.evaluation.per_image import PER_IMAGE
from nogan.evaluation.protocols import load_protocol
from nogan.evaluation.results import ResultsFolder, write_results
from nogan.evaluation.summing_up import put_together
from nogan.evaluation.truths import Truths

SIZE = 256
DRAWN = 100
CHEAP = frozenset({"cf", "cf_ddcolor", "psnr", "wrong_strong"})
TIMED = 24


def draw(folder: Path, count: int) -> None:
    """``count`` photographs, of which :data:`DRAWN` are different files."""
    folder.mkdir()
    scenes = Scenes(seed=0, length=DRAWN)
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        if number < DRAWN:
            Image.fromarray(scenes.load(number, SIZE)).resize((SIZE, SIZE)).save(path, quality=90)
        else:
            path.hardlink_to(folder / f"{number % DRAWN:05d}.jpg")


def truths_of(folder: Path) -> Truths:
    return Truths(FolderSource(folder, "--data"), load_protocol("full"), str(folder))


def measure_alone(folder: Path, output: Path) -> None:
    """Measure one row, in a process that does nothing else, and print its peak memory in MB."""
    torch.set_num_threads(1)
    truths, results = truths_of(folder), ResultsFolder(output)
    results.measured.mkdir(parents=True)
    measuring = Measuring(TRUTH, truths, results, Instruments(CHEAP), keep=0)
    measuring.measure(painter_of(TRUTH, truths, None), measuring.left(), 1, lambda done: None)
    write_results(put_together({TRUTH: measuring}, truths, ("full", {}), {}, []), results)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak_memory(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder) / "photographs"
        draw(photographs, count)
        command = [sys.executable, __file__, "--alone", str(photographs), "-o", str(Path(folder) / "out")]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ, timeout=3600)
    return float(ran.stdout)


def rates(checkpoint: str) -> tuple[float, float]:
    """Seconds of processor time a picture: of the network with reading and compositing, and of every measure."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder) / "photographs"
        draw(photographs, TIMED)
        truths = truths_of(photographs)
        (request,) = requests_of([checkpoint], [SIZE // 16])
        model = painter_of(request, truths, "cpu")
        assert isinstance(model, Model)
        model.paint([truths.load(0)])
        began = time.process_time()
        for number in range(TIMED):
            model.paint([truths.load(number)])
        network = time.process_time() - began
        folder_ = ResultsFolder(Path(folder) / "out")
        measuring = Measuring(request, truths, folder_, Instruments(frozenset(PER_IMAGE)), keep=0)
        began = time.process_time()
        measuring.measure(model, measuring.left(), 1, lambda done: None)
        whole = time.process_time() - began
    return network / TIMED, whole / TIMED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", help="of the network that times are compared with")
    parser.add_argument("--images", type=int, default=5000, help="many photographs; few are a tenth of them")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.alone:
        measure_alone(arguments.alone, arguments.output)
        return
    few, many = (peak_memory(count) for count in (arguments.images // 10, arguments.images))
    lines = [
        "# What `nogan evaluate` costs",
        "",
        "```bash",
        "python benchmarks/evaluate.py --checkpoint RUN -o benchmarks/evaluate.md",
        "```",
        "",
        "| drawn photographs of 256 px | peak memory |",
        "|---|---|",
        f"| {arguments.images // 10:,} | {few:.0f} MB |",
        f"| {arguments.images:,} | {many:.0f} MB ({many / few:.3f} times that) |",
    ]
    if arguments.checkpoint:
        network, whole = rates(arguments.checkpoint)
        lines += [
            "",
            f"Processor time a picture of 256 px, one thread, PyTorch {torch.__version__}: {1e3 * network:.0f} ms for "
            f"reading, network and compositing, {1e3 * whole:.0f} ms with every measure but FID, LPIPS and stability "
            f"({', '.join(STABILITY)}).",
        ]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
