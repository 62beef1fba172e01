"""Whether memory grows with the data set: what a run and `nogan prepare` hold of 10,000 photographs and of more.

    python benchmarks/memory.py

A run lists its photographs, digests them, divides them, and draws each phase's from them; beyond that it holds a batch
at a time, which is the same for all. That part is done here by the program's own functions, in a process of its own, on
a folder and on a prepared copy. The copy is real, of one picture of 8 px; the folder's names come from a stand-in for
the disk. Preparing reads pictures from memory and writes whole shards; one worker. The figure is the largest anonymous
memory above that at the start, asked for every 5 ms; the table goes to `data.md`.
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from data import write_copy
from pages import fill
from PIL import Image

from nogan.data.prepare import prepare
from nogan.data.sources import FolderSource, PreparedSource, Source, fingerprint, folders, split, subset

HERE = Path(__file__).parent
FEW = 10_000
IN_A_FOLDER = 1300


class Drawn:
    """A source of ``count`` photographs, all of them one of a few small ones."""

    def __init__(self, count: int) -> None:
        self.count, self.files = count, [picture(number) for number in range(8)]

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """As ImageNet calls them."""
        return f"n{index // IN_A_FOLDER:08d}/n{index // IN_A_FOLDER:08d}_{index}.JPEG"

    def read(self, index: int) -> bytes:
        """One of a few files."""
        return self.files[index % len(self.files)]


def picture(number: int) -> bytes:
    """A JPEG of 8 px with colors of its own."""
    out = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


def as_a_run(source: Source) -> None:
    """What a run does with its photographs before and between batches."""
    fingerprint(source)
    parts = split(source, 0, 0.02, 0.05)
    for phase in ("g1", "gan@1"):
        indices = subset(parts.train, 0.5, 0, phase)
        np.random.default_rng(0).permutation(len(indices))


def on_a_folder(folder: Path, count: int) -> None:
    names = Drawn(count)

    def scan(root: Path, below: str, setting: str) -> folders._Listing:
        if not below:
            return folders._Listing(b"", [f"n{number:08d}" for number in range(-(-count // IN_A_FOLDER))], [])
        start = int(below[1:]) * IN_A_FOLDER
        files = (names.name(index) for index in range(start, min(start + IN_A_FOLDER, count)))
        return folders._Listing(folders._packed(name.partition("/")[2] for name in files), [], [])

    folders._scan = scan
    source = FolderSource(folder)
    assert len(source) == count
    as_a_run(source)


def on_a_copy(folder: Path, count: int) -> None:
    as_a_run(PreparedSource(folder))


def preparing(folder: Path, count: int) -> None:
    prepare(Drawn(count), folder / "copy", workers=1)


PARTS: dict[str, Callable[[Path, int], None]] = {
    "a run on a folder": on_a_folder,
    "a run on a prepared copy": on_a_copy,
    "preparing": preparing,
}


def largest(act: Callable[[], None]) -> float:
    """The largest anonymous memory while ``act`` runs, above that before, in MiB."""
    over, seen = threading.Event(), [anonymous()]

    def watch() -> None:
        while not over.wait(0.005):
            seen.append(anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    act()
    over.set()
    thread.join()
    return max(seen) - seen[0]


def anonymous() -> float:
    """Anonymous memory of this process in MiB."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def alone(part: str, folder: Path, count: int) -> float:
    """The figure of ``part``, from a process of its own."""
    command = [sys.executable, __file__, "--alone", part, str(folder), "--rows", str(count)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_281_167, help="many photographs")
    parser.add_argument("--prepared-rows", type=int, default=40_000, help="many of those that are prepared")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--alone", nargs=2, metavar=("PART", "DIR"), help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "data.md")
    arguments = parser.parse_args()
    if arguments.alone:
        part, folder = arguments.alone
        print(largest(lambda: PARTS[part](Path(folder), arguments.rows)))
        return
    heads = ("MiB above the start", f"{FEW:,} photographs", "many", "how many", "bytes a photograph more")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|"]
    for part in arguments.only:
        many = arguments.prepared_rows if part == "preparing" else arguments.rows
        found = []
        for count in (FEW, many):
            with tempfile.TemporaryDirectory(prefix="nogan-memory-") as scratch:
                folder, began = Path(scratch) / "photographs", time.monotonic()
                write_copy(folder, count) if part.endswith("copy") else folder.mkdir()
                found.append(alone(part, folder, count))
            print(f"{part}, {count:,}: {found[-1]:.1f} MiB, {time.monotonic() - began:.0f} s", flush=True)
        each = (found[1] - found[0]) * 2**20 / (many - FEW)
        lines.append(f"| {part} | {found[0]:.0f} | {found[1]:.0f} | {many:,} | {each:.0f} |")
    print("\n".join(lines))
    fill(arguments.output, "memory.py", "\n".join(lines), "Memory")


if __name__ == "__main__":
    main()
