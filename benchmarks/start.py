"""What a start costs, and what an installation takes: processor seconds of commands, and megabytes of dependencies.

python benchmarks/start.py
python benchmarks/start.py --before OLDER_CHECKOUT
"""

import argparse
import importlib.metadata
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="DIR", help="an older checkout, for a column beside")
    roots = [root for root in (parser.parse_args().before, ROOT) if root is not None]
    heads = ["before, s", "processor time, s"][-len(roots) :]
    print(f"| start | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(Path(folder))
        columns = [commands(Path(folder), root.resolve()) for root in roots]
        for title in columns[-1]:
            taken = least_seconds([column[title] for column in columns], roots)
            print(f"| {title} | {' | '.join(taken)} |", flush=True)
    print("\n| dependency | MB | with what only it needs, MB |\n|---|---|---|")
    for name, size, alone in sizes():
        if alone >= 10:
            print(f"| {name} | {size:.0f} | {alone:.0f} |")
    together, torch = (sum(map(size_of, closure(wanted))) for wanted in (direct(), {"torch"}))
    print(
        f"\nTogether {together:.0f} MB, of which {torch:.0f} are PyTorch and what it needs, CUDA's libraries among it."
    )


def make_inputs(folder: Path) -> None:
    """A small model and a photograph of one megapixel."""
    make = (
        "from nogan.networks import build_generator; from nogan.networks.generator_file import save_generator; "
        "import sys; save_generator(build_generator('tiny', 'wide', 0.1), sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", make, str(folder / "run")], check=True, env=environment(ROOT))
    smooth = np.add.outer(np.arange(1000), np.arange(1000)) % 251
    Image.fromarray(smooth.astype(np.uint8)).save(folder / "old.jpg")


def commands(folder: Path, root: Path) -> dict[str, list[str]]:
    """Command lines of the checkout ``root`` by their titles."""
    color = ["-o", str(folder / "new.jpg"), "--checkpoint", str(folder / "run"), "--device", "cpu", "--overwrite"]
    train, colorize = ([sys.executable, str(root / f"{name}.py")] for name in ("train", "colorize"))
    has_command = (root / "src" / "nogan" / "cli.py").is_file()
    return {
        "`import nogan`": [sys.executable, "-c", "import nogan"],
        "`nogan --help`": [sys.executable, "-m", "nogan.cli", "--help"] if has_command else [],
        "`train.py experiment=quickstart dry_run=true`": [*train, "experiment=quickstart", "dry_run=true"],
        "`colorize.py` on one megapixel, a small model, factor 21": [
            *(*colorize, str(folder / "old.jpg"), *color, "--render-factor", "21"),
        ],
    }


def environment(root: Path) -> dict[str, str]:
    """One thread, the sources of the checkout ``root``."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root / "src"), "CUDA_VISIBLE_DEVICES": ""}


def least_seconds(commands: list[list[str]], roots: list[Path]) -> list[str]:
    """Of each command the least of :data:`ROUNDS`, in turns, so that all see the same machine; a dash without one."""
    seconds = [[math.inf] for _ in commands]
    for _ in range(ROUNDS):
        for command, root, taken in zip(commands, roots, seconds, strict=True):
            if command:
                taken.append(processor_seconds(command, root))
    return [f"{min(taken):.1f}" if len(taken) > 1 else "–" for taken in seconds]


def processor_seconds(command: list[str], root: Path) -> float:
    """Seconds of the processor that ``command`` and its children take, in user and kernel mode."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment(root), cwd=root, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def direct() -> set[str]:
    """What this package depends on, without extras: by its own list, since an installation may be of an older one."""
    return names(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def needs(name: str) -> set[str]:
    """Installed packages that ``name`` asks for, without extras."""
    try:
        required = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    return names(line for line in required if "extra ==" not in line)


def names(required: Iterable[str]) -> set[str]:
    """The installed packages that lines such as ``av>=16`` ask for."""
    found = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in required}
    return {each for each in found if is_installed(each)}


def is_installed(name: str) -> bool:
    """Whether this environment has the package."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def closure(wanted: set[str]) -> set[str]:
    """``wanted`` and all that they need."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs(name)
    return found


def size_of(name: str) -> float:
    """Megabytes of an installed package's files."""
    files = [file.locate() for file in importlib.metadata.files(name) or ()]
    return sum(Path(file).stat().st_size for file in files if Path(file).is_file()) / 1e6


def sizes() -> list[tuple[str, float, float]]:
    """Each dependency with its own size and that of all that would go with it, the largest first."""
    everything = closure(direct())
    rows = []
    for name in direct():
        gone = everything - closure(direct() - {name})
        rows.append((name, size_of(name), sum(map(size_of, gone))))
    return sorted(rows, key=lambda row: -row[2])


if __name__ == "__main__":
    main()
