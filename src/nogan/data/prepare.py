"""``nogan prepare SRC DEST``: a copy of ImageNet, or of any photographs, that loads fast.

The copy is a folder that ``datasets.load_from_disk`` opens too: Arrow shards of JPEG files (shorter side 256, quality
90, chroma at full resolution; what is longer than 2:1 cut to its middle, as the loader would), one row a photograph, in
the order of the source. It is written shard by shard, each by an atomic rename, so a run that was cut short goes on
where it stopped when the same command is given again::

    DEST/prepare.json               what the copy was begun with
    DEST/data-00012-of-00626.arrow  a shard of 2048 photographs, less those left out
    DEST/data-00012-of-00626.json   its checksum; what was left out of it, and why
    DEST/left_out.tsv               all of that in one file, once every shard is there
    DEST/state.json, dataset_info.json   last of all: the copy is whole

The same command given again checks every shard against its checksum, and makes those that are damaged once more.

Files that cannot be decoded and photographs that are gray themselves, which would teach a colorizer gray, are left out
and listed with their reasons. If the disk fails to deliver a file, the command stops, since the failure may be
temporary.
"""

import hashlib
import io
import json
import math
import multiprocessing.connection
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nogan.common.errors import UserError
from nogan.common.files import remove_temporary, write_atomically
from nogan.common.lock import NAME as LOCK
from nogan.common.lock import only_one
from nogan.data.images import GRAY, BadImage, decode, is_gray
from nogan.data.sources import (
    PREPARING,
    FileSource,
    FolderSource,
    PreparedSource,
    arrow_folder,
    hub_imagenet,
    ilsvrc_folder,
)

if TYPE_CHECKING:
    from multiprocessing import synchronize
    from multiprocessing.sharedctypes import Synchronized

    import datasets

# Limits of a record batch. Opening a copy costs time and memory for each batch, writing it for each row.
BATCH_ROWS = 1024
BATCH_BYTES = 256 << 20


@dataclass(frozen=True)
class Settings:
    """What a copy's bytes depend on. A copy that was begun with other settings is not continued."""

    size: int = 256
    """Shorter side in pixels; smaller photographs stay as they are."""
    quality: int = 90
    """JPEG quality. Chroma is kept at full resolution (4:4:4): color is what the network learns."""
    shard: int = 2048
    """Photographs to a shard."""


@dataclass(frozen=True)
class Report:
    """What became of the photographs."""

    kept: int
    left_out: list[tuple[str, str]]
    """(name, reason) of each, in the order of the source."""
    bytes: int
    """Size of the copy."""
    repaired: int = 0
    """Shards that were damaged and have been made again."""

    def reasons(self) -> Counter:
        """How many were left out for each reason."""
        return Counter(reason for _, reason in self.left_out)


def prepare(
    source: FileSource,
    dest: str | Path,
    settings: Settings = Settings(),
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write the prepared copy of ``source`` to ``dest``, or the shards that are missing from it.

    Args:
        source: has ``__len__``, ``name(index)`` and ``read(index) -> bytes``, which raises BadImage for a file to leave
            out, and OSError for a failure that may be temporary.
        dest: a new folder, or one that the same source and settings began.
        settings: see :class:`Settings`.
        workers: processes; by default one for each core that this process may use. 1 works in this process.
        progress: told ``(done, total)`` photographs a few times a second.

    Raises:
        UserError: ``dest`` was begun with something else or is being written by another process, a file cannot be read
            or written (which may be temporary), or no photograph is left.
    """
    dest = Path(dest).expanduser()
    with only_one(dest, f"DEST {dest}"):
        try:
            _begin(dest, source, settings)
            total = len(source)
            jobs = _jobs(dest, total, settings)
            faults = _faults(jobs)
            missing = [job for job, fault in zip(jobs, faults, strict=True) if fault]
            before = sum(job.stop - job.start for job in jobs) - sum(job.stop - job.start for job in missing)
            _run(missing, source, workers or _cores(), lambda done: progress(before + done, total))
            repaired = [fault for fault in faults if fault and fault.endswith(".arrow is damaged")]
            return replace(_finish(dest, jobs), repaired=len(repaired))
        except OSError as error:  # of writing: _read explains those of reading
            raise UserError(
                f"cannot write to DEST {dest}: {error.strerror or error}; finished shards are kept,"
                " give the same command again to go on"
            ) from error


def check(dest: str | Path) -> Report:
    """Read the whole prepared copy ``dest``, and compare each shard with its checksum.

    Raises:
        UserError: it is no prepared copy, or not a whole one: says what is damaged or missing.
    """
    dest = Path(dest).expanduser()
    try:
        begun = json.loads((dest / PREPARING).read_text())
        settings = Settings(**{name: begun[name] for name in asdict(Settings())})
        jobs = _jobs(dest, begun["photographs"], settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{dest} is not a prepared copy: its {PREPARING} is missing or damaged") from error
    faults = [fault for fault in _faults(jobs) if fault]
    faults += [
        f"{name} is missing or damaged" for name in ("state.json", "dataset_info.json") if not _is_json(dest / name)
    ]
    if faults:
        more = f" and {len(faults) - 1} more faults" * (len(faults) > 1)
        raise UserError(f"{dest} is not whole: {faults[0]}{more}; to repair it: nogan prepare SRC {dest}")
    return _report(jobs)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True


def _jobs(dest: Path, total: int, settings: Settings) -> "list[_Job]":
    shards = math.ceil(total / settings.shard)
    return [_Job(dest, number, shards, total, settings) for number in range(shards)]


def _faults(jobs: "list[_Job]") -> list[str | None]:
    with ThreadPoolExecutor(_cores()) as pool:  # hashing lets other threads run
        return list(pool.map(_Job.fault, jobs))


# ---------------------------------------------------------------------------------------------------- a shard


@dataclass(frozen=True)
class _Job:
    dest: Path
    number: int
    shards: int
    total: int
    settings: Settings

    @property
    def start(self) -> int:
        return self.number * self.settings.shard

    @property
    def stop(self) -> int:
        return min(self.start + self.settings.shard, self.total)

    @property
    def arrow(self) -> Path:
        return self.dest / f"data-{self.number:05d}-of-{self.shards:05d}.arrow"

    def fault(self) -> str | None:
        """Why the shard has to be made, or made again; None if it is whole: its checksum is the one in its notes."""
        try:
            notes = self.read_notes()
            with self.arrow.open("rb") as file:
                found = hashlib.file_digest(file, _checksum).hexdigest()
        except FileNotFoundError as error:
            return f"{Path(error.filename).name} is missing"
        except (ValueError, KeyError, TypeError):
            return f"{self._notes.name} is damaged"
        if "checksum" in notes:  # which older versions did not note
            return None if notes["checksum"] == found else f"{self.arrow.name} is damaged"
        return None if _rows(self.arrow) == notes["kept"] else f"{self.arrow.name} is damaged"

    def read_notes(self) -> dict:
        """How many photographs were ``kept``, and those ``left_out`` with their reasons."""
        notes = json.loads(self._notes.read_text())
        _ = notes["kept"], notes["left_out"]
        return notes

    def write_notes(self, left_out: list[tuple[str, str]], written: Path) -> None:
        """Inverse of :meth:`read_notes`; ``written`` is the shard, which does not have its name yet."""
        kept = self.stop - self.start - len(left_out)
        with written.open("rb") as file:
            checksum = hashlib.file_digest(file, _checksum).hexdigest()
        _write_text(self._notes, json.dumps({"kept": kept, "checksum": checksum, "left_out": left_out}))

    @property
    def _notes(self) -> Path:
        return self.arrow.with_suffix(".json")


def _checksum() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def _rows(shard: Path) -> int | None:
    """How many rows a shard has; None if it cannot be read."""
    import pyarrow as pa

    try:
        with pa.memory_map(os.fspath(shard)) as file:
            table = pa.ipc.open_stream(file).read_all()
            table.validate(full=True)
            return table.num_rows
    except (ValueError, OSError):  # pyarrow's errors derive from these
        return None


def _features() -> "datasets.Features":
    from datasets import Features, Value
    from datasets import Image as ImageFeature

    return Features({"image": ImageFeature(), "name": Value("string")})


def _write_shard(job: _Job, source: FileSource, tick: Callable[[], None]) -> None:
    left_out = []

    def kept() -> Iterator[tuple[bytes, str]]:
        for index in range(job.start, job.stop):
            try:
                yield convert(_read(source, index), job.settings), source.name(index)
            except BadImage as error:
                left_out.append((source.name(index), str(error)))
            tick()

    def write(temporary: Path) -> None:
        write_rows(temporary, kept())
        job.write_notes(left_out, temporary)

    write_atomically(job.arrow, write)  # a shard that has its name is done


def write_rows(path: Path, rows: Iterable[tuple[bytes, str]]) -> None:
    """Write ``rows``, each a JPEG file and its name, to the Arrow file ``path``, which ``datasets`` reads too."""
    import pyarrow as pa

    schema = _features().arrow_schema
    with path.open("wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in _batched(rows):
            stream.write_batch(pa.RecordBatch.from_pylist([_row(*row) for row in batch], schema))


def _row(data: bytes, name: str) -> dict:
    in_utf8 = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # Arrow takes UTF-8 only
    return {"image": {"bytes": data, "path": None}, "name": in_utf8}


def _batched(rows: Iterable[tuple[bytes, str]]) -> Iterator[list[tuple[bytes, str]]]:
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row[0])
        if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read(source: FileSource, index: int) -> bytes:
    try:
        return source.read(index)
    except OSError as error:  # stop: a photograph left out now would be left out for good
        raise UserError(
            f"cannot read {error.filename or source.name(index)} of SRC: {error.strerror or error}; finished shards are"
            " kept, give the same command again to go on (where the file is lost, leave an empty one in its place)"
        ) from error


def convert(data: bytes, settings: Settings) -> bytes:
    """Convert an image file of any kind to the copy's JPEG. Raises BadImage, also for a gray photograph."""
    pixels = decode(data, settings.size)
    height, width = pixels.shape[:2]
    scale = settings.size / min(height, width)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if scale < 1:
        image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    if is_gray(np.asarray(image)):
        raise BadImage(GRAY)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=settings.quality, subsampling="4:4:4")
    return out.getvalue()


# ---------------------------------------------------------------------------------------------------- processes


def _run(jobs: list[_Job], source: FileSource, workers: int, progress: Callable[[int], None]) -> None:
    workers = min(workers, len(jobs))
    if workers <= 1:
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            progress(done)

        progress(0)
        for job in jobs:
            _write_shard(job, source, tick)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    counter, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(source, counter, stop))
    try:
        pending = {pool.submit(_work, job) for job in jobs}
        while pending:
            progress(counter.value)
            finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
        progress(counter.value)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed (out of memory?); what is finished is kept: give the same command again,"
            f" with fewer than --workers {workers} if it was"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Stopped(Exception):
    """The parent told this worker to stop."""


# Globals of a worker process, set once when it starts.
_source: FileSource
_counter: "Synchronized[int]"
_stop: "synchronize.Event"


def _start_worker(source: FileSource, counter: "Synchronized[int]", stop: "synchronize.Event") -> None:
    global _source, _counter, _stop
    _source, _counter, _stop = source, counter, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and sets `stop`
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this worker when its parent is gone; it would wait for the next job forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _work(job: _Job) -> None:
    def tick() -> None:
        if _stop.is_set():
            raise _Stopped
        with _counter.get_lock():
            _counter.value += 1

    _write_shard(job, _source, tick)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---------------------------------------------------------------------------------------------------- the folder


def _begin(dest: Path, source: FileSource, settings: Settings) -> None:
    begun_with = {**asdict(settings), "photographs": len(source), "names": _digest(source)}
    record = dest / PREPARING
    remove_temporary(dest)
    others = sorted(entry.name for entry in dest.iterdir() if entry.name not in (LOCK, PREPARING))
    try:
        before = json.loads(record.read_text())
    except (FileNotFoundError, ValueError) as error:
        if others and record.exists():
            raise UserError(
                f"{record} cannot be read ({error}), so what {others[0]}, … were made with is not known;"
                " empty DEST, or give another"
            ) from error
        if others:
            raise UserError(f"DEST {dest} holds other files ({others[0]}, …); expected a new or empty folder") from None
        _write_text(record, json.dumps(begun_with, indent=2))  # nothing was made yet, so nothing is lost
        return
    if changed := [key for key in begun_with if before.get(key) != begun_with[key]]:
        key = changed[0]
        raise UserError(
            f"DEST {dest} was begun with other {key} ({before.get(key)}, now {begun_with[key]});"
            " give the same source and settings to go on, or another DEST"
        )


def _digest(source: FileSource) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for index in range(len(source)):
        digest.update(source.name(index).encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def _report(jobs: list[_Job]) -> Report:
    notes = [job.read_notes() for job in jobs]
    return Report(
        kept=sum(note["kept"] for note in notes),
        left_out=[(name, reason) for note in notes for name, reason in note["left_out"]],
        bytes=sum(job.arrow.stat().st_size for job in jobs),
    )


def _finish(dest: Path, jobs: list[_Job]) -> Report:
    from datasets import DatasetInfo

    report = _report(jobs)
    _write_text(dest / "left_out.tsv", "".join(f"{name}\t{reason}\n" for name, reason in report.left_out))
    if not report.kept:
        raise UserError(f"none of the {len(report.left_out)} photographs can be used: see {dest / 'left_out.tsv'}")
    _write_text(dest / "dataset_info.json", json.dumps(asdict(DatasetInfo(features=_features()))))
    state: dict[str, Any] = {
        "_data_files": [{"filename": job.arrow.name} for job in jobs],
        "_fingerprint": hashlib.blake2b((dest / PREPARING).read_bytes(), digest_size=8).hexdigest(),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": "train",
    }
    _write_text(dest / "state.json", json.dumps(state, indent=2))
    return report


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, errors="surrogateescape"))


def find_source(path: str) -> FileSource:
    """What SRC means: "hub", an Arrow folder, the ILSVRC folders at any level, or any folder of photographs."""
    if path == "hub":
        return hub_imagenet()
    if arrow := arrow_folder(path):
        return PreparedSource(arrow, "SRC")
    if Path(path).expanduser().is_dir():
        return ilsvrc_folder(path) or FolderSource(path, "SRC")
    raise UserError(f"SRC {path} is not there; expected a folder of photographs, the ILSVRC folders, or hub")
