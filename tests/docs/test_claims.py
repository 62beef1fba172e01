"""What the documents name exists: commands and their flags, config keys, files, links, metrics and messages."""

import ast
import contextlib
import importlib
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nogan import __version__
from nogan.cli import main as nogan
from nogan.commands import COMMANDS
from nogan.commands.colorize import parse_arguments
from nogan.evaluation.metrics import HeldOutMetrics
from nogan.inflection import DETECTORS
from nogan.plan.config import RunConfig
from tests.docs.documents import (
    CHANGES,
    FENCE,
    GUIDES,
    RECORDS,
    ROOT,
    TESTED_APART,
    Block,
    Command,
    anchors,
    blocks,
    commands,
    inline,
    prose,
)

PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]{2,}\b|\bDATE\b|…")


# --- commands ---------------------------------------------------------------------------------------------------------


def words_of(*programs: tuple[str, ...]) -> list[Command]:
    """The commands that begin with one of ``programs``, without that beginning."""
    documents = [document for document in (*GUIDES, *RECORDS) if document != TESTED_APART]
    return [
        Command(command.where, command.words[len(start) :])
        for command in commands(documents)
        for start in programs
        if command.words[: len(start)] == start
    ]


@pytest.mark.parametrize("command", words_of(("python", "train.py"), ("nogan", "train")), ids=str)
def test_train_commands_compose(command: Command, configure: Callable[..., RunConfig]) -> None:
    overrides = []
    for word in command.words:
        key, equals, value = word.partition("=")
        if word.startswith(("-", "hydra")) or key == "sweep" or word in ("…", "..."):
            continue
        assert equals, word
        if PLACEHOLDER.fullmatch(value) and key in ("model", "experiment", "data", "trainer"):
            continue
        if "..." not in value and not value.startswith(("[", "{")):
            value = value.split(",")[0]  # a sweep: each value is like the first
        overrides.append(f"{key}={value}")
    configure(*overrides)


@pytest.mark.parametrize(
    "command", words_of(("python", "colorize.py"), ("colorize.py",), ("nogan", "colorize")), ids=str
)
def test_colorize_commands_parse(command: Command) -> None:
    if {"--help"} & set(command.words) or not {"-o", "--output"} & set(command.words):
        return
    parse_arguments(["IN" if word == "INPUT..." else word for word in command.words])


@pytest.mark.parametrize("command", words_of(("nogan",)), ids=str)
def test_nogan_commands_exist(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    name, *arguments = command.words
    if name in ("--help", "--version"):
        return
    assert name in COMMANDS
    if name in ("train", "colorize"):
        return
    with contextlib.suppress(SystemExit):
        nogan([name, *[word for word in arguments if re.fullmatch(r"[a-z]+", word)][:1], "--help"])
    usage = capsys.readouterr().out
    for flag in (word for word in arguments if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", usage), f"{flag} in {usage}"


@pytest.mark.parametrize("command", words_of(("python",)), ids=str)
def test_scripts_and_their_flags_exist(command: Command) -> None:
    script, *arguments = command.words
    if script == "-m":
        assert arguments[0] == "venv"
        return
    source = ROOT / script
    assert source.is_file()
    if source.parent.name == "benchmarks":
        for flag in (word for word in arguments if word.startswith("--")):
            assert f'"{flag}"' in source.read_text(), flag


@pytest.mark.parametrize("command", words_of(("pip", "install"), ("pytest",)), ids=str)
def test_extras_and_test_folders_exist(command: Command) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in command.words:
        if match := re.fullmatch(r"\.\[(.+)\]", word):
            assert set(match[1].split(",")) <= set(extras)
        elif "/" in word and not word.startswith("https://"):
            assert (ROOT / word).exists()


# --- what stands in backticks, and links ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(configure: Callable[..., RunConfig]) -> set[str]:
    """Every key of the config, of any model."""

    def walk(values: object, path: str) -> Iterator[str]:
        yield path
        for name, value in values.items() if isinstance(values, dict) else ():
            yield from walk(value, f"{path}.{name}" if path else name)

    everything = ("trainer=ddp", "logger=wandb")
    configs = [configure(f"model={model}", *everything) for model in ("tiny", "artistic", "stable", "video")]
    found = {key for config in configs for key in walk(config.model_dump(), "")}
    found |= {f"nogan.inflection.{name}.{key}" for name in DETECTORS for key in DETECTORS[name].Settings.model_fields}
    return found


def is_module_or_name(dotted: str) -> bool:
    """Whether ``nogan.x.y`` can be imported, or is a name in a module."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for name in parts[end:]:
            if not hasattr(value, name):
                return False
            value = getattr(value, name)
        return True
    return False


SECTIONS = "model|data|trainer|logger|nogan|probe|loss"


@pytest.mark.parametrize("document", [*GUIDES, *RECORDS], ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_backticks_exist(document: Path, keys: set[str]) -> None:
    if document == TESTED_APART:  # names keys of its own examples
        return
    missing = []
    for text in inline(document):
        dotted = re.match(rf"(?:{SECTIONS})(?:\.[\w@]+)+", text)
        ends = text[dotted.end() : dotted.end() + 1] if dotted else ""
        if dotted and ends in ("", "=", ":", "(", " ") and not text.endswith((".pth", ".onnx", ".json", ".yaml")):
            name = dotted[0]
            if name not in keys and not is_module_or_name(name):
                missing.append(text)
    assert not missing


PATHS = re.compile(r"(?:[\w@.\-*]+/)+[\w@.\-*]*|[\w\-]+\.(?:py|md|toml|yml|cff)")
SHIPPED = ("src/", "tests/", "conf/", "docs/", "benchmarks/", "experiments/", "notebooks/", ".ci/", ".github/")


@pytest.mark.parametrize("document", [*GUIDES, *RECORDS], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_in_backticks_exist(document: Path) -> None:
    names = {text for text in inline(document) if PATHS.fullmatch(text) and not PLACEHOLDER.search(text)}
    packages = tuple(f"{path.name}/" for path in (ROOT / "src/nogan").iterdir() if path.is_dir())
    missing = [
        name
        for name in names
        if (name.startswith((*SHIPPED, *packages)) or re.search(r"\.(py|md|toml|yml|cff)$", name))
        and not name.startswith(("runs/", "data/")) | (name.rstrip("/") in ("snapshots", "samples"))
        and not any(list(base.glob(name.rstrip("/"))) for base in (ROOT, ROOT / "src/nogan"))
    ]
    assert not missing


def test_functions_and_classes_of_the_architecture_exist() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src/nogan").rglob("*.py"))
    for text in inline(ROOT / "docs/architecture.md"):
        if match := re.fullmatch(r"(?:([A-Z]\w+)\.)?(\w+)\(\)", text):
            assert f"def {match[2]}(" in source and (not match[1] or f"class {match[1]}" in source), text
        elif re.fullmatch(r"[A-Z]\w+[a-z]", text) and text != "Trainer":
            assert f"class {text}" in source, text


@pytest.mark.parametrize("document", [*GUIDES, *RECORDS, CHANGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name) if name else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("document", [*GUIDES, *RECORDS], ids=lambda path: str(path.relative_to(ROOT)))
def test_metrics_are_those_that_are_logged(document: Path, metrics: set[str]) -> None:
    named = {text for text in inline(document) if re.fullmatch(r"(val|gan|critic|generator|lr)/[a-z_]+", text)}
    assert not {name for name in named if name.partition("/")[2] not in metrics}


@pytest.fixture(scope="module")
def metrics() -> set[str]:
    """Names that the program logs, without their prefix."""
    import torch

    measured = HeldOutMetrics()
    measured.update(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    source = "".join(path.read_text() for path in (ROOT / "src/nogan/training").rglob("*.py"))
    return (
        set(measured.compute()) | set(re.findall(r"[\"/`]([a-z_]+)\"", source)) | set(re.findall(r"/(val_\w+)", source))
    )


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """Every string of the sources, with … where a value goes."""

    def text(node: ast.expr) -> str:
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)

    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / "src/nogan").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return [
        re.sub(r"%s|%d", "…", text(node))
        for node in nodes
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]


@pytest.mark.parametrize("block", blocks(GUIDES, "message"), ids=str)
def test_messages_are_those_of_the_program(block: Block, messages: list[str]) -> None:
    def normal(message: str) -> str:
        return re.sub(r"…+", "…", message)

    wanted = normal(block.text.strip())
    assert any(wanted in normal(message) for message in messages)


def test_the_citation_names_this_version() -> None:
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_fence_is_closed() -> None:
    for document in [*GUIDES, *RECORDS, CHANGES]:
        assert "```" not in FENCE.sub("", document.read_text()), document
