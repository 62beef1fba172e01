"""The Python of the documents runs as it stands."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nogan.data.scenes import draw_scene
from tests.docs.documents import GUIDES, TESTED_APART, Block, blocks

SNIPPETS = [block for block in blocks(GUIDES, "python") if block.document != TESTED_APART]


@pytest.fixture
def reader(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of someone who has run the quickstart and has an old photograph."""
    (tmp_path / "outputs/quickstart").mkdir(parents=True)
    (tmp_path / "outputs/quickstart/DATE").symlink_to(finished_run)
    Image.fromarray(np.asarray(Image.fromarray(draw_scene(0, 0, 96)).convert("L"))).save(tmp_path / "old.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("snippet", [block for block in SNIPPETS if block.is_run], ids=str)
def test_snippet_runs_as_it_stands(snippet: Block, reader: Path) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(snippet.text, str(snippet), "exec"), {"__name__": "snippet"})
    following = snippet.document.read_text().split(snippet.text, 1)[1]
    if claimed := re.match(r"```\s+This prints\s+```text\n(.*?)```", following, re.DOTALL):
        assert printed.getvalue() == claimed[1]


def test_a_snippet_that_is_not_run_says_why() -> None:
    assert sum(not block.is_run for block in SNIPPETS) <= 2
