"""Results that survive an interruption, and a markdown document that the program fills in."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nogan.common.errors import UserError


def fingerprint(files: Iterable[Path], settings: object = None) -> str:
    """A short hash of the source files and settings that a result depends on."""
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=6)
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def read_rows(path: Path) -> Iterator[Any]:
    """The rows of a JSON-lines file; incomplete lines are left out."""
    if not path.exists():
        return
    with path.open() as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one row, on a new line even if the last one is incomplete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")


def fill_in(document: Path, block: str, text: str) -> None:
    """Replace the text between ``<!-- block:begin -->`` and ``<!-- block:end -->`` in a markdown document.

    Raises:
        UserError: the document does not exist, or has no such block.
    """
    begin, end = f"<!-- {block}:begin -->", f"<!-- {block}:end -->"
    if not document.exists():
        raise UserError(f"--record {document}: no such file; expected a markdown document with {begin} and {end}.")
    whole = document.read_text()
    if whole.count(begin) != 1 or whole.count(end) != 1:
        raise UserError(f"--record {document}: expected one line {begin} and one line {end} in it.")
    before, after = whole.split(begin)[0], whole.split(end)[1]
    document.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def publish(
    part: str, text: str, draw: Callable[[Path], None], out: Path, record: Path | None, *, suffix: str = ".png"
) -> None:
    """Print the tables of a part of the study, and write them with a picture.

    Args:
        part: its name.
        text: the tables, in markdown.
        draw: draws the picture into a file.
        out: the folder for both.
        record: a markdown document whose block ``part`` the tables go into; the picture goes beside it.
        suffix: of the picture.
    """
    tables, picture = out / f"{part}.md", out / f"{part}{suffix}"
    out.mkdir(parents=True, exist_ok=True)
    tables.write_text(text + "\n")
    draw(picture)
    print(text)
    print(f"\nwritten: {tables}, {picture}")
    if record:
        fill_in(record, part, text)
        beside = record.with_suffix("") / picture.name
        beside.parent.mkdir(parents=True, exist_ok=True)
        if beside.resolve() != picture.resolve():
            beside.write_bytes(picture.read_bytes())
        print(f"recorded: {record}, {beside}")


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A markdown table: the first column aligned to the left, the others to the right."""
    table = [header, ["---"] + ["---:"] * (len(header) - 1), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in table)
