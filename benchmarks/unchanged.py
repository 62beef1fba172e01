"""Whether a change of the code has changed what a run computes: record before it, record after it, compare.

    python benchmarks/unchanged.py record BEFORE      # in the checkout before the change
    python benchmarks/unchanged.py record AFTER       # in the one after it, on the same machine
    python benchmarks/unchanged.py compare BEFORE AFTER

Recorded, on one thread: the whole of `experiment=quickstart` and `experiment=inflection` with seed 0; a small run that
is killed and resumed, and one on two processes; the plans of every model and experiment. Compared to the bit: the
weights, `metrics.csv` and `records.json`, without what is measured in seconds. A column or key that only the later
record has is named, and is no difference.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WEIGHTS = ("generator.safetensors", "critic.safetensors")
SMALL = (
    *("experiment=quickstart", "trainer=debug", "trainer.limit_batches=6", "logger=csv", "seed=0"),
    *("trainer.checkpoint_every_n_batches=1", "data.images=2000", "nogan.repeats=1"),
)
TIMED = ("seconds", "images_per_second", "memory")  # parts of the names of what differs from run to run
RENAMED = {"colour": "color", "Colour": "Color", "normalis": "normaliz"}  # spellings of old records


def environment() -> dict[str, str]:
    """One thread, this checkout's sources, no device."""
    return {
        **os.environ,
        **{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200", "WANDB_MODE": "offline"},
        "PYTHONPATH": str(ROOT / "src"),
    }


def train(*arguments: str, launcher: tuple[str, ...] = (sys.executable,)) -> str:
    """Run ``train.py`` to its end and return what it printed."""
    command = [*launcher, str(ROOT / "train.py"), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, cwd=ROOT)
    return done.stdout if done.returncode == 0 else f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def record(out: Path) -> None:
    """Make all runs and plans below ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()
    plans = [f"model={file.stem}" for file in sorted((ROOT / "conf/model").glob("*.yaml"))]
    plans += [
        f"experiment={file.stem}" for file in sorted((ROOT / "experiments").glob("*.yaml")) if "." not in file.stem
    ]
    (out / "plans.json").write_text(json.dumps({plan: dry_run(plan) for plan in plans}, indent=1))
    jobs = {
        "resumed": lambda folder: killed_and_resumed(folder),
        "two-processes": lambda folder: print(two_processes(folder)),
        "quickstart": lambda folder: print(whole("quickstart", folder)),
        "inflection": lambda folder: print(whole("inflection", folder)),
    }
    for name, job in jobs.items():
        if (out / name / "records.json").is_file():
            continue
        shutil.rmtree(out / name, ignore_errors=True)
        started = time.monotonic()
        job(out / name)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def dry_run(choice: str) -> str:
    """The plan that ``choice`` prints."""
    extra = ["hydra.mode=RUN"] if choice == "experiment=lr-sweep" else []
    extra += ["data.images=300"] if choice in ("experiment=photographs", "experiment=starter") else []
    extra += ["model.init_required=false"] if "video" in choice else []
    return train(choice, "dry_run=true", *extra)


def whole(experiment: str, folder: Path) -> str:
    """A run of ``experiment`` as it is shipped."""
    return train(f"experiment={experiment}", "seed=0", "logger=csv", f"hydra.run.dir={folder}")


def two_processes(folder: Path) -> str:
    """The small run on two processes."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29555")
    strategy = ("trainer.devices=2", "trainer.strategy=ddp_find_unused_parameters_true")
    return train(*SMALL, *strategy, f"hydra.run.dir={folder}", launcher=launcher)


def killed_and_resumed(folder: Path) -> None:
    """The small run, killed in its second GAN phase, and resumed."""
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, f"hydra.run.dir={folder}"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, cwd=ROOT)
    while process.poll() is None and not list((folder / "checkpoints").glob("*-gan@2-*.ckpt")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    print(train(f"resume={folder}"))


def compare(before: Path, after: Path) -> bool:
    """Print what differs between two records; whether nothing does."""
    same = True
    old, new = (json.loads((folder / "plans.json").read_text()) for folder in (before, after))
    for name, text in old.items():
        if lines(text) != lines(new.get(name, "")):
            same = False
            print(f"plan of {name} differs")
    print(f"{len(old)} plans compared; only in the later: {sorted(set(new) - set(old)) or 'none'}")
    for run in sorted(folder.name for folder in before.iterdir() if (folder / "records.json").is_file()):
        recorded = (after / run / "records.json").is_file()
        found = list(differences(before / run, after / run)) if recorded else ["not recorded"]
        same &= not found
        print(f"{run}: {'; '.join(found) if found else 'the same'}")
    print("Nothing has changed." if same else "There are differences.")
    return same


def lines(text: str) -> list[str]:
    """Words of each line, in today's spelling."""
    return [" ".join(line.split()) for line in respelled(text).splitlines()]


def respelled(text: str) -> str:
    """``text`` in today's spelling."""
    for old, new in RENAMED.items():
        text = text.replace(old, new)
    return text


def differences(before: Path, after: Path) -> Iterator[str]:
    """What differs between two run folders."""
    for name in WEIGHTS:
        hashes = [digest(folder / name) for folder in (before, after)]
        if hashes[0] != hashes[1]:
            yield f"{name} {hashes[0]} ≠ {hashes[1]}"
    yield from leaves_that_differ("metrics.csv", rows(before), rows(after))
    old, new = (json.loads((folder / "records.json").read_text()) for folder in (before, after))
    yield from leaves_that_differ("records.json", old, new)


def digest(path: Path) -> str:
    """A hash of the tensors of a ``.safetensors`` file: names, types and bytes, without its description."""
    if not path.is_file():
        return "missing"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = {k: v for k, v in json.loads(content[8 : 8 + size]).items() if k != "__metadata__"}
    total = hashlib.sha256()
    for name, entry in sorted(header.items()):
        start, end = entry["data_offsets"]
        total.update(f"{name}{entry['dtype']}{entry['shape']}".encode())
        total.update(content[8 + size + start : 8 + size + end])
    return total.hexdigest()[:16]


def rows(folder: Path) -> list[dict[str, str]]:
    """``metrics.csv``, without empty cells."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def leaves_that_differ(file: str, before: Any, after: Any) -> Iterator[str]:
    """Every leaf of the first that the second does not have, or has with another value."""
    old, new = dict(leaves(before)), dict(leaves(after))
    for key, value in old.items():
        if key not in new:
            yield f"{file} lacks {key}"
        elif new[key] != value:
            yield f"{file} {key}: {value} ≠ {new[key]}"
            return
    if added := {key.rpartition(".")[2] for key in set(new) - set(old)}:
        print(f"  {file}: only in the later: {', '.join(sorted(added))}")


def leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key, those measured in seconds left out."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            if not any(part in name for part in TIMED):
                yield from leaves(value, f"{key}.{respelled(name)}")
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{key}[{index}]")
    elif isinstance(tree, str):
        try:
            yield key, float(tree)
        except ValueError:
            yield key, respelled(tree)
    else:
        yield key, tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("record").add_argument("out", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.command == "record":
        record(args.out)
    else:
        sys.exit(not compare(args.before, args.after))


if __name__ == "__main__":
    main()
