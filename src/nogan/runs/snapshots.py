"""Snapshots of the generator within a GAN phase, on disk: a rollback returns to one, and a person may export one.

Snapshot ``step`` is the generator after ``step`` batches of the phase; 0 is the generator before it. Beside it are
the probe's metrics of that moment.

    nogan snapshots RUN_DIR                          # list them with their metrics
    nogan snapshots RUN_DIR --pick STEP --cycle 2    # export one as a generator of its own
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.common.errors import UserError
from nogan.common.terminal import plain
from nogan.inflection.merit import merit
from nogan.runs.checksums import Checksums
from nogan.runs.run_folder import SNAPSHOT, SNAPSHOT_NOTE, RunFolder, snapshot_name

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor, nn

log = logging.getLogger(__name__)

COLUMNS = {  # of the table: a metric's heading, and how its value is written; all of it fits in 80 columns
    "merit": ("merit", "{:.2f}"),
    "colorfulness_ratio": ("color", "{:.0%}"),
    "psnr": ("PSNR", "{:.2f}"),
    "chroma_fd": ("chroma FD", "{:.1f}"),
    "orange_red": ("orange-red", "{:.1%}"),
    "change": ("change", "{:.2f}"),
    "shift_variation": ("shift", "{:.2f}"),
    "scale_variation": ("scale", "{:.2f}"),
}


class SnapshotStore:
    """The snapshots of one phase, in one folder.

    Args:
        folder: made at the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def averages(self) -> "SnapshotStore":
        """The moving averages of the generator at the same steps, where the run keeps one."""
        return SnapshotStore(self.folder / "ema")

    def path(self, step: int) -> Path:
        """Where snapshot ``step`` is or would be."""
        return self.folder / snapshot_name(step)

    def steps(self) -> list[int]:
        """The steps that have a snapshot, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for file in self.folder.iterdir() if (match := SNAPSHOT.fullmatch(file.name)))

    def metrics(self, step: int) -> dict[str, float]:
        """The probe's metrics of snapshot ``step``; empty if it was not probed."""
        note = self._note(step)
        try:
            metrics = json.loads(self._checksums.check(note, note.read_bytes()))
            if not isinstance(metrics, dict) or not all(isinstance(value, int | float) for value in metrics.values()):
                raise ValueError("expected numbers by name")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s is damaged (%s): it is as if the snapshot had not been measured", note, error)
            return {}
        return metrics

    def all_metrics(self) -> dict[int, dict[str, float]]:
        """The probe's metrics by step, ascending; those of snapshots that have been thinned out are still there."""
        return {step: self.metrics(step) for step in sorted(self._noted())}

    def _noted(self) -> set[int]:
        """The steps that something was measured of."""
        notes = (SNAPSHOT_NOTE.fullmatch(note.name) for note in self.folder.glob("step-*.json"))
        return {int(match[1]) for match in notes if match}

    def note_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep the probe's metrics beside snapshot ``step``."""
        self._checksums.write(self._note(step), json.dumps(metrics).encode())

    def pictures(self, step: int) -> list[float]:
        """The merit of each of the probe's pictures at snapshot ``step``; empty if it was not probed."""
        note = self._pictures(step)
        try:
            merits = json.loads(self._checksums.check(note, note.read_bytes()))
            if not isinstance(merits, list) or not all(isinstance(value, int | float) for value in merits):
                raise ValueError("expected a list of numbers")
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s is damaged (%s): it is as if the snapshot had not been measured", note, error)
            return []
        return merits

    def note_pictures(self, step: int, merits: Sequence[float]) -> None:
        """Keep the merit of each of the probe's pictures beside snapshot ``step``."""
        self._checksums.write(self._pictures(step), json.dumps([round(value, 5) for value in merits]).encode())

    @property
    def _checksums(self) -> Checksums:
        return Checksums(self.folder)

    def _note(self, step: int) -> Path:
        return self.path(step).with_suffix(".json")

    def _pictures(self, step: int) -> Path:
        return self.path(step).with_suffix(".pictures.json")

    def save(self, step: int, network: "nn.Module") -> Path:
        """Write the state of ``network``, atomically."""
        path = self.path(step)
        save_state(network, path)
        return path

    def nearest_whole(self, step: int) -> int:
        """The step of the whole snapshot nearest to ``step``, the earlier of two as near; the log names damaged ones.

        Raises:
            UserError: there is none.
        """
        from nogan.networks import tensor_file

        for have in sorted(self.steps(), key=lambda have: (abs(have - step), have)):
            try:
                tensor_file.read(self.path(have))
            except UserError as error:
                log.error("%s; the snapshot nearest to it is taken instead", error)
            else:
                return have
        raise UserError(
            f"{self.folder}: no snapshot is whole, and the generator has to go back to one: bring back a copy; or "
            "remove the checkpoints of this phase, and resume the run to train it again"
        )

    def restore(self, step: int, network: "nn.Module") -> None:
        """Put snapshot ``step`` back into ``network``."""
        load_state(network, self.path(step))

    def discard_after(self, step: int) -> None:
        """Remove the snapshots later than ``step``, also what was noted of those that have been thinned out.

        A resumed phase makes them again.
        """
        for later in {*self.steps(), *self._noted()}:
            if later > step:
                for file in (self.path(later), self._note(later), self._pictures(later)):
                    file.unlink(missing_ok=True)

    def best(self) -> int | None:
        """The step of the snapshot that is best on held-out pictures; None if none was probed."""
        found = {step: value for step in self.steps() if isfinite(value := merit(self.metrics(step)))}
        return max(found, key=lambda step: found[step], default=None)  # the earlier of two that are as good

    def files(self, step: int) -> list[Path]:
        """The files of snapshot ``step`` that exist: the generator, and its moving average."""
        return [path for path in (self.path(step), self.averages.path(step)) if path.is_file()]

    def size(self, step: int | None = None) -> int:
        """Bytes on disk of snapshot ``step``, or of all."""
        steps = self.steps() if step is None else [step]
        return sum(file.stat().st_size for step in steps for file in self.files(step))


def stores(run: RunFolder) -> dict[str, SnapshotStore]:
    """The snapshots of ``run`` by phase name, in the order of the cycles."""
    return {folder.name: SnapshotStore(folder) for folder in run.snapshot_folders()}


def prune(run: RunFolder, budget: float) -> list[Path]:
    """Thin the snapshots of a run until they take at most ``budget`` bytes.

    The oldest cycle goes first, and in it the snapshot whose neighbors lie closest together; the first, the last and
    the best of each phase stay. What was measured of them is kept: it is small.

    Returns:
        The files removed.
    """
    removed = []
    every = list(stores(run).values())
    total = sum(store.size() for store in every)
    for store in every:
        steps, best = store.steps(), store.best() if total > budget else None
        while total > budget and (inner := [i for i in range(1, len(steps) - 1) if steps[i] != best]):
            step = steps.pop(min(inner, key=lambda i: (steps[i + 1] - steps[i - 1], i)))
            total -= store.size(step)
            for file in store.files(step):
                file.unlink()
                removed.append(file)
    return removed


def save_state(network: "nn.Module", path: Path) -> None:
    """Write the state dict of ``network`` as safetensors, atomically and with a checksum."""
    save_tensors(network.state_dict(), path)


def save_tensors(tensors: "Mapping[str, Tensor]", path: Path) -> None:
    """Write ``tensors`` as safetensors, atomically and with a checksum; the folder is made.

    Raises:
        UserError: one of them is not finite.
    """
    from nogan.networks import tensor_file

    tensor_file.write(tensors, path)


def load_state(network: "nn.Module", path: Path) -> None:
    """Read what :func:`save_state` wrote.

    Raises:
        UserError: the file is not there or damaged.
    """
    from nogan.networks import tensor_file

    network.load_state_dict(tensor_file.read(path))


def load_state_or_copy(network: "nn.Module", path: Path, copy: Path) -> None:
    """Read what :func:`save_state` wrote; where ``path`` is damaged, from ``copy``, if that is known to be the same.

    Raises:
        UserError: the file is damaged, and there is no such copy.
    """
    from nogan.networks import tensor_file

    try:
        load_state(network, path)
    except UserError as damage:
        wanted = tensor_file.noted_digest(path)
        if wanted is None or tensor_file.noted_digest(copy) != wanted:
            raise
        load_state(network, copy)
        log.warning("%s; %s holds the same, and is used", damage, copy)


def pick(run: RunFolder, step: int, cycle: int | None = None, output: Path | None = None) -> Path:
    """Export snapshot ``step`` of ``cycle`` (the last one that has snapshots) as a generator file.

    Returns:
        The file written: ``output``, or ``generator@cycle-N-step-M.safetensors`` in the run folder.

    Raises:
        UserError: there is no such snapshot.
    """
    from nogan.networks import generator_file as exports

    store = _store(run, cycle)
    if step not in store.steps():
        have = ", ".join(map(str, store.steps()))
        raise UserError(f"--pick {step}: {store.folder.name} of {run} has no such snapshot; it has {have}")
    network = exports.load_generator(run.path)
    store.restore(step, network)
    phase = next(phase for phase in run.plan() if phase.name == store.folder.name)
    output = output or run.picked_generator(phase.cycle, step)
    about = {
        "run": run.path.name,
        "phase": phase.name,
        "step": step,
        "size": phase.size,
        "metrics": store.metrics(step),
    }
    return exports.save_generator(network, output, **about)


def _store(run: RunFolder, cycle: int | None) -> SnapshotStore:
    have = stores(run)
    if not have:
        raise UserError(f"{run} has no snapshots: expected a run folder whose GAN phase has begun")
    name = f"gan@{cycle}" if cycle is not None else list(have)[-1]
    if name not in have:
        raise UserError(f"--cycle {cycle}: {run} has snapshots of {', '.join(have)}")
    return have[name]


def tables(run: RunFolder, cycle: int | None = None) -> "Iterator[Table]":
    """The snapshots of a run with their metrics: one table for each cycle, or for ``cycle`` alone.

    Raises:
        UserError: there are none.
    """
    from rich import box
    from rich.table import Table

    rolled_back_to = {record.name: record.rolled_back_to for record in run.records()}
    chosen = [_store(run, cycle)] if cycle is not None or not stores(run) else stores(run).values()
    for store in chosen:
        chosen_step = rolled_back_to.get(store.folder.name)
        table = Table(
            title=plain(store.folder.name),
            box=box.SIMPLE_HEAD,
            title_justify="left",
            show_edge=False,
            padding=(0, 1, 0, 0),
        )
        for heading in ("step", *(heading for heading, _ in COLUMNS.values()), ""):
            table.add_column(heading, justify="right", no_wrap=True)
        for step in store.steps():
            metrics = store.metrics(step)
            values = [form.format(metrics[name]) if name in metrics else "" for name, (_, form) in COLUMNS.items()]
            table.add_row(str(step), *values, "← chosen" if step == chosen_step else "")
        yield table
