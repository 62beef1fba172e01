"""`nogan COMMAND`: what it lists, how fast, and how every command says what is wrong."""

import contextlib
import importlib
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from nogan import __version__
from nogan.cli import main
from nogan.commands import COMMANDS
from nogan.common.errors import Interrupted, UserError
from nogan.inflection import DETECTORS
from tests.conftest import ROOT

HEAVY = ("torch", "lightning", "pytorch_lightning", "lightning_fabric")


def python(*arguments: str) -> tuple[subprocess.CompletedProcess, float]:
    """Run Python with our sources; also the processor time that it took, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ran = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ran, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imported(statement: str) -> set[str]:
    """The top-level packages that are loaded after ``statement``."""
    ran, _ = python("-c", f"{statement}\nimport sys; print('loaded:', *{{name.split('.')[0] for name in sys.modules}})")
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.rpartition("loaded:")[2].split())


def test_help_lists_every_command_in_a_line(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.splitlines()
    for name, line in COMMANDS.items():
        assert f"  {name:<11}{line}" in listed
    assert all(len(line) <= 88 for line in listed)


def test_every_command_is_a_file_and_every_file_a_command():
    files = {path.stem for path in (ROOT / "src" / "nogan" / "commands").glob("*.py")}
    assert files - {"__init__"} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    try:
        code = main([name, "--help"])
    except SystemExit as stopped:  # argparse's
        code = stopped.code
    assert not code and capsys.readouterr().out.startswith(f"usage: nogan {name} ")


def test_the_help_of_train_lists_what_is_chosen_by_name(capsys):
    assert main(["train", "--help"]) == 0
    listed = dict(re.findall(r"^  (\w+)= +(.*)$", capsys.readouterr().out, re.MULTILINE))
    assert listed["model"].split(" | ") == sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
    assert "quickstart" in listed["experiment"].split(" | ") and "sweep.wandb" not in listed["experiment"]
    assert set(listed["inflection"].split(" | ")) == set(DETECTORS)


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_command_is_one_line_with_the_nearest_name(capsys):
    assert main(["colourize", "a.jpg"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nogan: colourize is not a command: did you mean colorize? expected one of train, ")
    assert error.count("\n") == 1


def test_no_command_is_a_wrong_command_line(capsys):
    assert main([]) == 2
    assert "usage: nogan COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_a_wrong_flag_is_one_line_and_code_2(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--no-such-flag"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"nogan {name}: ") and error.endswith("(--help shows how)\n") and error.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("x: not this"), 1, "nogan {}: x: not this"),
        (PermissionError(13, "Permission denied", "/x"), 1, "nogan {}: /x: Permission denied"),
        (KeyboardInterrupt(), 130, "nogan {}: interrupted"),
        (Interrupted(15), 143, ""),
    ],
)
def test_how_a_command_ends_is_said_alike_everywhere(name, error, code, said, monkeypatch, capsys):
    def fail(argv: list[str]) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module(f"nogan.commands.{name}"), "main", fail)
    assert main([name]) == code
    assert capsys.readouterr().err.startswith(said.format(name))


def test_a_defect_of_the_program_keeps_its_traceback(monkeypatch):
    def fail(argv: list[str]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(importlib.import_module("nogan.commands.report"), "main", fail)
    with pytest.raises(ZeroDivisionError):
        main(["report"])


def test_messages_name_what_was_typed(tmp_path):
    run = str(tmp_path / "none")
    for typed, said in (("-m nogan.cli train", "nogan train"), (str(ROOT / "train.py"), "train.py")):
        ran, _ = python(*typed.split(), f"resume={run}")
        assert ran.returncode == 1 and ran.stderr.startswith(f"{said}: resume={run}: expected a run folder")


def test_the_package_and_its_help_load_nothing_heavy():
    assert not imported("import nogan") & {*HEAVY, "numpy", "hydra", "pydantic", "rich"}
    assert not imported("from nogan.cli import main; main(['--help'])") & {*HEAVY, "numpy", "hydra", "pydantic", "rich"}


@pytest.mark.parametrize("choice", ["model=artistic", "experiment=quickstart", "--help"])
def test_a_plan_loads_nothing_heavy(choice):
    command = ["train", choice, "dry_run=true"]
    loaded = imported(f"from nogan.cli import main; assert main({command}) == 0")
    assert not loaded & {*HEAVY, "wandb", "datasets", "matplotlib", "av", "cv2", "optuna", "submitit", "joblib"}


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["--help"], 0.5),
        (["train", "--help"], 3.0),
        (["train", "model=artistic", "dry_run=true"], 3.0),
        (["train", "experiment=quickstart", "dry_run=true"], 3.0),
    ],
)
def test_they_start_at_once(arguments, seconds):
    took = min(python("-m", "nogan.cli", *arguments)[1] for _ in range(2))  # beside other load, the better of two
    assert took < seconds


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--experiment", "quickstart"], "--experiment: settings are written without dashes: experiment=quickstart"),
        (["--resume=outputs/a"], "--resume=outputs/a: settings are written without dashes: resume=outputs/a"),
        (["experiment"], "experiment: expected settings such as experiment=quickstart; nogan train --help lists them"),
        (["=3"], "=3: expected settings such as experiment=quickstart; nogan train --help lists them"),
        (["--cfg"], "argument --cfg/-c: expected one argument (--help shows how)"),
        (["-q"], "unrecognized arguments: -q (--help shows how)"),
    ],
)
def test_a_slip_on_the_command_line_of_train_is_one_line(arguments, said, capsys):
    with contextlib.suppress(SystemExit):
        assert main(["train", *arguments]) == 1
    assert capsys.readouterr().err == f"nogan train: {said}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["colorize", "--help"], ["train", "--help"]])
def test_a_reader_that_stops_reading_gets_no_traceback(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "nogan.cli", *arguments]
    ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment, text=True, timeout=100)
    os.close(writing)
    assert ran.stderr == ""


def test_the_root_scripts_are_a_screenful():
    for name in ("train.py", "colorize.py"):
        assert len(Path(ROOT / name).read_text().splitlines()) <= 24
