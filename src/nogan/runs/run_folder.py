"""The folder of a run: the one place that spells its file names, and that reads and writes the plain ones.

=============================  =====================================================================================
``config.yaml``                the composed config, as the run used it
``plan.json``                  every phase
``data.json``                  how many photographs there were when the run began, and a digest of them
``environment.json``           git commit, package versions, the command, when
``checksums.json``             of the files above, ``metrics.csv`` and ``records.json``
``metrics.csv``                every logged step
``records.json``               each phase: what it cost, how it ended, held-out metrics
``skipped.json``               photographs that could not be read, and gray ones, if there were any
``samples/``                   the fixed grid (gray | output | truth) from step 0 on
``held-out/``                  the pictures of that grid, one by one, to colorize
``report.html``                all of it to look at, in one file
``checkpoints/``               to resume from
``snapshots/gan@N/``           the generator within the GAN phase of cycle N, its moving averages in ``ema/``, and the
                               critic before the phase
``fakes/cycle-N/``             the pictures that the critic of cycle N trains on; gone when the run has ended
``generator.safetensors``      the final generator, and ``generator.json``, which says how to rebuild it; beside it the
                               ones ``@pretrained`` (before the first GAN phase), ``@inflection``, and with
                               ``nogan.ema`` the moving average ``@ema``
``critic.safetensors``         the critic that a further cycle would go on from; ``critic@gan.safetensors`` is the one
                               that the latest GAN phase trained
``wandb/``, ``tensorboard/``   where asked for
``.lock``                      while a process is using it
``.ranks/``                    signs of life of the processes of a run on several devices, while it trains
``.checkpointed``              there from the first checkpoint on: without any, such a run cannot go on
``.hydra/``                    what the command line said
``failed.txt``                 of a sweep's trial that failed: why, in one line
=============================  =====================================================================================

The folder of a sweep holds its trials' run folders and ``sweep.json``, which names what the sweep optimizes.
"""

import contextlib
import csv
import json
import logging
import math
import re
import shlex
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from nogan.common.errors import Occupied, UserError
from nogan.common.files import TEMPORARY, write_atomically
from nogan.common.program import setting
from nogan.plan import Plan, as_rows, from_rows
from nogan.plan.config import RunConfig, parse_config
from nogan.runs.checksums import Checksums
from nogan.runs.environment import check_environment, environment
from nogan.runs.records import PhaseRecord

log = logging.getLogger(__name__)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # knows plain values only

Row = dict[str, float]
GeneratorStage = Literal["final", "pretrained", "inflection", "ema"]
CriticStage = Literal["final", "gan"]

SWEEP_MARK = "sweep.json"
SNAPSHOT = re.compile(r"step-([0-9]+)\.safetensors")
SNAPSHOT_NOTE = re.compile(r"step-([0-9]+)\.json")
CHECKPOINT = re.compile(r"(\d{3})-(.+)-(\d{7}|end)\.ckpt")
NOTES_AND_LOGS = re.compile(r"\.hydra|\.lock|failed\.txt|wandb|wandb-id\.txt|.*\.(log|out|err)")  # none's results
POSITION = {"step", "nogan/phase", "nogan/images_seen"}  # what each row of a run's metrics.csv has
NAMED = 3  # files that a message names, of those that a folder holds


class _Dumper(yaml.SafeDumper):
    """Writes values that occur twice twice: :func:`plain_yaml` takes no references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class CheckpointName(NamedTuple):
    """Where in the plan a checkpoint was taken, as its file name says; sorts by time."""

    phase: int  # number in the plan, from 0
    finished: bool  # taken at the end of the phase
    batch: int  # batches done, of a phase that is not finished
    phase_name: str

    @classmethod
    def of(cls, path: Path) -> "CheckpointName | None":
        """What the name of ``path`` says; None if it is not the name of a checkpoint of a run."""
        match = CHECKPOINT.fullmatch(path.name)
        if not match:
            return None
        finished = match[3] == "end"
        return cls(int(match[1]), finished, 0 if finished else int(match[3]), match[2])

    def __str__(self) -> str:
        return f"{self.phase:03d}-{self.phase_name}-{'end' if self.finished else f'{self.batch:07d}'}.ckpt"


class RunFolder:
    """A run's folder, there or not yet there.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunFolder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    # --- names --------------------------------------------------------------------------------------------------------

    @property
    def config_file(self) -> Path:
        """The composed config."""
        return self.path / "config.yaml"

    @property
    def plan_file(self) -> Path:
        """Every phase."""
        return self.path / "plan.json"

    @property
    def data_file(self) -> Path:
        """How many photographs the run has, and what tells whether they are still the same."""
        return self.path / "data.json"

    @property
    def environment_file(self) -> Path:
        """Where and with what the run was made."""
        return self.path / "environment.json"

    @property
    def metrics_file(self) -> Path:
        """Every logged step."""
        return self.path / "metrics.csv"

    @property
    def records_file(self) -> Path:
        """What each phase cost and how it ended; there once the run has ended."""
        return self.path / "records.json"

    @property
    def skipped_file(self) -> Path:
        """Photographs that were passed over: by their kind, ``unreadable`` and ``gray``, their names and reasons."""
        return self.path / "skipped.json"

    @property
    def report_file(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def failure_file(self) -> Path:
        """Why a sweep's trial failed."""
        return self.path / "failed.txt"

    @property
    def checkpointed_file(self) -> Path:
        """There once the run has had a checkpoint."""
        return self.path / ".checkpointed"

    @property
    def ranks(self) -> Path:
        """Signs of life of the processes of a run on several devices."""
        return self.path / ".ranks"

    @property
    def overrides_file(self) -> Path:
        """What the command line said, as Hydra notes it."""
        return self.path / ".hydra" / "overrides.yaml"

    @property
    def hydra_file(self) -> Path:
        """Hydra's own settings."""
        return self.path / ".hydra" / "hydra.yaml"

    @property
    def wandb_id_file(self) -> Path:
        """The id of the run in W&B."""
        return self.path / "wandb-id.txt"

    @property
    def wandb(self) -> Path:
        """W&B's own files."""
        return self.path / "wandb"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's own files."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def checkpoint(self, name: CheckpointName) -> Path:
        """A checkpoint."""
        return self.checkpoints / str(name)

    @property
    def last_checkpoint(self) -> Path:
        """A second name of the newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def samples(self) -> Path:
        """The folder of the grids of samples."""
        return self.path / "samples"

    def sample(self, step: int) -> Path:
        """The grid of samples after ``step`` batches of the run."""
        return self.samples / f"step-{step:06d}.png"

    @property
    def held_out(self) -> Path:
        """The folder of the held-out pictures of the grid, each as a file."""
        return self.path / "held-out"

    def snapshots(self, phase_name: str) -> Path:
        """The folder of the snapshots of a GAN phase."""
        return self.path / "snapshots" / phase_name

    def snapshot_folders(self) -> list[Path]:
        """The folders of all GAN phases that have snapshots, in the order of the cycles."""
        return _numbered_folders(self.path / "snapshots", "gan@")

    def critic_before(self, cycle: int) -> Path:
        """The critic as it was before the GAN phase of ``cycle``."""
        return self.snapshots(f"gan@{cycle}") / "critic-before.safetensors"

    def fakes(self, cycle: int) -> Path:
        """The folder of the fakes of ``cycle``."""
        return self.path / "fakes" / f"cycle-{cycle}"

    def fakes_folders(self) -> list[Path]:
        """The folders of all cycles that have fakes on disk."""
        return _numbered_folders(self.path / "fakes", "cycle-")

    def generator(self, stage: GeneratorStage = "final") -> Path:
        """The generator's weights: as the run ended, before the first GAN phase, at the latest inflection point, …"""
        from nogan.networks.generator_file import WEIGHTS_NAME  # here, since its package imports torch

        final = self.path / WEIGHTS_NAME
        return final if stage == "final" else final.with_stem(f"{final.stem}@{stage}")

    def critic(self, stage: CriticStage = "final") -> Path:
        """The critic's weights: those that a further cycle would go on from, or those that the latest GAN trained."""
        return self.path / ("critic.safetensors" if stage == "final" else f"critic@{stage}.safetensors")

    def picked_generator(self, cycle: int, step: int) -> Path:
        """Where ``nogan snapshots --pick`` puts a snapshot."""
        final = self.generator()
        return final.with_stem(f"{final.stem}@cycle-{cycle}-step-{step}")

    # --- how far the run is -------------------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether there is a run, with its config and its plan."""
        return self.config_file.is_file() and self.plan_file.is_file()

    @property
    def has_checkpoints(self) -> bool:
        """Whether the run has got as far as a checkpoint."""
        return any(self.checkpoints.glob("*.ckpt"))

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended."""
        return self.records_file.is_file()

    @property
    def failure(self) -> str | None:
        """Why the trial failed, in one line; None if it did not, or was then run to its end."""
        return (
            self.failure_file.read_text(errors="replace").strip()
            if self.failure_file.is_file() and not self.has_ended
            else None
        )

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep that this run is a trial of; None if it is of none."""
        parent = self.path.resolve().parent
        return parent if (parent / SWEEP_MARK).is_file() else None

    def occupants(self) -> list[str]:
        """What a new run would overwrite or be mixed with; of notes and logs of its start there may be some."""
        if not self.path.is_dir():
            return []
        names = [path.name for path in self.path.iterdir()]
        return sorted(name for name in names if not NOTES_AND_LOGS.fullmatch(name) and not TEMPORARY.fullmatch(name))

    def check_is_free(self) -> None:
        """Refuse the folder to a new run, if it holds another run or anybody's files.

        Raises:
            Occupied: says which.
        """
        if self.has_begun or self.has_checkpoints:
            raise Occupied(
                f"{self} holds a run already: go on with it by {setting('resume', self)}, or give this one another "
                "folder, hydra.run.dir=DIR (for a sweep: hydra.sweep.dir=DIR)"
            )
        if there := self.occupants():
            named = ", ".join(there[:NAMED]) + (f" and {len(there) - NAMED} more" if len(there) > NAMED else "")
            raise Occupied(
                f"{self} holds files already ({named}), which a run must not mix with: expected a new or an empty "
                "folder, hydra.run.dir=DIR (for a sweep: hydra.sweep.dir=DIR)"
            )

    def note_checkpoint(self) -> None:
        """Keep that the run has had a checkpoint."""
        self.checkpointed_file.touch()

    def check_may_begin_again(self) -> None:
        """Refuse to go on with a run that has no checkpoint, unless it never had one, and so has nothing to lose.

        Raises:
            Occupied: its checkpoints were removed, or what is in the folder is not a run's.
        """
        if self.has_ended or self.checkpointed_file.is_file():
            raise Occupied(
                f"resume={self}: its checkpoints are gone, and it cannot go on without: bring one back; or begin a new "
                f"run with its networks, {setting('model.init', self)}"
            )
        try:
            self.config()
        except UserError as error:
            raise Occupied(f"{self.config_file} is not a run's, or damaged ({str(error).splitlines()[0]})") from error

    def skipped(self) -> dict[str, list[str]]:
        """What :attr:`skipped_file` says; empty if nothing was skipped, or nobody knows."""
        try:
            content = json.loads(self.skipped_file.read_bytes())
            return {kind: [str(name) for name in content[kind]] for kind in ("unreadable", "gray")}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}

    def check_is_run(self) -> None:
        """Refuse a ``resume=FOLDER`` that holds no run.

        Raises:
            UserError: it does.
        """
        if not self.config_file.is_file():
            raise UserError(f"resume={self}: expected a run folder, but there is no config.yaml in it")

    @property
    def checksums(self) -> Checksums:
        """Those of the files that are read back."""
        return Checksums(self.path)

    def _checked(self, path: Path) -> bytes:
        """The content of ``path``.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not what was written.
        """
        return self.checksums.check(path, path.read_bytes())

    # --- reading ------------------------------------------------------------------------------------------------------

    def config(self) -> RunConfig:
        """The config of the run, checked.

        Raises:
            UserError: there is no run; or its config is not valid in this version.
        """
        self.check_is_run()
        return parse_config(self.plain_config())

    def plain_config(self) -> dict[str, Any]:
        """The config of the run as it was written, perhaps by an older version.

        Raises:
            UserError: the file is damaged.
        """
        with _damage_named(self.config_file, "bring back a copy"):
            config = plain_yaml(self._checked(self.config_file))
            if not isinstance(config, dict):
                raise ValueError("expected keys with values")
        return config

    def plan(self) -> Plan:
        """The plan of the run as it was when the run began, or was last resumed.

        Raises:
            UserError: the file is damaged.
        """
        with _damage_named(self.plan_file, "bring back a copy"):
            return from_rows(json.loads(self._checked(self.plan_file)))

    def environment(self) -> dict[str, Any]:
        """Where and with what the run was made, as :func:`~nogan.runs.environment.environment` says; empty without.

        Nothing that a run computes depends on it: a damaged one is as none, and the log says so.
        """
        if not self.environment_file.is_file():
            return {}
        try:
            with _damage_named(self.environment_file, "it is as if there were none"):
                noted = json.loads(self._checked(self.environment_file))
                check_environment(noted)
        except UserError as error:
            log.warning("%s", error)
            return {}
        return noted

    def records(self) -> list[PhaseRecord]:
        """What each phase cost and how it ended; empty before the run has ended.

        Raises:
            UserError: the file is damaged.
        """
        if not self.has_ended:
            return []
        with _damage_named(self.records_file, f"resume={self} writes it again"):
            return [PhaseRecord.from_dict(values) for values in json.loads(self._checked(self.records_file))]

    def metrics(self) -> list[Row]:
        """``metrics.csv``, each row without its empty cells and what is not finite; no row before there is any.

        A row that is damaged, as the last one of a run that was killed may be, is left out, and the log says so; also
        that the file of a run that has ended is not as it was.
        """
        if not self.metrics_file.is_file():
            return []
        content = self.metrics_file.read_bytes()
        if self.has_ended:
            try:
                self.checksums.check(self.metrics_file, content)
            except ValueError as error:
                log.warning("%s %s: what can be read of it is shown", self.metrics_file, error)
        return rows_of(content, self.metrics_file)

    def overrides(self) -> list[str]:
        """What the command line said, without Hydra's own settings; empty if the run was not started from one."""
        if not self.overrides_file.is_file():
            return []
        with _damage_named(self.overrides_file, "bring back a copy, or remove it"):
            overrides = plain_yaml(self._checked(self.overrides_file)) or []
            return [str(override) for override in overrides]

    def hydra(self) -> dict[str, Any]:
        """Hydra's own settings; empty if the run was not started from a command line, or they cannot be read."""
        if not self.hydra_file.is_file():
            return {}
        try:
            with _damage_named(self.hydra_file, "it is as if there were none"):
                return {**plain_yaml(self.hydra_file.read_bytes())["hydra"]}
        except UserError as error:
            log.warning("%s", error)
            return {}

    def later_overrides(self) -> list[str]:
        """What the command lines said that the run was resumed with, in their order, but for how to resume.

        From ``environment.json``, which has those of resumptions that began; Hydra notes those that were refused, too.
        """
        words = [word for each in self.environment().get("resumed", []) for word in _words(each.get("command", ""))]
        settings = (word for word in words if re.match(r"[+~]*[a-z][a-z0-9_.@]*=", word))
        return [setting for setting in settings if not re.match(r"[+~]*(resume|data\.changed|trust|hydra\.)", setting)]

    # --- writing ------------------------------------------------------------------------------------------------------

    def describe(self, config: RunConfig, plan: Plan) -> None:
        """Write config, plan and environment; the environment of a resumption is added to the first one."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)
        self.checksums.write(self.config_file, text.encode())
        self.write_note(self.plan_file, as_rows(plan))
        first = self.environment()
        now = environment()
        self.write_note(self.environment_file, {**first, "resumed": [*first.get("resumed", []), now]} if first else now)
        if self.overrides_file.is_file() and not self.checksums.knows(self.overrides_file):  # Hydra's
            self.checksums.note(self.overrides_file)

    def write_note(self, path: Path, content: Any) -> None:
        """Write ``content`` as JSON to ``path``, a file of the folder, and keep its checksum."""
        self.checksums.write(path, as_json(content))

    def write_records(self, records: Iterable[PhaseRecord]) -> None:
        """Write what each phase cost and how it ended; that marks the run as ended."""
        if self.metrics_file.is_file():
            self.checksums.note(self.metrics_file)
        self.write_note(self.records_file, [record.to_dict() for record in records])

    def forget_end(self) -> None:
        """Mark an ended run as not ended: it goes on, with more cycles."""
        self.records_file.unlink(missing_ok=True)

    def note_failure(self, reason: str) -> None:
        """Keep why a sweep's trial failed, in one line."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.failure_file.write_text(" ".join(reason.split()) + "\n")

    def wandb_id(self) -> str:
        """The id of the run in W&B, the same when the run is resumed; made at the first call."""
        if not self.wandb_id_file.is_file():
            new = uuid.uuid4().hex[:8]
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.wandb_id_file, lambda path: path.write_text(new))
        return self.wandb_id_file.read_text().strip()


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)[1:]
    except ValueError:  # not a command line
        return []


@contextlib.contextmanager
def _damage_named(path: Path, then: str) -> Iterator[None]:
    """Raise a :class:`UserError` in one line where ``path`` cannot be read as what it should be."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): {then}") from error


def _numbered_folders(parent: Path, prefix: str) -> list[Path]:
    """The folders ``prefix`` + number, by number; what else is there is not the run's, and left alone."""
    found = {folder: folder.name.removeprefix(prefix) for folder in parent.glob(f"{prefix}*") if folder.is_dir()}
    ours = [folder for folder, number in found.items() if re.fullmatch("[0-9]+", number)]
    return sorted(ours, key=lambda folder: int(found[folder]))


def snapshot_name(step: int) -> str:
    """The file name of the snapshot after ``step`` batches of a GAN phase."""
    return f"step-{step:06d}.safetensors"


def mark_sweep(folder: Path, objective: str | None) -> None:
    """Note that ``folder`` is the folder of a sweep, and what the sweep optimizes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SWEEP_MARK, {"objective": objective})


def sweep_objective(folder: Path) -> str | None:
    """What the sweep in ``folder`` optimizes; None if that was not said, or ``folder`` is of no sweep."""
    mark = folder / SWEEP_MARK
    if not mark.is_file():
        return None
    with _damage_named(mark, "bring back a copy, or remove it"):
        return json.loads(mark.read_bytes())["objective"]


def write_json(path: Path, content: Any) -> None:
    """Write ``content``, atomically and for people to read."""
    write_atomically(path, lambda temporary: temporary.write_bytes(as_json(content)))


def as_json(content: Any) -> bytes:
    """``content``, for people to read."""
    return (json.dumps(content, indent=1) + "\n").encode()


def plain_yaml(content: bytes) -> Any:
    """What YAML of a run folder says: plain values. Nothing in it is resolved or built, and nothing is said twice.

    Raises:
        ValueError: it refers to itself, by which few bytes could stand for more than fits into memory.
        yaml.YAMLError: it is no YAML.
    """
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _Loader)):
        raise ValueError("it refers to itself by *, which no run does")
    return yaml.load(content, _Loader)


def rows_of(content: bytes, path: Path | None = None) -> list[Row]:
    """The rows of a ``metrics.csv``, without what is damaged: of a file at ``path``, the log says how much that is."""
    lines = content.decode(errors="replace").replace("\0", "").splitlines()
    columns, *rows = list(csv.reader(lines)) or [[]]
    read = [_finite(columns, cells) if len(cells) == len(columns) else None for cells in rows]
    expected = {"step"} | POSITION.intersection(columns)
    whole = [row for row in read if row is not None and row.keys() >= expected]
    if path is not None and len(whole) < len(read):
        log.warning("%s: %d damaged rows of %d are left out", path, len(read) - len(whole), len(read))
    return whole


def _finite(columns: list[str], cells: list[str]) -> Row | None:
    """The cells that are finite, by column; None if one is no number."""
    try:
        values = {name: float(cell) for name, cell in zip(columns, cells, strict=True) if cell}
    except ValueError:
        return None
    return {name: value for name, value in values.items() if math.isfinite(value)}
