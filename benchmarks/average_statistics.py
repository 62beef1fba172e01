"""Averages of snapshots: are averaged statistics of batch norm as good as statistics estimated again?

    python benchmarks/average_statistics.py OUT photographs:203 photographs-64:202

OUT is the folder of ``nogan study real --out OUT``; a run is SET:SEED. Before the GAN phase and at five snapshots of
it, the average (:class:`nogan.training.snapshot_average.SnapshotAverage`) is measured on the oracle's pictures: as it
is, and with the statistics of its batch norms estimated anew on 1,024 pictures of its training data.
"""

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nogan.evaluation.held_out import colorize
from nogan.evaluation.merit import COLOR_WEIGHT
from nogan.study import runs
from nogan.study.measuring import figures, merit_of_set, snapshots

SEEN = (0, 5, 10, 19, 34)  # snapshots that are measured, and the last, of some 50
PICTURES, AT_ONCE = 1024, 64
CPU = torch.device("cpu")


def estimated_again(network: nn.Module, photographs: Tensor) -> nn.Module:
    """A copy whose batch norms hold the mean statistics of passes over ``photographs``, RGB ``(N, 3, H, W)``."""
    again = copy.deepcopy(network).eval()
    for module in again.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches
            module.train()
    with torch.no_grad():
        colorize(again, photographs, AT_ONCE, CPU)
    return again.eval()


def rows(out: Path, data: str, seed: int) -> Iterator[str]:
    """Lines of the table for a run."""
    size, crops = runs.SETS[data].size, out / data if runs.SETS[data].crops else None
    (folder,) = (out / "runs").glob(f"{data}-{seed}-*")
    oracle = runs.unseen_pictures(data, seed, crops).oracle
    train = runs.crops_in(crops / "train", PICTURES) if crops else runs.scenes_of(0, PICTURES, size)  # of data.seed
    before: dict[str, float] = {}
    for number, at in enumerate(snapshots(folder)):
        if number not in SEEN and not at.is_last:
            continue
        found = [dict(figures(network, oracle)) for network in (at.averaged, estimated_again(at.averaged, train))]
        before = before or found[0]
        merits = [
            merit_of_set(own["quality"], own["chroma_fd"], before["chroma_fd"], COLOR_WEIGHT) - before["quality"]
            for own in found
        ]
        values = [f"{merit:+.2f}" for merit in merits] + [f"{own['chroma_fd']:.0f}" for own in found]
        yield f"| {' | '.join([f'{data} {seed}', str(at.step), *values])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", metavar="OUT", type=Path, help="the study's folder")
    parser.add_argument("runs", metavar="SET:SEED", nargs="+")
    arguments = parser.parse_args()
    print("| run | batch | merit gained, averaged statistics | … estimated again | chroma FD, averaged | … again |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for run in arguments.runs:
        data, _, seed = run.partition(":")
        for line in rows(arguments.out, data, int(seed)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
