"""The documents, and what they claim: snippets, commands, links, paths, messages."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECORDS = [*sorted((ROOT / "experiments").glob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
CHANGES = ROOT / "CHANGELOG.md"  # speaks of what is no more
TESTED_APART = ROOT / "docs/extending.md"  # its examples are files, which a test of their own puts in place

NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str
    is_run: bool

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(documents: list[Path], *languages: str) -> list[Block]:
    """The fenced blocks in ``languages``."""
    found = []
    for document in documents:
        text = document.read_text()
        for match in FENCE.finditer(text):
            if match[1] in languages:
                before = text[: match.start()]
                found.append(Block(document, before.count("\n") + 2, match[1], match[2], not NOT_RUN.search(before)))
    return found


def prose(document: Path) -> str:
    """The text of ``document`` without its fenced blocks."""
    return FENCE.sub("", document.read_text())


def inline(document: Path) -> Iterator[str]:
    """What stands in backticks in the text of ``document``."""
    for match in re.finditer(r"`([^`\n]+)`", prose(document)):
        yield match[1]


class Command(NamedTuple):
    """One simple command of a document."""

    where: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.words)}"


def commands(documents: list[Path]) -> list[Command]:
    """Every simple command in the bash blocks, and those in backticks that begin with one of ours."""
    found: dict[str, Command] = {}
    for document in documents:
        texts = [block.text for block in blocks([document], "bash")]
        texts += [
            text for text in inline(document) if re.match(r"(python \S+\.py|nogan [a-z]+|colorize\.py|pip) ", text)
        ]
        for line in "\n".join(texts).replace("\\\n", " ").splitlines():
            for words in _simple_commands(line):
                command = Command(str(document.relative_to(ROOT)), tuple(words))
                found[str(command)] = command
    return list(found.values())


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;(){}<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;"):
            yield from [words] if words else []
            words = []
        else:
            words.append(word)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    plain = re.sub(r"[`*\[\]]|\]\([^)]*\)", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    """The anchors of all headings of ``document``."""
    return {slug(match[1]) for match in re.finditer(r"^#+ (.+)$", prose(document), re.MULTILINE)}
