"""One of several processes that train together, started by torchrun: ``ddp_worker.py JOBS.json``.

Each job is a config, a run folder, and where to cut it. What each rank holds at the end of every phase is written
beside the run folder, as hashes.
"""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

import nogan.training.run
from nogan.plan.config import parse_config


class Cut(Exception):
    """The end of an interrupted run."""


class Witness(pl.Callback):
    """Hashes both networks at the end of each phase, and cuts the run where it is told to."""

    def __init__(self, cut_at: int | None) -> None:
        self.cut_at = cut_at
        self.seen: dict[str, str] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.seen[module.phase.name] = digest(module)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.cut_at:
            raise Cut


def digest(module: torch.nn.Module) -> str:
    """A hash of every parameter and buffer."""
    total = hashlib.blake2b()
    for tensor in module.state_dict().values():
        total.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def main(jobs: list[dict[str, Any]]) -> None:
    """Train each job in turn."""
    torch.set_num_threads(1)
    build = nogan.training.run.build_run
    for job in jobs:
        witness, folder = Witness(job["cut_at"]), Path(job["folder"])

        def build_witnessed(*args: Any, witness: Witness = witness) -> Any:
            built = build(*args)
            built.trainer.callbacks.append(witness)
            return built

        nogan.training.run.build_run = build_witnessed
        with contextlib.suppress(Cut):
            nogan.training.run.train(parse_config(job["config"]), folder, console=Console(quiet=True))
        rank = os.environ["RANK"]
        folder.with_name(f"{folder.name}-rank{rank}.json").write_text(json.dumps(witness.seen))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
