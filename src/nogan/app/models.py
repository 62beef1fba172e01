"""The models that the page offers, and those that stay loaded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nogan.colorize.batch import BatchOptions, load_colorizer
from nogan.colorize.colorizer import NO_ADJUSTMENTS, Colorizer
from nogan.common.errors import UserError
from nogan.common.files import in_words
from nogan.networks.generator_file import CHECKPOINT_SUFFIXES, describe, find_weights
from nogan.networks.named import DEOLDIFY, STARTER, Progress, obtain
from nogan.runs.run_folder import RunFolder, snapshot_name
from nogan.runs.snapshots import pick, stores

DEEPEST = 4
"""Folders below the outputs, down to which runs are looked for: NAME/DATE, or NAME/DATE/TRIAL of a sweep."""

KEPT = 3
"""Colorizers that stay loaded; the one not used for longest goes first."""

_STAGES: tuple[tuple[Literal["pretrained", "inflection", "ema"], str], ...] = (
    ("pretrained", "before its GAN phase"),
    ("inflection", "at its inflection point"),
    ("ema", "moving average"),
)


@dataclass(frozen=True)
class Model:
    """A model that one may choose.

    Attributes:
        key: what the page calls it.
        title: what a person reads.
        checkpoint: what ``--checkpoint`` takes; of a snapshot, the run's folder.
        snapshot: cycle and step of a snapshot, which has to be picked first; None for what is a checkpoint as it is.
    """

    key: str
    title: str
    checkpoint: str
    snapshot: tuple[int, int] | None = None

    @property
    def has_vividness(self) -> bool:
        """Whether it has a knob for vividness: its own, or a run's from before its GAN phase to after it."""
        path = Path(self.checkpoint)
        if self.snapshot is not None or not path.exists() or path.suffix in (".pth", ".onnx"):
            return False
        try:
            weights = find_weights(path)
            run = RunFolder(weights.parent)
            of_run = weights == run.generator() and run.generator("pretrained").is_file()
            return of_run or describe(weights)["network"].get("vividness") is not None
        except UserError:
            return False


class Models:
    """What may be chosen, looked up anew each time, so that a run that has just ended is there.

    Args:
        outputs: the folder in which runs are looked for; it need not be there.
        files: checkpoints that were named on the command line.
        picked: folder for snapshots, which are picked when first used.
    """

    def __init__(self, outputs: Path, files: Sequence[str], picked: Path) -> None:
        self._outputs, self._files, self._picked = outputs, tuple(files), picked
        self._lock = threading.Lock()

    def offered(self) -> list[Model]:
        """What the list of models has: files named on the command line, the starter, DeOldify's, and runs."""
        models = [Model(file, file, file) for file in self._files]
        models.append(Model(STARTER, "Starter", STARTER))
        for published in DEOLDIFY:
            how = "" if published.is_there else f" (a download of {in_words(published.size)})"
            name = published.name.partition("-")[2]
            models.append(Model(published.name, f"DeOldify {name}{how}", published.name))
        for run in self._runs():
            models.append(Model(str(run), str(run), str(run)))
            for stage, words in _STAGES:
                if (file := run.generator(stage)).is_file():
                    models.append(Model(str(file), f"{run}, {words}", str(file)))
        return list({model.key: model for model in models}.values())

    def snapshots(self) -> list[Model]:
        """The snapshots of all runs."""
        return [model for run in self._runs() for model in _snapshots_of(run)]

    def find(self, key: str) -> Model:
        """The model that the page calls ``key``.

        Raises:
            UserError: there is none: nothing else on this machine can be loaded from the page.
        """
        for model in (*self.offered(), *self.snapshots()):
            if model.key == key:
                return model
        raise UserError(f"{key}: this model is not there any more; choose another one")

    def checkpoint(self, model: Model, progress: Progress | None = None) -> str:
        """What ``--checkpoint`` takes for ``model``: fetched, or picked from the snapshots of its run, if need be.

        Raises:
            UserError: it cannot be had.
        """
        fetched = next((one for one in DEOLDIFY if one.name == model.checkpoint and not Path(one.name).exists()), None)
        if model.snapshot is None and (fetched is None or fetched.is_there):
            return model.checkpoint
        with self._lock:
            if fetched is not None:
                obtain(fetched, progress or (lambda done: None))
            if model.snapshot is None:
                return model.checkpoint
            return str(self._pick(RunFolder(Path(model.checkpoint)), *model.snapshot))

    def _pick(self, run: RunFolder, cycle: int, step: int) -> Path:
        snapshot = run.snapshots(f"gan@{cycle}") / snapshot_name(step)
        state = f"{snapshot.resolve()} {snapshot.stat().st_mtime_ns if snapshot.exists() else 0}"
        folder = self._picked / hashlib.blake2b(state.encode(), digest_size=8).hexdigest()
        file = folder / run.picked_generator(cycle, step).name
        return file if file.is_file() else pick(run, step, cycle, file)

    def _runs(self) -> list[RunFolder]:
        """Runs with a generator, the newest first."""
        found = [RunFolder(folder) for folder in _run_folders(self._outputs, DEEPEST)]
        found += [RunFolder(Path(file)) for file in self._files if Path(file).is_dir()]
        whole = {run.path.resolve(): run for run in found if run.generator().is_file()}
        return sorted(whole.values(), key=lambda run: run.generator().stat().st_mtime, reverse=True)


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders of runs in ``folder`` and below; what is in a run is not looked at."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == "generator.safetensors" for entry in entries):
        yield folder
    elif depth:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _run_folders(Path(entry.path), depth - 1)


def _snapshots_of(run: RunFolder) -> Iterator[Model]:
    for phase, store in stores(run).items():
        cycle = int(phase.partition("@")[2])
        for step in store.steps():
            yield Model(f"{run}#{cycle}:{step}", f"{run}, {phase}, batch {step}", str(run), (cycle, step))


def check_files(files: Sequence[str]) -> None:
    """Refuse checkpoints of the command line that are none, before a page is opened.

    Raises:
        UserError: says which.
    """
    for file in files:
        if not Path(file).exists():
            suffixes = ", ".join(CHECKPOINT_SUFFIXES)
            raise UserError(f"{file}: no such checkpoint; expected a run folder, or a file ({suffixes})")
        find_weights(file)


class Loaded:
    """Loads each colorizer once, and keeps the :data:`KEPT` used last.

    It is a :data:`nogan.colorize.batch.Load`. Two threads may ask at once; one of them loads.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[object, Colorizer] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, checkpoints: Mapping[str, float], options: BatchOptions, default_vividness: float) -> Colorizer:
        """The colorizer, with the changes to its colors that ``options`` name."""
        key = (
            tuple((_state(checkpoint), weight) for checkpoint, weight in checkpoints.items()),
            default_vividness if options.vividness is None else options.vividness,
            options.vividness is None,
            (options.device, options.precision, options.compile, options.blending),
        )
        with self._lock:
            colorizer = self._kept.get(key)
            if colorizer is None:
                plain = replace(options, adjustments=NO_ADJUSTMENTS)
                colorizer = self._kept[key] = load_colorizer(checkpoints, plain, default_vividness)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return colorizer.adjusted(options.adjustments)


def _state(checkpoint: str) -> tuple[str, int, int]:
    """The weights file as it is now: one that was written again is loaded again."""
    weights = find_weights(checkpoint)
    status = weights.stat()
    return str(weights.resolve()), status.st_mtime_ns, status.st_size
