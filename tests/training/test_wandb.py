"""What W&B is told, read back from its offline files; and that trouble with it neither stops nor slows training."""

import csv
import json
import threading
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image
from rich.console import Console

from nogan.runs.records import PhaseRecord
from nogan.runs.run_folder import RunFolder, mark_sweep
from nogan.training.loggers import MetricsCSV
from nogan.training.loggers import wandb as wandb_run
from nogan.training.loggers.wandb import WandB, logged_in, sync_hint
from nogan.training.run import train
from tests.conftest import SMALLEST, train_py
from tests.training.wandb_file import OfflineRun, ended


@pytest.fixture(scope="module")
def logged(finished_run) -> OfflineRun:
    return ended(finished_run)


@pytest.fixture(scope="module")
def records(finished_run) -> list[dict]:
    return json.loads((finished_run / "records.json").read_text())


def test_names_group_type_and_tags_come_from_the_config(logged, finished_run):
    run = logged.run
    assert (run.project, run.display_name, run.run_group) == ("nogan", "quickstart/run", "quickstart")
    assert run.job_type == "train" and set(run.tags) == {"model:tiny", "data:scenes", "recipe:tiny"}
    assert run.run_id == (finished_run / "wandb-id.txt").read_text()
    assert logged.exit == 0  # and not cut off


def test_the_whole_config_and_the_choices_are_logged(logged, finished_run):
    config = logged.config
    assert config["choices"]["model"] == "tiny" and config["choices"]["experiment"] == "quickstart"
    saved = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert {key: config[key] for key in saved} == saved
    environment = json.loads((finished_run / "environment.json").read_text())
    assert config["packages"] == environment["packages"] and config["git"] == environment["git"]


def test_every_point_of_the_csv_is_there_on_its_axes(logged, finished_run):
    assert logged.axes["val/*"] == logged.axes["generator/*"] == "nogan/images_seen"
    assert logged.axes["gan/*"] == "gan/total_step"
    with (finished_run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("val/psnr", "gan/critic_loss", "generator/loss", "critic/loss"):
        # W&B has one row a step: of two at the same step the later stands, as in the probe after the last batch.
        wanted = {int(row["step"]): float(row[name]) for row in rows if row[name]}
        assert {row["_step"]: row[name] for row in logged.points(name)} == pytest.approx(wanted)
    for row in logged.history:
        assert {"nogan/images_seen", "nogan/cycle", "nogan/phase"} <= row.keys()
    in_gan = [row["gan/total_step"] for row in logged.points("gan/critic_loss")]
    assert in_gan == sorted(set(in_gan))  # goes on over cycles, where gan/step begins again
    assert [row["gan/step"] for row in logged.points("gan/step")].count(1) == 2


def test_the_plan_is_a_table(logged, finished_run):
    path = logged.folder / "files" / logged.points("plan")[0]["plan"]["path"]
    table = json.loads(path.read_text())
    plan = json.loads((finished_run / "plan.json").read_text())
    columns = {name: [row[k] for row in table["data"]] for k, name in enumerate(table["columns"])}
    assert columns["name"] == [phase["name"] for phase in plan] and columns["steps"] == [
        phase["steps"] for phase in plan
    ]


def test_the_grid_is_shown_at_each_snapshot(logged, finished_run):
    shown = {row["_step"]: row["samples"] for row in logged.points("samples")}
    assert {f"step-{step:06d}.png" for step in shown} == {path.name for path in (finished_run / "samples").iterdir()}
    for step, media in shown.items():
        with (
            Image.open(logged.folder / "files" / media["filenames"][0]) as sent,
            Image.open(finished_run / "samples" / f"step-{step:06d}.png") as drawn,
        ):
            assert sent.tobytes() == drawn.tobytes()
    captions = [media["captions"][0] for media in shown.values()]
    assert "cycle 1 · GAN · 32 px, batch 0" in captions and "cycle 2 · GAN · 32 px, batch 2" in captions


def test_inflection_points_are_marked_with_their_pictures(logged, finished_run, records):
    gan = [record for record in records if record["kind"] == "gan"]
    marked = logged.points("inflection/step")
    assert [row["inflection/step"] for row in marked] == [record["verdict"]["inflection"] for record in gan]
    assert [row["inflection/psnr"] for row in marked] == pytest.approx([record["metrics"]["psnr"] for record in gan])
    before = sum(record["steps"] for record in records[: records.index(gan[0])])
    with (
        Image.open(logged.folder / "files" / marked[0]["inflection/samples"]["path"]) as sent,
        Image.open(finished_run / "samples" / f"step-{before + gan[0]['rolled_back_to']:06d}.png") as there,
    ):
        assert sent.tobytes() == there.tobytes()


def test_the_summary_is_of_the_generator_that_remains(logged, records):
    summary, final = logged.summary, records[-1]["metrics"]
    for name in ("psnr", "chroma_fd", "colorfulness_ratio"):
        assert summary[f"val/{name}"] == pytest.approx(final[name])  # gone back to, not the last logged
        assert summary[f"inflection/{name}"] == pytest.approx(final[name])
    every = [row["val/psnr"] for row in logged.points("val/psnr")]
    assert summary["best/psnr"] == pytest.approx(max(every))
    assert every[-1] != pytest.approx(final["psnr"])  # so the first lines mean something


def test_the_final_weights_are_an_artifact_if_asked_for(logged, smallest):
    (model,) = [artifact for artifact in logged.artifacts if artifact.type == "model"]
    assert {entry.path for entry in model.manifest.contents} == {"generator.safetensors", "generator.json"}
    assert not smallest("logger=wandb").logger.wandb.upload_weights


def test_offline_says_how_to_upload(finished_run):
    hint = sync_hint(RunFolder(finished_run))
    assert hint.startswith("W&B is offline; to upload: wandb sync ") and Path(hint.split()[-1]).is_dir()


@pytest.mark.parametrize(("mode", "key", "online"), [("offline", "k" * 40, False), (None, "k" * 40, True)])
def test_it_is_online_with_credentials_only(monkeypatch, mode, key, online):
    for name, value in (("WANDB_MODE", mode), ("WANDB_API_KEY", key)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    assert logged_in() is online


# --- trouble ----------------------------------------------------------------------------------------------------------


class FakeRun:
    """A W&B run whose calls do what a test wants."""

    def __init__(self, on_log=lambda: None) -> None:
        self.on_log, self.logged, self.summary, self.step, self.id = on_log, [], {}, 0, "fake"

    def define_metric(self, *args, **kwargs) -> None:
        pass

    def log(self, point: dict, **kwargs) -> None:
        self.on_log()
        self.logged.append(point)

    def finish(self) -> None:
        pass


@pytest.fixture
def fake_wandb(monkeypatch):
    """``fake_wandb(init)`` puts ``init`` in the place of ``wandb.init``; returns what it was called with."""
    import wandb

    def faked(init) -> list[dict]:
        calls: list[dict] = []

        def call(**settings):
            calls.append(settings)
            return init(settings)

        monkeypatch.setattr(wandb, "init", call)
        return calls

    return faked


def test_a_run_goes_on_without_w_and_b(smallest, tmp_path, fake_wandb, caplog, monkeypatch):
    def refuse(settings):
        raise OSError("the service did not start")

    monkeypatch.setenv("WANDB_MODE", "offline")
    fake_wandb(refuse)
    metrics = train(smallest("logger=wandb", "nogan.repeats=0"), tmp_path / "run", console=Console(quiet=True))
    assert "val/psnr" in metrics
    assert caplog.text.count("W&B: the service did not start. The run goes on without it") == 1


def test_what_fails_later_is_said_once(smallest, tmp_path, fake_wandb, caplog):
    def fail():
        raise RuntimeError("gone")

    run = FakeRun(fail)
    fake_wandb(lambda settings: run)
    logger = WandB(smallest("logger=wandb"), RunFolder(tmp_path), {})
    for step in range(5):
        logger.log_metrics({"val/psnr": 20.0 + step}, step)
    logger.log_image("samples", [Image.new("RGB", (8, 8))], 5)
    logger.close()
    assert logger.trouble == "gone" and caplog.text.count("goes on without it") == 1


def test_out_of_reach_means_offline(smallest, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT", 2)
    logger = WandB(smallest("logger=wandb"), RunFolder(tmp_path), {})
    logger.log_metrics({"val/psnr": 20.0, "nogan/images_seen": 0}, 0)
    logger.close()
    assert logger.trouble is None
    assert caplog.text.count("W&B is out of reach") == 1
    deadline = time.monotonic() + 60  # W&B's own service may still be writing the file
    while not (kept := any(row.get("val/psnr") == 20.0 for row in OfflineRun(tmp_path).history)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert kept  # to upload later


def test_a_slow_w_and_b_does_not_slow_training(smallest, tmp_path, fake_wandb, caplog, monkeypatch):
    monkeypatch.setattr(wandb_run, "PENDING", 50)
    monkeypatch.setattr(wandb_run, "FINISH_TIMEOUT", -4.5)
    answer = threading.Event()
    fake_wandb(lambda settings: FakeRun(answer.wait))  # as slow as can be: it answers when all is over
    logger = WandB(smallest("logger=wandb"), RunFolder(tmp_path), {})
    for step in range(200):
        logger.log_metrics({"val/psnr": 20.0}, step)
    logger.close()
    assert "did not keep up" in caplog.text and "still not done" in caplog.text
    answer.set()


def test_a_trial_is_grouped_with_its_sweep(smallest, tmp_path, fake_wandb):
    calls = fake_wandb(lambda settings: FakeRun())
    trial = tmp_path / "quickstart" / "study" / "3"
    mark_sweep(trial.parent, None)
    trial.mkdir()
    WandB(smallest("logger=wandb"), RunFolder(trial), {"experiment": "quickstart"}).close()
    assert calls[0]["group"] == "quickstart/study" and calls[0]["job_type"] == "trial"
    assert calls[0]["name"] == "quickstart/3"


def test_two_jobs_of_a_sweep_in_one_process_are_two_runs_of_one_group(tmp_path):
    overrides = (*SMALLEST, "logger=wandb", "nogan.repeats=0", "trainer.limit_batches=1", "seed=0,1")
    ran = train_py(tmp_path, "-m", *overrides, "hydra.sweep.dir=sweep", WANDB_MODE="offline")
    assert ran.returncode == 0, ran.stderr
    first, second = (ended(tmp_path / "sweep" / number) for number in "01")
    assert first.run.run_id != second.run.run_id
    assert first.run.run_group == second.run.run_group == f"{tmp_path.name}/sweep"
    assert [run.config["seed"] for run in (first, second)] == [0, 1]
    for run in (first, second):  # each was finished, and has its own points alone
        assert run.exit == 0 and len(run.points("gan/critic_loss")) == 1
        assert run.summary["best/psnr"] == pytest.approx(max(row["val/psnr"] for row in run.points("val/psnr")))


def test_the_best_is_that_of_the_whole_run_also_after_a_resumption(smallest, tmp_path, fake_wandb):
    run = FakeRun()
    fake_wandb(lambda settings: run)
    before, after = MetricsCSV(tmp_path / "metrics.csv"), WandB(smallest("logger=wandb"), RunFolder(tmp_path), {})
    before.log_metrics({"val/psnr": 30.0, "val/chroma_fd": 9.0, "val/colorfulness_ratio": 1.5, "val/change": 1.0}, 1)
    for logger in (before, after):
        logger.log_metrics({"val/psnr": 20.0, "val/chroma_fd": 8.0, "val/colorfulness_ratio": 0.9}, 2)
    after.conclude([PhaseRecord("g1", "generator", 0, seconds=1.0)])
    after.close()
    best = {name: value for name, value in run.summary.items() if name.startswith("best/")}
    assert best == {"best/psnr": 30.0, "best/chroma_fd": 8.0, "best/colorfulness_ratio": 0.9}


def test_an_agent_of_w_and_b_chooses_run_and_project_itself(smallest, tmp_path, fake_wandb, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    calls = fake_wandb(lambda settings: FakeRun())
    WandB(smallest("logger=wandb"), RunFolder(tmp_path), {}).close()
    assert not {"id", "project", "entity"} & calls[0].keys() and calls[0]["job_type"] == "trial"
