"""What ``nogan evaluate`` finds, and the files that it is kept in: ``results.json`` and ``images.csv``.

``results.json`` has everything but the values of single images, which are in ``images.csv``; both are described in
``docs/evaluating.md``. Whatever looks at an evaluation later, such as its page, goes through :func:`read_results`.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.evaluation.measures import Measure

FORMAT = "nogan-evaluation"
VERSION = 1

Kind = Literal["gray", "truth", "model", "pictures", "published"]
Value = float | None


@dataclass(frozen=True)
class Estimate:
    """A measure's value over all images.

    Attributes:
        value: None where it could not be measured.
        low: lower end of the 95 % bootstrap interval over the images; None where there is none.
        high: its upper end.
        images: how many images it stands on.
    """

    value: Value
    low: Value = None
    high: Value = None
    images: int = 0


@dataclass(frozen=True)
class Entry:
    """A row of the tables: a colorizer, or one of the two that every table has, gray and truth.

    Attributes:
        name: unique.
        kind: ``gray``, ``truth``, ``model`` (a checkpoint or a blend), ``pictures`` (a folder that another program
            colorized) or ``published`` (figures of a paper, without pictures).
        source: where it comes from: a path, a blend, or a citation.
        folder: its folder below ``pictures/``; None where no pictures are kept.
        group: what ``--group-by`` puts it into.
        render_factor: of a model: a number, or ``auto``.
        note: what a reader must know to compare it.
        aggregates: by the key of the measure.
    """

    name: str
    kind: Kind
    source: str = ""
    folder: str | None = None
    group: str | None = None
    render_factor: int | str | None = None
    note: str = ""
    aggregates: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Two colorizers on the same images, by one measure.

    Attributes:
        measure: its key.
        a: name of the first.
        b: name of the second.
        difference: mean over the images of B's value minus A's.
        low: lower end of its 95 % bootstrap interval.
        high: upper end.
        a_better: on how many images A is better.
        b_better: on how many B is.
        ties: on how many neither is.
        p: of the two-sided sign test, in which ties do not count.
        verdict: in words: which is better, or that they cannot be told apart.
    """

    measure: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    a_better: int
    b_better: int
    ties: int
    p: float
    verdict: str


@dataclass(frozen=True)
class GroupEstimate:
    """Several runs that differ by their seed: mean and standard deviation (of the sample) of a measure over them."""

    mean: float
    deviation: Value
    runs: int


@dataclass(frozen=True)
class Group:
    """Colorizers that ``--group-by`` puts together."""

    name: str
    members: list[str]
    aggregates: dict[str, GroupEstimate]


@dataclass(frozen=True)
class Missing:
    """A measure that was not taken, why, and what to do about it."""

    measure: str
    reason: str


@dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        protocol: its name.
        settings: the protocol said in full, a sentence for each key: size, fit, codec, luma, Inception, images, …
        data: where the photographs are from.
        images: their names, in order.
        measures: in the order of the tables.
        entries: gray first, truth last of those measured, then the published ones.
        values: of single images: entry, then measure, then a value for each of ``images`` (None: not measured).
        comparisons: of all pairs of colorizers, gray among them, by every measure of single images of which lower,
            higher or some values are better.
        groups: of ``--group-by``; else empty.
        missing: measures that were not taken.
        nogan: the version that measured.
    """

    protocol: str
    settings: dict[str, str]
    data: str
    images: list[str]
    measures: list[Measure]
    entries: list[Entry]
    values: dict[str, dict[str, list[Value]]]
    comparisons: list[Comparison] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    nogan: str = ""

    @property
    def measured(self) -> list[Entry]:
        """The entries that have pictures of their own: all but the published ones."""
        return [entry for entry in self.entries if entry.kind != "published"]


class ResultsFolder:
    """The folder of an evaluation (``-o``): the one place that spells its file names.

    =====================  =============================================================================================
    ``results.json``       everything but the values of single images
    ``images.csv``         a line for each image
    ``table.md``           the table of a paper, and ``table.tex`` where asked for
    ``evaluation.html``    all of it to look at
    ``pictures/NAME-…/``   what each entry made of each photograph, reduced to be looked at
    ``measured/``          what has been measured so far, from which a cut evaluation goes on
    =====================  =============================================================================================
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results, self.images = path / "results.json", path / "images.csv"
        self.markdown, self.latex, self.page = path / "table.md", path / "table.tex", path / "evaluation.html"
        self.pictures, self.measured = path / "pictures", path / "measured"

    def picture(self, entry: Entry, image: str) -> Path | None:
        """The picture that ``entry`` made of the photograph called ``image``; None where it has no pictures."""
        return None if entry.folder is None else self.pictures / entry.folder / f"{image}.jpg"


def write_results(results: Results, folder: ResultsFolder) -> None:
    """Write ``results.json`` and ``images.csv``, each whole or not at all."""
    content = {"format": FORMAT, "version": VERSION, **asdict(results)}
    del content["values"]
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder.results, lambda path: path.write_text(text, encoding="utf-8"))
    write_atomically(folder.images, lambda path: _write_images(results, path))


def _write_images(results: Results, path: Path) -> None:
    columns = [(entry, key) for entry, values in results.values.items() for key in values]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(f"{entry}/{key}" for entry, key in columns)])
        for number, image in enumerate(results.images):
            row = (results.values[entry][key][number] for entry, key in columns)
            writer.writerow([image, *("" if value is None else repr(value) for value in row)])


def read_results(path: Path) -> Results:
    """The evaluation in the folder ``path``.

    Raises:
        UserError: there is none, or its files are damaged.
    """
    folder = ResultsFolder(path)
    if not folder.results.is_file():
        raise UserError(f"{path}: no evaluation there (results.json); `nogan evaluate … -o {path}` makes one")
    try:
        content = json.loads(folder.results.read_text(encoding="utf-8"))
        if (content.pop("format"), content.pop("version")) != (FORMAT, VERSION):
            raise ValueError(f"expected {FORMAT} in version {VERSION}")
        return Results(
            **{
                **content,
                "measures": _all(Measure, content["measures"]),
                "entries": [_entry(entry) for entry in content["entries"]],
                "comparisons": _all(Comparison, content["comparisons"]),
                "groups": [_group(group) for group in content["groups"]],
                "missing": _all(Missing, content["missing"]),
            },
            values=_read_images(folder.images, content["images"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: its files are damaged ({error}); measure again into another folder") from error


def _all(kind: type, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [kind(**row) for row in rows]


def _entry(row: dict[str, Any]) -> Entry:
    aggregates = {key: Estimate(**value) for key, value in row.pop("aggregates").items()}
    return Entry(**row, aggregates=aggregates)


def _group(row: dict[str, Any]) -> Group:
    return Group(row["name"], row["members"], {key: GroupEstimate(**v) for key, v in row["aggregates"].items()})


def _read_images(path: Path, images: Sequence[str]) -> dict[str, dict[str, list[Value]]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    if [row[0] for row in rows] != list(images):
        raise ValueError(f"{path.name} and results.json name different images")
    values: dict[str, dict[str, list[Value]]] = {}
    for place, name in enumerate(header[1:], start=1):
        entry, _, key = name.rpartition("/")
        values.setdefault(entry, {})[key] = [float(row[place]) if row[place] else None for row in rows]
    return values


def _finite(value: Any) -> Any:
    """``value`` with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
