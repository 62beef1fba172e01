"""A folder is somebody's property: a run writes into a new one, an empty one or its own."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from nogan.common.errors import Occupied
from nogan.training.compose import Folders
from nogan.training.compose.messages import Refusal
from nogan.training.run import train
from tests.conftest import SMALLEST, train_py

QUIET = Console(quiet=True)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("mark", [".checkpointed", "records.json"])
def test_a_run_whose_checkpoints_were_removed_does_not_begin_again(smallest, finished_run, tmp_path, mark):
    """Neither one that has ended, nor one that has not."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    for other in {".checkpointed", "records.json"} - {mark}:
        (run / other).unlink()
    before = files_in(run)
    for resume in (f"resume={run}", "resume=null"):
        with pytest.raises(Occupied, match=r"checkpoints are gone.*model\.init=|holds a run already"):
            train(smallest("nogan.repeats=1", resume), run, console=QUIET)
    assert files_in(run) == before


@pytest.mark.parametrize("name", ["config.yaml", "photo.jpg", ".hidden", "generator.safetensors"])
def test_a_folder_with_files_of_its_own_is_left_alone(smallest, tmp_path, name):
    (tmp_path / name).write_text("mine: 1")
    with pytest.raises(Occupied, match=rf"holds files already \({name}\).*expected a new or an empty folder"):
        train(smallest(), tmp_path, console=QUIET)


def test_a_folder_given_on_the_command_line_is_looked_at_before_anything_is_written(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "config.yaml").write_text("mine: 1")
    said = train_py(tmp_path, *SMALLEST, "hydra.run.dir=here")
    assert said.returncode == 1 and said.stderr.startswith("train.py: here holds files already")
    assert said.stderr.count("\n") == 1 and list(files_in(tmp_path / "here")) == ["config.yaml"]


def settings(**values: object) -> object:
    hydra = {"run": {"dir": values.pop("dir")}, "overrides": {"hydra": values.pop("hydra", [])}}
    return OmegaConf.create({"dry_run": False, "resume": None, "hydra": hydra, **values})


def test_a_run_goes_on_in_no_other_folder(finished_run, tmp_path):
    other = str(tmp_path / "B")
    config = settings(dir=other, resume=str(finished_run), hydra=[f"hydra.run.dir={other}"])
    with pytest.raises(Refusal, match=r"resume=.* with hydra\.run\.dir=.*B: a run goes on in its own folder"):
        Folders().on_run_start(config)
    assert not Path(other).exists()


def test_runs_that_begin_in_one_second_have_a_folder_each(tmp_path):
    found = []
    for _ in range(4):
        config = settings(dir=str(tmp_path / "name" / "2026-01-01_12-00-00"))
        Folders().on_run_start(config)
        found.append(Path(config.hydra.run.dir).name)
    assert [name.removeprefix("2026-01-01_12-00-00") for name in found] == ["", "-2", "-3", "-4"]
