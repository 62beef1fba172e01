"""Kill a real training process at random moments, resume it, and compare the outcome with a run that was not killed.

    python benchmarks/kill_resume.py --kills 100
    python benchmarks/kill_resume.py --kills 100 --state kills.json --minutes 10    # a part; again, it goes on

What is done is drawn from :data:`KILLS`: SIGKILL, SIGTERM and SIGINT to the process, to all of its processes or
to a data worker. The moment is drawn over the processor time of the run, so that load of the machine does not matter,
after the first quarter, in which Python imports: in any phase, while fakes are made, a checkpoint is written, or the
probe measures. Compared are all bytes of the final generator, critic and metrics, and every tensor of both optimizers.
A wrong exit code, or a traceback, is a difference, too.
"""

import argparse
import atexit
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
from typing import Any, NamedTuple

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


class Kill(NamedTuple):
    """What is done to a run."""

    signal: signal.Signals
    to: str
    exits: tuple[int, ...]  # with one of these codes
    words: str = ""  # that it says then


SAVED = "saved. To go on: "
KILLS = (
    Kill(signal.SIGKILL, "the process", (-signal.SIGKILL,)),
    Kill(signal.SIGKILL, "all processes", (-signal.SIGKILL,)),
    Kill(signal.SIGTERM, "the process", (143,), SAVED),
    Kill(signal.SIGTERM, "all processes", (143,), SAVED),
    Kill(signal.SIGINT, "the process", (130,), SAVED),
    Kill(signal.SIGINT, "all processes", (130,), SAVED),
    Kill(signal.SIGKILL, "a data worker", (1,), "a data worker died"),  # or 0, where its work was done
    Kill(signal.SIGTERM, "a data worker", (0,)),  # which pays no heed to it
)
OUTSIDE_TRAINING = {signal.SIGTERM: (-signal.SIGTERM,), signal.SIGINT: (130, -signal.SIGINT)}
"""Exit codes after a signal that comes while there is nothing to save: before the first phase, and after the last."""
POLL = 0.02  # seconds
LIMIT = 900  # seconds that a run may take, on a busy machine


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """A training process in ``folder``; its output is added to ``FOLDER.log``."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    output = log_of(folder).open("a")
    process = subprocess.Popen(
        command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    atexit.register(end, process)  # if this program is stopped
    return process


def log_of(folder: Path) -> Path:
    """Where what a run in ``folder`` printed is."""
    return folder.parent / f"{folder.name}.log"


def fresh(folder: Path) -> tuple[str, ...]:
    """The arguments of a new run in ``folder``."""
    return (*SETTINGS, f"hydra.run.dir={folder}")


def processor_seconds(process: subprocess.Popen) -> float:
    """Processor time that the process has taken so far, without its children's."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def workers(process: subprocess.Popen) -> list[int]:
    """The data workers of the process."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"train.py" in Path(f"/proc/{child}/cmdline").read_bytes()]


def kill_after(process: subprocess.Popen, kill: Kill, seconds: float) -> bool:
    """Do ``kill`` once the process has taken ``seconds`` of processor time; False if it had ended before it came."""
    while process.poll() is None:
        try:
            if processor_seconds(process) >= seconds and send(process, kill):
                end_within(process, LIMIT)
                return True
        except (FileNotFoundError, ProcessLookupError):  # it ended just now
            continue
        time.sleep(POLL)
    return False


def end_within(process: subprocess.Popen, seconds: float) -> None:
    """Wait for the end of the process, and make an end of it if it hangs: its exit code is then a wrong one."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        end(process)


def end(process: subprocess.Popen) -> None:
    """Kill the process and its data workers, if they are still there."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def send(process: subprocess.Popen, kill: Kill) -> bool:
    """Send the signal; False if it is for a data worker, and there is none now."""
    match kill.to:
        case "the process":
            process.send_signal(kill.signal)
        case "all processes":
            os.killpg(process.pid, kill.signal)
        case _:
            if not (found := workers(process)):
                return False
            os.kill(found[0], kill.signal)
    return True


def ended_well(kill: Kill, code: int, said: str) -> bool:
    """Whether a run that was killed ended as it should, with nothing but what it should say."""
    if "Traceback" in said:
        return False
    if code in OUTSIDE_TRAINING.get(kill.signal, ()) and SAVED not in said:
        return "[1/" not in said or "Done in" in said  # the first phase's line, and the last one of a run
    if kill.to == "a data worker" and code == 0:  # nothing waited for it any more
        return True
    return code in kill.exits and kill.words in said


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


def wait_for(process: subprocess.Popen) -> tuple[int, float]:
    """The exit code of the process, and the processor time that it had taken by then, or shortly before."""
    seconds = 0.0
    while process.poll() is None:
        try:
            seconds = processor_seconds(process)
        except FileNotFoundError:
            break
        time.sleep(POLL)
    return process.wait(), seconds


def killed(number: int, seed: int, duration: float, expected: dict[str, str], scratch: Path) -> dict[str, Any]:
    """Kill a run and resume it: the row of the table."""
    rng = random.Random(f"{seed}/{number}")
    kill, folder = KILLS[(number - 1) % len(KILLS)], scratch / f"kill-{number}"
    while True:  # a run may be done before the moment comes
        moment = rng.uniform(0.25 * duration, duration)
        process = start(folder, *fresh(folder))
        if kill_after(process, kill, moment):
            break
        shutil.rmtree(folder, ignore_errors=True)
        log_of(folder).unlink()
    code, said = process.returncode, log_of(folder).read_text()
    well, checkpoint = ended_well(kill, code, said), newest_checkpoint(folder)
    if code != 0:
        begun = (folder / "config.yaml").is_file()
        resumed = start(folder, *((f"resume={folder}",) if begun else fresh(folder))).wait()
        well = well and resumed == 0
    found = fingerprint(folder) if (folder / "records.json").is_file() else {}
    different = [name for name in expected if found.get(name) != expected[name]]
    row = {
        "number": number,
        "what": f"{kill.signal.name} to {kill.to}",
        "at": moment,
        "exit": code,
        "from": "it went on" if code == 0 else checkpoint,
        "same": well and not different,
    }
    if not row["same"]:
        print(f"different: {different}; what it said:\n{log_of(folder).read_text()}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return row


def table(state: dict[str, Any]) -> str:
    """The result so far."""
    rows = state["rows"]
    lines = [f"The uninterrupted run took {state['duration']:.1f} s of processor time.\n"]
    lines += ["| | what | at | exit code | resumed from | the same |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['number']} | {row['what']} | {row['at']:.1f} s | {row['exit']} | {row['from']} | "
        f"{'yes' if row['same'] else 'NO'} |"
        for row in rows
    ]
    lines += ["", f"{sum(row['same'] for row in rows)} of {len(rows)} killed runs came out the same."]
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark; the exit code is the number of runs that came out differently."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--state", type=Path, help="keep what is done here, and go on with it")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further kill after as many")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or else, in the background, runs would ignore it, too
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.state is not None and arguments.state.is_file():
            state = json.loads(arguments.state.read_text())
        else:
            whole = Path(scratch) / "whole"
            code, duration = wait_for(start(whole, *fresh(whole)))
            if code != 0:
                sys.exit(log_of(whole).read_text())
            state = {"duration": duration, "expected": fingerprint(whole), "rows": []}
        done = {row["number"] for row in state["rows"]}
        for number in (number for number in range(1, arguments.kills + 1) if number not in done):
            if time.monotonic() - began > arguments.minutes * 60:
                break
            row = killed(number, arguments.seed, state["duration"], state["expected"], Path(scratch))
            state["rows"] = sorted([*state["rows"], row], key=lambda row: int(row["number"]))
            if arguments.state is not None:
                arguments.state.write_text(json.dumps(state, indent=1))
    print(table(state))
    return sum(not row["same"] for row in state["rows"])


if __name__ == "__main__":
    sys.exit(main())
