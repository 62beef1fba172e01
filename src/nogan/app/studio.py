"""The work behind the page: albums with their files, tasks that color them, and the threads that do the tasks.

An album belongs to one browser. It lives here and not in the page, so that a page that is reloaded, or closed and
opened again, finds its queue as it is. Photographs are done one after the other, and so are previews and films: nobody
waits for hours behind a film, nor a photograph for a preview.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from nogan.app.models import Loaded, Models
from nogan.app.settings import Part, Recipe, Settings
from nogan.app.shown import show_photograph
from nogan.colorize.batch import Advance, BatchOptions, colorize_files
from nogan.colorize.blending import Masks
from nogan.colorize.film import FILM_SUFFIXES
from nogan.colorize.film.reading import Film
from nogan.colorize.jobs import READ_SUFFIXES, Job, packages_for
from nogan.colorize.photos import PHOTO_SUFFIXES
from nogan.common.errors import UserError
from nogan.common.failures import explained
from nogan.common.files import in_words

if TYPE_CHECKING:
    from nogan.colorize.film import FilmReport

log = logging.getLogger(__name__)

Kind = Literal["photograph", "preview", "film"]

LONGEST_NAME = 120
"""Characters of a file's name; the rest of a longer one is cut off before its suffix."""

PREVIEW = "preview.mp4"

MOST_PREVIEWS = 6
"""Of one film beside each other, to choose from; the oldest go first."""

PLAYED = frozenset({".mp4", ".m4v", ".mov"})
"""Films that browsers play."""

_ALBUM = re.compile(r"[0-9a-f]{32}")


class Status(StrEnum):
    """How far a task is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


class NotThere(Exception):
    """An album has no such file or task, or there is no such album."""


class Canceled(BaseException):
    """Its user has canceled a task.

    Not an ``Exception``, so that nothing between here and the film takes it for a film that fails.
    """


@dataclass(eq=False)
class Task:
    """One file to be colored by one recipe.

    Attributes:
        id: in addresses.
        item: the file.
        recipe: how.
        kind: what for: of a film, some seconds of it or the whole.
        folder: of the result; what is done of a film stays there when it is canceled.
        status: how far it is.
        doing: what a running task is at, where that is not coloring: fetching weights.
        done: photographs, frames or bytes.
        total: of those; None where it is not known.
        message: why it failed, in one line.
        remarks: what a person should know of it.
        result: the file to download.
        shown: what a browser can show of it.
    """

    id: str
    item: Item
    recipe: Recipe
    kind: Kind
    folder: Path
    status: Status = Status.WAITING
    doing: str = ""
    done: int = 0
    total: int | None = None
    message: str = ""
    remarks: list[str] = field(default_factory=list)
    result: Path | None = None
    shown: Path | None = None
    _stop: bool = False
    _began: tuple[float, int] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.status in (Status.WAITING, Status.RUNNING)

    @property
    def seconds_left(self) -> float | None:
        """About how long it still takes; None where that cannot be told yet."""
        if self._began is None or self.total is None:
            return None
        since, before = self._began
        here = self.done - before
        return (time.monotonic() - since) / here * (self.total - self.done) if here > 0 else None

    @property
    def command(self) -> str:
        """The command line that gives the same file."""
        return self.recipe.command(self.item.name, film=self.item.is_film)

    def stop(self) -> None:
        """End it at the next frame."""
        self._stop = True

    def again(self) -> None:
        """Let it wait once more."""
        self.status, self.message, self.doing, self._stop, self._began = Status.WAITING, "", "", False, None

    def begin(self, step: str) -> None:
        """Begin a step; the one without a name is the coloring."""
        self.doing, self._began, self.done, self.total = step, None, 0, None
        self.item.touch()

    def advance(self, done: int, total: int | None) -> None:
        """Take the progress; ends a task that was canceled.

        Raises:
            Canceled: it was.
        """
        if self._stop:
            raise Canceled
        if self._began is None:
            self._began = time.monotonic(), done
        self.done, self.total = done, total
        self.item.touch()


@dataclass(eq=False)
class Item:
    """A photograph or a film of an album.

    Attributes:
        id: in addresses.
        album: that it is in.
        name: of the file.
        path: the file.
        is_film: whether it is a film.
        shown: what a browser can show of it.
        tasks: all that were made of it.
        current: those that the page shows, side by side.
        version: grows with every change.
    """

    id: str
    album: Album
    name: str
    path: Path
    is_film: bool
    shown: Path | None = None
    tasks: dict[tuple[Kind, Recipe], Task] = field(default_factory=dict)
    current: list[Task] = field(default_factory=list)
    version: int = 0

    def touch(self) -> None:
        """Note that something of it has changed."""
        self.version = self.album.tick()


@dataclass(eq=False)
class Album:
    """The files of one browser.

    Attributes:
        id: known to that browser only.
        folder: of its files.
        items: in the order in which they came.
        settings: those used last.
        mask: a gray picture that says where the second of two blended models is.
    """

    id: str
    folder: Path
    items: dict[str, Item] = field(default_factory=dict)
    settings: Settings | None = None
    mask: Path | None = None
    _clock: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    version: int = 0

    def tick(self) -> int:
        """The next version."""
        self.version = next(self._clock)
        return self.version

    @property
    def tasks(self) -> list[Task]:
        """Those that are shown, of all items."""
        return [task for item in self.items.values() for task in item.current]

    def item(self, key: str) -> Item:
        """The file with that id.

        Raises:
            NotThere: there is none.
        """
        if key not in self.items:
            raise NotThere
        return self.items[key]

    def task(self, key: str) -> Task:
        """The task with that id.

        Raises:
            NotThere: there is none.
        """
        for item in list(self.items.values()):
            for task in list(item.tasks.values()):
                if task.id == key:
                    return task
        raise NotThere

    def free_name(self, name: str) -> str:
        """``name``, or with a number where another file has it."""
        taken = {item.name for item in self.items.values()}
        path = Path(name)
        names = (name if n == 1 else f"{path.stem} ({n}){path.suffix}" for n in itertools.count(1))
        return next(name for name in names if name not in taken)


class Studio:
    """All albums, and two threads that do their tasks.

    Args:
        folder: for uploads and results.
        models: that may be chosen.
        device: that the networks run on; None is a GPU if there is one.
        most_bytes: largest file taken.
    """

    def __init__(self, folder: Path, models: Models, *, device: str | None = None, most_bytes: int = 8 * 10**9) -> None:
        self.models, self.device, self.most_bytes = models, device, most_bytes
        self._folder, self._loaded = folder, Loaded()
        folder.mkdir(parents=True, exist_ok=True)
        self._albums: dict[str, Album] = {}
        self._lock = threading.RLock()
        self._lanes: dict[Kind, _Lane] = {kind: _Lane(kind, self._do) for kind in get_args(Kind)}

    # --- albums and their files ---------------------------------------------------------------------------------------

    def album(self, key: str) -> Album:
        """The album of a browser, made when first asked for.

        Raises:
            NotThere: ``key`` is none of :func:`new_key`.
        """
        if not _ALBUM.fullmatch(key):
            raise NotThere
        with self._lock:
            if key not in self._albums:
                self._albums[key] = Album(key, self._folder / key)
            return self._albums[key]

    def check(self, name: str, size: int | None) -> None:
        """Refuse a file before it is sent.

        Raises:
            UserError: it is of a kind that cannot be read, or too large.
        """
        suffix = Path(name).suffix.lower()
        if suffix not in PHOTO_SUFFIXES | READ_SUFFIXES | FILM_SUFFIXES:
            hint = "".join(f" ({package})" for package in packages_for({suffix: 1}))
            raise UserError(f"{name}: neither a photograph nor a film that can be read{hint}")
        if size is not None and size > self.most_bytes:
            raise UserError(
                f"{name}: {in_words(size)}, and at most {in_words(self.most_bytes)} are taken (--max-upload)"
            )
        free = shutil.disk_usage(self._folder).free
        if size is not None and size > free:
            raise UserError(f"{name}: {in_words(size)}, and {in_words(free)} are free on the disk")

    @contextlib.contextmanager
    def adding(self, album: Album, name: str) -> Iterator[Path]:
        """A place to write an upload to; at the end of the context it is an item of the album.

        Raises:
            UserError: as :meth:`check`.
        """
        name = safe_name(name)
        self.check(name, None)
        key = secrets.token_hex(8)
        folder = album.folder / key
        folder.mkdir(parents=True)
        arriving = folder / f"arriving{Path(name).suffix.lower()}"
        try:
            yield arriving
            with self._lock:
                name = album.free_name(name)
                path = folder / "original" / name
                path.parent.mkdir()
                arriving.rename(path)
                album.items[key] = item = Item(key, album, name, path, Job(path, path).is_film)
                item.touch()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def masking(self, album: Album, name: str) -> Iterator[Path]:
        """A place to write a mask to; at the end of the context it is the one of the album.

        Raises:
            UserError: it is no picture that can be read.
        """
        name = safe_name(name)
        self.check(name, None)
        folder = album.folder / f"mask-{secrets.token_hex(8)}"  # a new one each time: tasks may still use the others
        folder.mkdir(parents=True)
        try:
            yield folder / name
            Masks(folder / name)(folder / name)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, UserError):
                raise UserError(str(error).replace(f"{folder}/", "")) from error
            raise
        self.set_mask(album, folder / name)

    def set_mask(self, album: Album, mask: Path | None) -> None:
        """Blend by a mask from now on, or by none."""
        with self._lock:
            album.mask = mask
            album.tick()

    def remove(self, item: Item) -> None:
        """Take a file out of its album, with all that was made of it."""
        with self._lock:
            item.album.items.pop(item.id, None)
            item.album.tick()
            for task in item.tasks.values():
                self.cancel(task)
            if not any(task.status is Status.RUNNING for task in item.tasks.values()):
                shutil.rmtree(item.path.parents[1], ignore_errors=True)  # else the lane does, when it is done with it

    # --- tasks --------------------------------------------------------------------------------------------------------

    def color(self, album: Album, settings: Settings, items: Sequence[Item] | None = None) -> None:
        """Color photographs, and some seconds of films, as ``settings`` say.

        What was asked of these files before, and has not begun, is dropped; what is done already is not done again.

        Args:
            album: of the files.
            settings: what the controls say.
            items: of the album; None is all.

        Raises:
            UserError: the settings are none.
        """
        recipes = {
            kind: settings.recipes(self.models, self.device, kind, album.mask) for kind in ("photograph", "film")
        }
        with self._lock:
            album.settings = settings
            for item in list(album.items.values()) if items is None else items:
                kind: Kind = "preview" if item.is_film else "photograph"
                tasks = [self._task(item, kind, recipe) for recipe in recipes["film" if item.is_film else "photograph"]]
                others = [task for task in item.current if task not in tasks]
                whole = [task for task in others if task.kind == "film"]
                earlier = [task for task in others if task.kind == "preview" and task.status is Status.DONE]
                for task in others:
                    if task not in whole:
                        self.cancel(task)
                item.current = [*whole, *tasks, *earlier[: max(MOST_PREVIEWS - len(tasks), 0)]]
                for task in tasks:
                    self._begin(task)
                item.touch()

    def color_new(self, album: Album, settings: Settings) -> None:
        """Color the files of an album that were not yet.

        Raises:
            UserError: as :meth:`color`.
        """
        self.color(album, settings, [item for item in album.items.values() if not item.current])

    def color_whole(self, preview: Task) -> None:
        """Color the whole film of a preview, in the same way."""
        with self._lock:
            item = preview.item
            task = self._task(item, "film", replace(preview.recipe, part=None))
            if task not in item.current:
                item.current = [task, *item.current]
            self._begin(task)
            item.touch()

    def cancel(self, task: Task) -> None:
        """End a task; of a film, what is done stays, and :meth:`resume` goes on from there."""
        with self._lock:
            if task.status is Status.WAITING:
                task.status = Status.CANCELED
                self._lanes[task.kind].drop(task)
            elif task.status is Status.RUNNING:
                task.stop()
            task.item.touch()

    def resume(self, task: Task) -> None:
        """Go on with a task that was canceled or failed."""
        with self._lock:
            self._begin(task)
            task.item.touch()

    def close(self) -> None:
        """End all tasks, and the threads."""
        with self._lock:
            tasks = [task for album in self._albums.values() for task in album.tasks]
        for task in tasks:
            self.cancel(task)
        for lane in self._lanes.values():
            lane.close()

    def _begin(self, task: Task) -> None:
        """Do a task, unless it is done already or under way."""
        if task.status in (Status.FAILED, Status.CANCELED):
            task.again()
        self._lanes[task.kind].put(task)

    def _task(self, item: Item, kind: Kind, recipe: Recipe) -> Task:
        """The task of ``item`` for a recipe, the same each time."""
        if (kind, recipe) not in item.tasks:
            key = secrets.token_hex(8)
            item.tasks[kind, recipe] = Task(key, item, recipe, kind, item.path.parents[1] / key)
        return item.tasks[kind, recipe]

    def _do(self, task: Task) -> None:
        """Do a task, in the thread of its lane; whatever goes wrong is said of the task."""
        with self._lock:
            if task.status is not Status.WAITING:
                return
            task.status = Status.RUNNING
            task.item.touch()
        try:
            self._color(task)
        except Canceled:
            outcome = Status.CANCELED
        except Exception as error:
            outcome, task.message = Status.FAILED, _reason(error, task)
        else:
            outcome = Status.DONE
        with self._lock:
            task.status, task.doing = outcome, ""
            task.item.touch()
            if task.item.id not in task.item.album.items:
                shutil.rmtree(task.item.path.parents[1], ignore_errors=True)

    def _color(self, task: Task) -> None:
        item = task.item
        if not item.is_film and item.shown is None:
            item.shown = show_photograph(item.path, item.path.parents[1] / "before.jpg")
        checkpoints = task.recipe.checkpoints(self.models, lambda done: _fetched(task, done))
        task.doing = ""
        task.folder.mkdir(exist_ok=True)
        remarks: list[str] = []
        options, output = replace(task.recipe.options, overwrite=True), str(task.folder)
        if task.recipe.part is not None:
            options, output = _of_part(item.path, task.recipe.part, options), str(task.folder / PREVIEW)
        reporter = _Reporter(task, remarks)
        report = colorize_files(checkpoints, [str(item.path)], output, options, reporter, self._loaded)
        task.result, task.remarks = report.jobs[0].target, [_plain(remark, task) for remark in remarks]
        if task.kind == "photograph":
            task.shown = show_photograph(task.result, task.folder / "shown.jpg")
        elif task.result.suffix in PLAYED:
            task.shown = task.result


class _Reporter:
    """Hands progress and remarks to a task; see :class:`nogan.colorize.batch.Reporter`."""

    def __init__(self, task: Task, remarks: list[str]) -> None:
        self._task, self._remarks = task, remarks

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Advance]:
        """Progress of a film, step by step; a photograph takes a moment and has none."""
        if self._task.item.is_film:
            self._task.begin(name.removeprefix(self._task.item.name).lstrip(": "))
        yield self._task.advance if self._task.item.is_film else (lambda done, total: None)

    def remark(self, text: str) -> None:
        """A remark."""
        self._remarks.append(text)

    def finished(self, report: FilmReport) -> None:
        """The remarks of a film."""
        self._remarks.extend(report.remarks)


class _Lane:
    """A thread that does tasks one after the other."""

    def __init__(self, name: str, do: Callable[[Task], None]) -> None:
        self._do, self._waiting, self._closed = do, deque[Task](), False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"nogan app: {name}", daemon=True)
        self._thread.start()

    def put(self, task: Task) -> None:
        """Do ``task`` behind the others, if it waits and is not there yet."""
        with self._changed:
            if task.status is Status.WAITING and task not in self._waiting:
                self._waiting.append(task)
                self._changed.notify()

    def drop(self, task: Task) -> None:
        """Do not do ``task``."""
        with self._changed, contextlib.suppress(ValueError):
            self._waiting.remove(task)

    def close(self) -> None:
        """End when the task in work is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                task = self._waiting.popleft()
            self._do(task)


def new_key() -> str:
    """The id of a new album, which nobody can guess."""
    return secrets.token_hex(16)


def safe_name(name: str) -> str:
    """The name of an uploaded file as one of this machine may have: no folders, nothing that is not shown."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(character for character in last if character.isprintable() and character not in '<>:"|?*').strip()
    path = Path(shown.lstrip(".") or "file")
    return path.stem[:LONGEST_NAME] + path.suffix[:12]


def _of_part(film: Path, part: Part, options: BatchOptions) -> BatchOptions:
    """The options for a part of a film, or of what is to be colored of it.

    Original and result beside each other, without sound, and encoded so that a browser plays it.
    """
    found = Film.open(film)
    first = options.start or Fraction(0)
    length, seconds = (found.frames or 0) / found.rate, Fraction(part.seconds)
    last = length if options.end is None else options.end
    start = max(min(first + Fraction(part.at) * (last - first), last - seconds), first)
    end = last if last and start + seconds >= last else start + seconds
    usual = {name: getattr(BatchOptions(), name) for name in ("codec", "crf", "preset", "pix_fmt", "encoder_options")}
    whole = options.end is None and end == length
    return replace(options, start=start or None, end=None if whole else end, compare=True, audio="none", **usual)


def _fetched(task: Task, done: int) -> None:
    task.doing = f"fetching the model, {in_words(done)}"
    task.advance(done, None)


def _reason(error: Exception, task: Task) -> str:
    """One line for a person; a defect of this program goes to the log, too."""
    known = explained(error)
    if known is None:
        log.error("%s", task.item.path, exc_info=error)
        return f"{task.item.name}: {type(error).__name__}: {' '.join(str(error).split())}"
    return _plain(" ".join(str(known).split()), task)


def _plain(text: str, task: Task) -> str:
    """``text`` with the names of files alone, not where this machine keeps them."""
    for folder in (task.item.path.parent, task.folder):
        text = text.replace(f"{folder}/", "").replace(str(folder), task.item.name)
    return text
