"""The notebooks run after the README's plain install: they import nothing that only an extra brings."""

import ast
import json
import re
import sys
import tomllib
from importlib import metadata

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KERNEL = {"ipython"}  # what runs a notebook


def imported(notebook: dict) -> set[str]:
    """Top-level names of all modules that the cells import; magics are passed over."""
    names = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line.rstrip("\n")) for line in cell["source"]]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_imports_what_the_plain_install_brings(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plain = {re.split(r"[<>=!~\[; ]", line)[0].lower().replace("_", "-") for line in project["dependencies"]} | KERNEL
    distributions = metadata.packages_distributions()
    for name in imported(json.loads(path.read_text())) - set(sys.stdlib_module_names) - {"nogan"}:
        brought_by = {each.lower().replace("_", "-") for each in distributions.get(name, [])}
        assert brought_by & plain, f"{name} comes with {brought_by}, which the plain install does not bring"


def test_there_are_notebooks_and_one_shows_photographs():
    assert [path.stem for path in NOTEBOOKS] == ["colorize", "train"]
    assert len(list((ROOT / "notebooks" / "photographs").glob("*.jpg"))) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_what_is_committed_of_a_notebook_is_small(path):
    assert path.stat().st_size < 100_000
