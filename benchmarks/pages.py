"""What the scripts here do with what they found."""

from collections.abc import Iterable
from pathlib import Path


def publish(lines: Iterable[str], page: Path | None) -> None:
    """Print ``lines``, and write them into ``page`` if there is one."""
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if page:
        page.write_text(text)


def fill(page: Path, script: str, text: str, title: str) -> None:
    """Put ``text`` into ``page``, between the marks of ``script``; what is written around them stays.

    Without a page, one called ``title`` is begun; without the marks, they come at its end.
    """
    begin, end = f"<!-- {script} writes from here -->", "<!-- to here -->"
    whole = page.read_text() if page.is_file() else f"# {title}\n"
    before, mark, rest = whole.partition(begin)
    _, _, after = rest.partition(end)
    before = before if mark else f"{before}\n"
    page.write_text(f"{before}{begin}\n{text}\n{end}{after or chr(10)}")
