"""Averages of snapshots: are averaged statistics of batch norm as good as statistics estimated again?

    python benchmarks/average_statistics.py OUT photographs:203 photographs-64:202

OUT is the folder of ``nogan study real --out OUT``; a run is SET:SEED. Before the GAN phase and at five snapshots of
it, the average (:class:`nogan.training.snapshot_average.SnapshotAverage`) is measured on the oracle's pictures: as it
is, and with the statistics of its batch norms estimated anew on 1,024 pictures of its training data.
"""

import argparse
import copy
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nogan.common.image_files import open_image
from nogan.data.scenes import draw_scene
from nogan.evaluation import eye
from nogan.evaluation.held_out import colorize
from nogan.evaluation.merit import COLOR_WEIGHT, Color, merit_of_each
from nogan.evaluation.set_color import color_of
from nogan.networks import generator_file
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import stores
from nogan.study import runs
from nogan.training.snapshot_average import SnapshotAverage

WIDTH = 0.1  # of the average, as in nogan.inflection.average
SEEN = (0.1, 0.2, 0.4, 0.7, 1.0)  # shares of the phase at which averages are measured
PICTURES, AT_ONCE = 1024, 64
CPU = torch.device("cpu")


class Figures(NamedTuple):
    """Quality by eye, the mean of all pictures, and the color of the set."""

    quality: float
    color: Color


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


def measure(network: nn.Module, photographs: Tensor) -> Figures:
    with torch.no_grad():
        output = colorize(network.eval(), photographs, AT_ONCE, CPU)
    color = color_of(output, photographs, shares=False)
    return Figures(float(eye.quality(output, photographs).mean()), Color(color.value, (0.0,)))  # of all as one


def training_pictures(data: str, crops: Path | None) -> Tensor:
    """Pictures of the kind that the run trained on: its squares of photographs, or scenes of its ``data.seed``."""
    if crops is None:
        pictures = [draw_scene(0, index, runs.SETS[data].size) for index in range(PICTURES)]
    else:
        files = sorted((crops / "train").glob("*.png"))[:PICTURES]
        pictures = [np.asarray(open_image(file).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def averages(folder: Path) -> Iterator[tuple[int, nn.Module]]:
    """The generator before the GAN phase, and averages of its snapshots at some of its batches."""
    network = generator_file.load_generator(folder)
    (store,) = stores(RunFolder(folder)).values()
    average, steps = SnapshotAverage(WIDTH), store.steps()
    wanted = {min(steps, key=lambda step: abs(step - share * steps[-1])) for share in SEEN}
    for step in steps:
        store.restore(step, network)
        if step == 0:
            average.begin(network)
            yield 0, network
        elif step in wanted:
            yield step, average.follow(network, step)
        else:
            average.follow(network, step)


def rows(out: Path, data: str, seed: int) -> Iterator[str]:
    """Lines of the table for a run."""
    crops = out / data if runs.SETS[data].crops else None
    (folder,) = (out / "runs").glob(f"{data}-{seed}-*")
    oracle = runs.unseen_pictures(data, seed, crops).oracle
    train = training_pictures(data, crops)
    before: Figures | None = None
    for step, network in averages(folder):
        found = [measure(network, oracle), measure(estimated_again(network, train), oracle)]
        before = before or found[0]
        gains = [
            fmean(merit_of_each([own.quality], own.color, before.color, COLOR_WEIGHT)) - before.quality for own in found
        ]
        distances = [math.exp(own.color.value) for own in found]
        values = [f"{gain:+.2f}" for gain in gains] + [f"{distance:.0f}" for distance in distances]
        yield f"| {' | '.join([f'{data} {seed}', str(step), *values])} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
