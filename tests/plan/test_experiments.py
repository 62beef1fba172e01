"""Every file of experiments/ composes, asks its question, and has a plan."""

import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from nogan.plan import build_plan
from nogan.plan.config import parse_config
from nogan.training.compose import register

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml") if "." not in path.stem)
ON_IMAGENET = ("artistic-imagenet", "stable-imagenet", "video-imagenet")


def test_the_ones_that_are_promised():
    assert {"quickstart", "inflection", "lr-sweep", "photographs", "starter", *ON_IMAGENET} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_composes_and_has_a_plan(configure, name):
    config = configure(f"experiment={name}")
    plan = build_plan(config, config.data.images or 230)  # a folder's photographs are counted when it is opened
    assert config.name == name and [phase for phase in plan if phase.kind == "gan"]
    text = (ROOT / "experiments" / f"{name}.yaml").read_text()
    assert re.match(r"# Question: .+\?\n", text)


@pytest.mark.parametrize("name", ON_IMAGENET)
def test_eight_gpus_see_the_same_images_in_larger_batches(configure, name):
    one = build_plan(configure(f"experiment={name}"))
    eight = build_plan(configure(f"experiment={name}", "trainer=ddp", "recipe_scale=x8"))
    for small, large in zip(one, eight, strict=True):
        assert large.batch_size == 8 * small.batch_size and large.batch_size % 8 == 0
        assert large.images * large.epochs == pytest.approx(small.images * small.epochs, rel=0.01)


@pytest.mark.parametrize("name", ON_IMAGENET)
def test_the_record_shows_the_plan_that_is(configure, name):
    record = (ROOT / "experiments" / f"{name}.md").read_text()
    for overrides in ((), ("trainer=ddp", "recipe_scale=x8")):
        for phase in build_plan(configure(f"experiment={name}", *overrides)):
            row = rf"^\| {re.escape(phase.name)} \| {phase.size} \| {phase.batch_size} \| .*\| {phase.steps:,} \|"
            assert re.search(row, record, re.MULTILINE), f"{phase.name}: {row}"


def test_the_sweep_of_learning_rates_is_a_sweep():
    register(ROOT / "experiments")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=lr-sweep"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN" and cfg.objective == "val/chroma_fd"
    rates = [float(rate) for rate in cfg.hydra.sweeper.params["nogan.gan.lr"].split(",")]
    assert len(rates) >= 3 and rates == sorted(rates)


def test_the_sweep_for_w_and_b_runs_commands_that_compose(configure, tmp_path):
    """The command is put together as W&B's agent does it."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    sweep = yaml.safe_load((ROOT / "experiments" / "sweep.wandb.yaml").read_text())
    assert (ROOT / sweep["program"]).is_file() and sweep["metric"]["name"] == "val/chroma_fd"
    drawn = {name: {"value": (p["min"] + p["max"]) / 2} for name, p in sweep["parameters"].items()}
    words = []
    for chunk in sweep["command"]:
        macro = re.fullmatch(r"\$\{(\w+)\}", chunk)
        if macro and macro[1] in ("env", "program"):
            continue
        words += create_sweep_command_args({"args": drawn})[macro[1]] if macro else [chunk]
    assert words[0] == "python"
    config = configure(*words[1:])
    assert config.nogan.gan.lr == pytest.approx(drawn["nogan.gan.lr"]["value"]) and config.logger.wandb
    parse_config(config.model_dump())
