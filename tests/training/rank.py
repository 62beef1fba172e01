"""Runs of two ranks under watch, side by side: ``rank.py FOLDER``. In each of them something else becomes of rank one.

The times of the watch are short. What a rank says at its end, as the command line would, and what it logs is in
``FOLDER/WHAT-RANK.txt``; the last line of it is its exit code.
"""

import contextlib
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import distributed as dist

from nogan.common.errors import EndedElsewhere, UserError
from nogan.training import ranks

STUMBLES = ("nothing", "mistake", "mistakes", "defect", "SIGKILL", "SIGSTOP")
RANKS = (0, 1)


def train(rank: int, folder: Path, what: str) -> int:
    """Train three batches, of which rank one does not take part in the last, and hand back the exit code."""
    try:
        trainer: Any = SimpleNamespace(global_rank=rank, world_size=2, strategy=SimpleNamespace(launcher=None))
        limit = 0.04 if what == "SIGSTOP" else None
        with ranks.Ranks(folder, limit, "nogan train resume=RUN") as watch:
            watch.follow(trainer)
            dist.init_process_group("gloo", rank=rank, world_size=2)
            for batch in range(3):
                if batch == 2 and (rank == 1 or what == "mistakes"):
                    stumble(what)
                dist.all_reduce(torch.ones(1))
    except UserError as error:
        print(error)
        return 1
    except EndedElsewhere as end:
        return end.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def stumble(what: str) -> None:
    """What becomes of a rank."""
    if what.startswith("mistake"):
        raise UserError("a mistake")
    if what == "defect":
        raise AssertionError("a defect")
    if what != "nothing":
        os.kill(os.getpid(), getattr(signal, what))


def main(folder: Path) -> None:
    """Run all of them, each rank in a process that is forked, since PyTorch takes seconds to load."""
    ranks.BEAT, ranks.GONE, ranks.PATIENCE = 0.1, 1.5, 5.0
    started: dict[int, Path] = {}
    for what in STUMBLES:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        for rank in RANKS:
            output = folder / f"{what}-{rank}.txt"
            pid = os.fork()
            if pid == 0:
                ranks.SILENT = 0.5 if what == "SIGSTOP" else 60.0  # a busy machine is silent for a while, too
                file = os.open(output, os.O_WRONLY | os.O_CREAT)
                os.dup2(file, 1)
                os.dup2(file, 2)
                code = train(rank, folder / what, what)
                sys.stdout.flush()
                os._exit(code)
            started[pid] = output
    try:
        for pid, output in started.items():  # rank zero comes first
            stopped = output.name == "SIGSTOP-1.txt"
            if stopped:
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            with output.open("a") as file:
                file.write(f"exit {os.waitstatus_to_exitcode(status)}\n")
    finally:
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
