"""Every example of docs/extending.md works, as it stands there: the files are written, the commands given."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nogan.common.errors import UserError
from nogan.networks.generator_file import load_generator
from tests.conftest import ROOT, SMALLEST, train_py

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {title: text for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)}
BLOCK = re.compile(r"^```(\w+)(?: title=\"(\S+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def written(tmp_path) -> Path:
    """A folder with every file of the page."""
    for _, file, text in BLOCK.findall(PAGE):
        if file:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return tmp_path


def command_of(section: str) -> list[str]:
    (command,) = [text for language, _, text in BLOCK.findall(SECTIONS[section]) if language == "bash"]
    name, train, *arguments = shlex.split(command)
    assert (name, train) == ("nogan", "train")
    return arguments


@pytest.fixture
def run(written) -> Callable[..., Path]:
    """Give the command of a section, at the smallest size; returns the run folder."""

    def given(section: str, *further: str) -> Path:
        arguments = [*command_of(section), *further]
        chosen = {argument.split("=")[0] for argument in arguments}
        small = [setting for setting in SMALLEST if setting.split("=")[0] not in chosen]
        folder = next((a.split("=")[1] for a in arguments if a.startswith("hydra.run.dir=")), "run")
        result = train_py(written, *arguments, *small, f"hydra.run.dir={folder}", "nogan.repeats=0")
        assert result.returncode == 0, result.stderr
        return written / folder

    return given


def records_of(folder: Path) -> list[dict]:
    return json.loads((folder / "records.json").read_text())


def test_the_page_lists_its_files(written):
    listed = re.search(r"```text\n(my_conf/.*?)```", PAGE, re.DOTALL)[1]
    found = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert {line.strip().removeprefix("my_conf/") for line in listed.splitlines()} - {""} == {
        name.removeprefix("my_conf/") for name in found
    }


def test_a_model_variant(run):
    folder = run("A model variant")
    assert json.loads((folder / "generator.json").read_text())["network"]["width"] == 0.5
    assert [record["name"] for record in records_of(folder)] == ["g1", "g2", "c1@1", "c2@1", "gan@1"], "tiny's recipe"


def test_a_detector(run):
    folder = run("A detector", "trainer.limit_batches=20", "nogan.gan.lr=1e-3")
    assert records_of(folder)[-1]["verdict"]["detector"] == "steepest"


def test_a_data_source(run):
    assert records_of(run("A data source"))[-1]["metrics"]


def test_a_loss(run):
    rows = (run("A loss") / "metrics.csv").read_text()
    assert "charbonnier" in rows.splitlines()[0] and "pixel" not in rows.splitlines()[0]


def test_a_network_is_trained_exported_and_loaded_by_those_who_know_it(run, written):
    folder = run("A network")
    assert json.loads((folder / "generator.json").read_text())["network"] == {"_target_": "small.Small", "width": 8}
    with pytest.raises(UserError, match=r"its generator is a small\.Small, and code that a file names is not run unas"):
        load_generator(folder)
    (snippet,) = [text for kind, file, text in BLOCK.findall(SECTIONS["A network"]) if kind == "python" and not file]
    result = subprocess.run(
        [sys.executable, "-c", snippet + "assert color.shape == (64, 64, 3)"],
        cwd=written,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    refused = train_py(written, "resume=small_run", "nogan.repeats=1")
    assert refused.returncode == 1 and "if you trust it, add trust=[small]" in refused.stderr
    resumed = train_py(written, "resume=small_run", "nogan.repeats=1", "trust=[small]")
    assert resumed.returncode == 0, resumed.stderr
    assert [record["name"] for record in records_of(folder)][-2:] == ["c2@2", "gan@2"]


def test_a_callback(run, written):
    run("A callback")
    lines = (written / "phases.txt").read_text().splitlines()
    assert len(lines) == 5 and lines[-1] == "cycle 1 · GAN · 32 px: 14 batches so far"


def test_a_logger_beside_another(run, written):
    folder = run("A logger")
    logged = [json.loads(line) for line in (written / "metrics.jsonl").read_text().splitlines()]
    assert logged and (folder / "metrics.csv").is_file()
    assert any("val/psnr" in row for row in logged)
