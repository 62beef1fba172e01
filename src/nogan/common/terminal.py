"""Names and paths on a terminal as they are: Rich takes ``[red]`` in a text for markup, and ``:cat:`` for an emoji."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn
    from rich.text import Text


def plain(text: str) -> Text:
    """``text`` letter by letter: for cells, headings and titles of tables, and beside spinners."""
    from rich.text import Text

    return Text(text)


def say(console: Console, line: str, *, highlight: bool | None = None) -> None:
    """Print ``line`` letter by letter, and unbroken, so that a path or a command in it can be copied.

    Args:
        console: where to.
        line: the text.
        highlight: whether numbers and the like get colors; None leaves it to the console.
    """
    console.print(line, soft_wrap=True, markup=False, emoji=False, highlight=highlight)


def name_column() -> TextColumn:
    """The column of a progress bar that has the task's name, letter by letter."""
    from rich.progress import TextColumn

    return TextColumn("{task.description}", markup=False)
