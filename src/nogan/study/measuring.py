"""What the study measures of a run's snapshots, and the files that keep it.

Snapshots are measured after the run on pictures that nothing trains on: their averages picture by picture on those that
stand for a *probe*, whose figures rules may hear, and some of them, averaged and as they are, on the *oracle's*, by
which rules are judged. Files hold what was measured; merit is made of it when one is read, so that another weight of
the color gained needs no further measuring.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypedDict

import numpy as np

from nogan.common.files import write_atomically
from nogan.evaluation.merit import Color, merit_of_each
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import stores
from nogan.study.record import fingerprint
from nogan.study.rows import AVERAGED, SINGLE, ByKind, RealRun, TrainedRun

ORACLE_EVERY = {AVERAGED: 2, SINGLE: 4}
"""The oracle measures every second average, which differ little, and every fourth single snapshot; and the last."""
AT_ONCE = 512  # pictures in a pass of the network


class UnseenPictures(NamedTuple):
    """RGB ``(N, 3, H, W)`` in [0, 1] that no run has seen: for the probe, and for the oracle."""

    probe: Any
    oracle: Any


class Measured(TypedDict):
    """Of the snapshots of a run, by their step as a string."""

    qualities: Mapping[str, list[float]]  # of each of the probe's pictures, in averages
    colors: Mapping[str, list[float]]  # Color.as_list of the same
    oracle: Mapping[str, ByKind]  # measures of the oracle's pictures, by their key


class AtStep(NamedTuple):
    """The generators of a snapshot, which the next one changes: before the first batch both are the same.

    Attributes:
        step: batches of the GAN phase that are done.
        single: as it was then.
        averaged: the average of the snapshots so far.
        is_last: whether none follows.
    """

    step: int
    single: Any
    averaged: Any
    is_last: bool


def snapshots(folder: Path) -> Iterator[AtStep]:
    """The snapshots of a finished run with one GAN phase, and their averages."""
    from nogan.networks import generator_file as exports
    from nogan.training.snapshot_average import SnapshotAverage

    network = exports.load_generator(folder)
    (store,) = stores(RunFolder(folder)).values()
    average, steps = SnapshotAverage(float(AVERAGED)), store.steps()
    for step in steps:
        store.restore(step, network)
        if step == 0:
            average.begin(network)
        yield AtStep(step, network, average.follow(network, step) if step else network, step == steps[-1])


def measure(folder: Path, pictures: UnseenPictures, threads: int) -> Measured:
    """Measure all snapshots of a finished run."""
    import torch

    torch.set_num_threads(threads)
    qualities: dict[str, list[float]] = {}
    colors: dict[str, list[float]] = {}
    oracle: dict[str, dict[str, dict[str, float]]] = {}
    for number, (step, single, averaged, is_last) in enumerate(snapshots(folder)):
        _, quality, color = _measure(averaged, pictures.probe, shares=True)
        qualities[str(step)] = [round(value, 3) for value in quality.tolist()]
        colors[str(step)] = [round(value, 4) for value in color.as_list()]
        for kind, candidate in ((AVERAGED, averaged), (SINGLE, single)):
            if number % ORACLE_EVERY[kind] == 0 or is_last:
                for key, value in figures(candidate, pictures.oracle):
                    oracle.setdefault(key, {}).setdefault(kind, {})[str(step)] = round(value, 4)
    return {"qualities": qualities, "colors": colors, "oracle": oracle}


def figures(network: Any, rgb: Any) -> Iterator[tuple[str, float]]:
    """Measures of a generator's pictures of ``rgb``, ``(N, 3, H, W)`` in [0, 1], by their key."""
    from nogan.evaluation.metrics import colorfulness, psnr

    output, quality, color = _measure(network, rgb, shares=False)
    yield "quality", float(quality.mean())
    yield "chroma_fd", math.exp(color.value)
    yield "psnr", float(psnr(output, rgb).mean())
    yield "colorfulness_ratio", float(colorfulness(output).mean() / colorfulness(rgb).mean())


def _measure(network: Any, rgb: Any, shares: bool) -> tuple[Any, Any, Color]:
    import torch

    from nogan.evaluation import eye
    from nogan.evaluation.held_out import colorize
    from nogan.evaluation.set_color import color_of

    network.eval()
    with torch.no_grad():
        output = colorize(network, rgb, AT_ONCE, torch.device("cpu"))
    return output, eye.quality(output, rgb), color_of(output, rgb, shares=shares)


def merit_of_set(quality: float, chroma_fd: float, before: float, weight: float) -> float:
    """Merit of pictures of this mean quality and chroma FD; ``before`` is chroma FD before the GAN phase."""
    own, then = (Color(math.log(value), (0.0,)) for value in (chroma_fd, before))
    return fmean(merit_of_each([quality], own, then, weight))


def judged(trained: TrainedRun, data: str, seed: int, found: Measured, weight: float) -> RealRun:
    """A run with the merit of its snapshots, in which the color gained has ``weight``."""
    colors = {step: Color.of_list(values) for step, values in found["colors"].items()}
    probe = {step: merit_of_each(each, colors[step], colors["0"], weight) for step, each in found["qualities"].items()}
    oracle: dict[str, dict[str, float]] = {}
    for kind, qualities in found["oracle"]["quality"].items():
        distances = found["oracle"]["chroma_fd"][kind]
        oracle[kind] = {
            step: merit_of_set(quality, distances[step], distances["0"], weight) for step, quality in qualities.items()
        }
    return {
        **trained,
        "data": data,
        "seed": seed,
        "probe": {AVERAGED: probe},
        "oracle": oracle,
        "others": found["oracle"],
    }


def instruments() -> str:
    """A hash of what measuring depends on: where that has changed, runs are measured again."""
    from nogan.evaluation import eye, metrics, set_color
    from nogan.training import snapshot_average

    sources = [Path(str(module.__file__)) for module in (eye, metrics, set_color, snapshot_average)]
    return fingerprint(sources, ORACLE_EVERY)


def save(trained: TrainedRun, found: Measured, path: Path, made: str) -> None:
    """Write a run as measured; ``made`` is the version of its settings and pictures."""
    facts = {"trained": trained, "steps": list(found["qualities"]), "oracle": found["oracle"]}
    text = json.dumps({**facts, "made": made, "measured": instruments()})
    columns = {key: np.array(list(found[key].values()), np.float32) for key in ("qualities", "colors")}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: _write(temporary, text, columns))


def _write(path: Path, facts: str, columns: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, facts=np.array(facts), **columns)


def load(path: Path, made: str | None = None) -> tuple[TrainedRun, Measured] | None:
    """Inverse of :func:`save`; None if it is not there or damaged, or not of version ``made`` and of today's measures.

    With ``made=None`` any file is taken as it is, but for those of versions that kept something else.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:
            facts = json.loads(str(file["facts"]))
            columns = {key: np.round(file[key].astype(float), 4).tolist() for key in ("qualities", "colors")}
        trained, steps, oracle = (facts[key] for key in ("trained", "steps", "oracle"))
        version = facts["made"], facts["measured"]
    except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile, zlib.error):
        return None
    if made is not None and version != (made, instruments()):
        return None
    found: Any = {key: dict(zip(steps, rows, strict=True)) for key, rows in columns.items()}
    found["oracle"] = oracle
    return trained, found
