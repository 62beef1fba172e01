"""Kill a real training process at random moments, resume it, and compare the outcome with a run that was not killed.

    python benchmarks/kill_resume.py --kills 20

Each kill is SIGKILL at a moment drawn uniformly over the run: in any phase, while fakes are made, a checkpoint is
written, or the probe measures. Compared are all bytes of the final generator, critic and metrics, and every tensor of
both optimizers.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
# The complete program at a size that takes some ten seconds, with a checkpoint every few batches.
SETTINGS = (
    "experiment=quickstart",
    "logger=csv",
    "data.images=2000",
    "data.workers=1",
    "model.width=0.5",
    "model.critic.width=8",
    "trainer.limit_batches=12",
    "trainer.checkpoint_every_n_batches=5",
    "nogan.pretrain.g1.batch_size=8",
    "nogan.pretrain.g2={size:32,batch_size:8}",
    "nogan.critic.fakes={size:32,batch_size:4}",
    "nogan.critic.phases.c1.batch_size=8",
    "nogan.critic.phases.c2={size:32,batch_size:8}",
    "nogan.gan={size:32,batch_size:8}",
    "nogan.snapshot_every=0.02",
    "nogan.inflection.name=budget",
    "nogan.inflection.budget.share=0.03",
    "probe={images:8,size:32,grid:4}",
)


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """A training process in ``folder``."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    output = (folder.parent / f"{folder.name}.log").open("a")
    return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def fresh(folder: Path) -> tuple[str, ...]:
    """The arguments of a new run in ``folder``."""
    return (*SETTINGS, f"hydra.run.dir={folder}")


def kill_after(process: subprocess.Popen, seconds: float) -> bool:
    """SIGKILL the process and its data workers after ``seconds``; False if it had ended by then."""
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def fingerprint(folder: Path) -> dict[str, str]:
    """A hash of each thing that the run computed."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    optimizers = hashlib.sha256()
    for optimizer in last["optimizer_states"]:
        for state in optimizer["state"].values():
            for tensor in state.values():
                optimizers.update(tensor.numpy().tobytes())
    with (folder / "metrics.csv").open(newline="") as file:  # without speed and memory, which differ from run to run
        rows = [[row[name] for name in row if not name.startswith("system/")] for row in csv.DictReader(file)]
    files = ("generator.safetensors", "critic.safetensors")
    return {
        "metrics": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        **{name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
        "optimizers": optimizers.hexdigest(),
    }


def newest_checkpoint(folder: Path) -> str:
    """The name of the checkpoint that a resumption would start from."""
    names = sorted(path.name for path in (folder / "checkpoints").glob("[0-9]*.ckpt"))
    return names[-1].removesuffix(".ckpt") if names else "the start"


def main() -> int:
    """Run the benchmark; the exit code is the number of runs that came out differently."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    different = 0
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        began = time.monotonic()
        if start(whole, *fresh(whole)).wait() != 0:
            sys.exit((Path(scratch) / "whole.log").read_text())
        duration = time.monotonic() - began
        expected = fingerprint(whole)
        print(f"The uninterrupted run took {duration:.1f} s.\n")
        print("| kill | at | resumed from | the same |\n|---|---|---|---|")
        for number in range(1, arguments.kills + 1):
            folder = Path(scratch) / f"kill-{number}"
            while True:  # a machine that is faster this time may be done before the moment comes
                moment = rng.uniform(0, duration)
                if kill_after(start(folder, *fresh(folder)), moment):
                    break
                shutil.rmtree(folder)
            checkpoint = newest_checkpoint(folder)
            begun = (folder / "config.yaml").is_file()
            code = start(folder, *((f"resume={folder}",) if begun else fresh(folder))).wait()
            same = code == 0 and fingerprint(folder) == expected
            different += not same
            print(f"| {number} | {moment:.1f} s | {checkpoint} | {'yes' if same else 'NO'} |", flush=True)
        print(f"\n{arguments.kills - different} of {arguments.kills} killed runs came out the same.")
    return different


if __name__ == "__main__":
    sys.exit(main())
