"""Sweeps from the command line: failed trials, the end, studies that continue, and what is refused."""

import html
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file

from nogan.common.errors import UserError
from nogan.plan.config import Trainer
from nogan.report.run_data import repeat_command
from nogan.report.sweep import conclude
from nogan.training.sweeps import check_objective, check_value, refuse_several_devices
from tests.conftest import SMALLEST, train_py

TRIAL = (*SMALLEST, "nogan.repeats=0", "trainer.limit_batches=1")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    """Two equal trials with one between them that fails, from the command line; and its folder."""
    folder = tmp_path_factory.mktemp("sweep")
    axis = "nogan.critic.phases.c1.batch_size=4,400,4"
    ran = train_py(folder, "-m", *TRIAL, "hydra.sweep.dir=sweep", "objective=val/psnr", axis)
    return ran, folder / "sweep"


def test_a_failed_trial_is_listed_and_does_not_end_the_sweep(sweep):
    ran, folder = sweep
    assert ran.returncode == 0, ran.stderr
    assert [(folder / str(number) / "records.json").is_file() for number in range(3)] == [True, False, True]
    listed = re.search(r"^failed: 1: (.*)$", ran.stdout, re.MULTILINE)[1]
    assert "batch of 400" in listed and listed == (folder / "1" / "failed.txt").read_text().strip()
    assert "Traceback" not in ran.stdout + ran.stderr


def test_it_ends_with_a_table_a_page_and_the_best_command(sweep):
    ran, folder = sweep
    end = ran.stdout[ran.stdout.index("3 trials") :]
    head = next(line for line in end.splitlines() if "trial" in line and "PSNR" in line)
    assert head.index("c1.batch_size") < head.index("PSNR") < head.index("colorfulness")  # the objective comes first
    assert (folder / "compare.html").is_file() and "Side by side: sweep/compare.html" in end
    best = next(line for line in end.splitlines() if line.startswith("python train.py"))
    assert "nogan.critic.phases.c1.batch_size=4" in shlex.split(best) and "sweep" not in best
    assert "hydra.mode" not in best  # -m made it a sweep, and is not in the line


def test_jobs_in_one_process_are_isolated(sweep):
    _, folder = sweep
    first, last = (load_file(folder / number / "generator.safetensors") for number in ("0", "2"))
    assert all((first[name] == last[name]).all() for name in first)  # what ran before leaves no trace


def test_a_sweep_into_the_folder_of_another_is_refused_and_changes_nothing_there(sweep):
    _, folder = sweep
    before = {path: path.read_bytes() for path in folder.rglob("*.yaml")}
    axis = "nogan.critic.phases.c1.batch_size=5,6"
    ran = train_py(folder.parent, "-m", *TRIAL, "hydra.sweep.dir=sweep", "objective=val/psnr", axis)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert "sweep/0 holds a run already" in ran.stderr and "hydra.sweep.dir=DIR" in ran.stderr
    assert all(path.read_bytes() == content for path, content in before.items() if path.parent != folder)
    assert not (folder / "0" / "failed.txt").exists()


def test_a_study_goes_on_where_it_stood_and_lists_all_its_trials(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])  # as what is started here
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason='needs the sweep extra: pip install -e ".[sweep]"')
    space = "nogan.gan.lr=tag(log,interval(1e-5,1e-3))"
    study = ("sweep=optuna", "hydra.sweeper.n_trials=1", "objective=val/psnr", *TRIAL, space)
    first = train_py(tmp_path, *study)
    folder = tmp_path / "multirun" / "quickstart" / "study"
    assert first.returncode == 0 and (folder / "study.db").is_file(), first.stderr
    assert "alembic" not in first.stdout + first.stderr
    (trial,) = (records.parent for records in folder.glob("*/records.json"))
    command = repeat_command(trial)
    assert "sweep=" not in command and "nogan.gan.lr=" in command  # copied, it does not go on with the study
    assert command in first.stdout.splitlines() and command in html.unescape((trial / "report.html").read_text())
    # The second start finds the first one's trial, and a trial of its own that fails does not end it.
    second = train_py(tmp_path, *study, "nogan.critic.phases.c1.batch_size=400")
    assert second.returncode == 0, second.stderr
    assert "2 trials" in second.stdout and re.search(r"^failed: .*batch of 400", second.stdout, re.MULTILINE)

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = optuna.load_study(study_name="study", storage=f"sqlite:///{folder / 'study.db'}")
    assert [trial.state.name for trial in known.trials] == ["COMPLETE", "FAIL"]
    assert known.direction.name == "MAXIMIZE"  # PSNR
    (done,) = folder.glob("*/records.json")
    assert known.best_value == pytest.approx(json.loads(done.read_text())[-1]["metrics"]["psnr"])
    assert 1e-5 <= known.best_params["nogan.gan.lr"] <= 1e-3


BROKEN = """
import torch
from torch import nn

class Colorizer(nn.Conv2d):
    def __init__(self, broken):
        super().__init__(3, 3, 1)
        self.broken = broken

    def forward(self, x):
        if self.broken == "always" and not x.is_meta:
            raise RuntimeError("no such\\nlibrary")
        return super().forward(x) * (torch.nan if self.broken == "in measuring" and not self.training else 1)
"""
MINE = """
defaults: [tiny, _self_]
networks:
  generator: {_target_: broken.Colorizer, broken: never}
"""
GRID = (
    "sweep=optuna",
    "hydra/sweeper/sampler=grid",
    "nogan.gan.lr=choice(1e-4)",
    "nogan.gan.weights.feature=choice(1)",
)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [["never", "in measuring", "always"], ["in measuring", "always"]])
def test_in_a_study_a_trial_that_fails_and_one_without_a_value_end_only_themselves(tmp_path, broken):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason='needs the sweep extra: pip install -e ".[sweep]"')
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "mine.yaml").write_text(MINE)
    (tmp_path / "broken.py").write_text(BROKEN)
    axis = "model.networks.generator.broken=choice(" + ",".join(f'"{way}"' for way in broken) + ")"
    study = ("--config-dir", "own", *GRID, "hydra.sweep.dir=study", "objective=val/psnr", *TRIAL, "model=mine", axis)
    ran = train_py(tmp_path, *study)
    reasons = sorted(path.read_text().strip() for path in (tmp_path / "study").glob("*/failed.txt"))
    not_a_number = "val/psnr of this trial is nan: expected a finite number to compare it by"
    assert reasons == ["RuntimeError: no such library", not_a_number]
    assert re.findall("^failed: .*: (.*)$", ran.stdout, re.MULTILINE) == ["no such library"]  # the other ran to its end
    assert ran.returncode == (0 if "never" in broken else 1)
    assert ("Best: trial" if "never" in broken else "No trial was completed with a finite val/psnr") in ran.stdout
    assert "nogan.cli" not in ran.stderr and "compose/program.py" not in ran.stderr, ran.stderr  # no traceback of ours


def test_a_trial_of_an_experiment_that_sweeps_is_repeated_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])  # as what is started here
    settings = [setting for setting in TRIAL if not setting.startswith("experiment=")]
    ran = train_py(tmp_path, "experiment=lr-sweep", *settings, "hydra.sweep.dir=sweep", "nogan.gan.lr=1e-4")
    assert ran.returncode == 0, ran.stderr
    command = repeat_command(tmp_path / "sweep" / "0")
    assert command in ran.stdout.splitlines()
    again = train_py(tmp_path, *shlex.split(command)[2:], "dry_run=true")
    assert again.returncode == 0 and "Plan:" in again.stdout and "Launching" not in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dry_run=true"], "dry_run=true: a study (hydra/sweeper=optuna) learns from results, and plans have none"),
        (["nogan.gan.lr=interval(1e-3,1e-5)"], "hydra.sweeper: The `low` value must be smaller"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: expected an integer of 1 or more"),
    ],
)
def test_a_study_that_cannot_begin_says_why_in_one_line_and_leaves_nothing(tmp_path, arguments, message):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the sweep extra: pip install -e '.[sweep]'")
    ran = train_py(tmp_path, "sweep=optuna", *TRIAL, *arguments)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"train.py: {message}") and len(ran.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_pretrain_once_then_sweep_the_gan(finished_run, tmp_path):
    short = ("nogan.repeats=0", "trainer.limit_batches=1", "hydra.sweep.dir=sweep")
    start = ("start=gan", f"model.init={finished_run}", "nogan.gan.lr=1e-5,2e-5")
    ran = train_py(tmp_path, "-m", *SMALLEST, *short, *start)
    assert ran.returncode == 0, ran.stderr
    records = [json.loads((tmp_path / "sweep" / trial / "records.json").read_text()) for trial in ("0", "1")]
    assert [[phase["name"] for phase in phases] for phases in records] == [["gan@1"], ["gan@1"]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_objective_that_is_no_number_fails_its_trial(value):
    with pytest.raises(UserError, match=f"val/psnr of this trial is {value}"):
        check_value("val/psnr", value)
    check_value("val/psnr", 20.0)
    check_value(None, None)


def test_plans_of_a_sweep_leave_nothing(tmp_path):
    ran = train_py(tmp_path, "-m", *TRIAL, "dry_run=true", "seed=0,1")
    assert ran.returncode == 0 and ran.stdout.count("Plan: ") == 2, ran.stderr
    assert not list(tmp_path.iterdir())


def test_several_devices_in_a_local_sweep_are_refused_at_once(tmp_path):
    ran = train_py(tmp_path, "-m", *TRIAL, "trainer.devices=2", "seed=0,1")
    assert ran.returncode == 1 and ran.stdout == ""
    assert "trainer.devices=2 in a sweep with hydra/launcher=basic" in ran.stderr
    assert "submitit_slurm" in ran.stderr and len(ran.stderr.strip().splitlines()) == 2
    assert not (tmp_path / "multirun").exists()


def test_which_devices_are_refused_where(smallest):
    def refused(launcher: str, **changes) -> bool:
        try:
            refuse_several_devices(Trainer(**{**smallest().trainer.model_dump(), **changes}), launcher)
        except UserError:
            return True
        return False

    assert refused("basic", devices=2) and refused("joblib", devices=2) and refused("joblib", num_nodes=2)
    assert not refused("basic", devices=1) and not refused("basic", devices="auto", accelerator="cpu")
    assert refused("submitit_local", devices=2) and not refused("submitit_slurm", devices=8, num_nodes=2)


def test_an_objective_that_no_run_has_is_refused_before_a_run_is_spent():
    check_objective(None)
    check_objective("val/psnr")
    for wrong in ("psnr", "val/pnsr", "train/loss"):
        with pytest.raises(UserError, match=r"expected one of val/colorfulness_ratio, val/psnr"):
            check_objective(wrong)


def test_a_sweep_of_nothing_has_no_end(tmp_path):
    assert conclude(tmp_path, Console(quiet=True)) is False
