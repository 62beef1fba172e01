"""The W&B workspace: that every panel shows what a run logs, found out without a network."""

import json
import re

import pytest

from nogan.cli import main
from nogan.common.errors import UserError
from nogan.evaluation.measures import MEASURES
from nogan.training.callbacks.telemetry import __doc__ as telemetry
from nogan.training.loggers.wandb import AXES

pytest.importorskip("wandb_workspaces", reason='needs the dashboard extra: pip install -e ".[dashboard]"')


@pytest.fixture
def panels(capsys, monkeypatch) -> list[dict]:
    """Every panel of the definition that would be sent."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # whoever asks the network is refused
    assert main(["dashboard", "team/nogan", "--dry-run"]) == 0
    spec = json.loads(capsys.readouterr().out)
    return [panel for section in spec["section"]["panelBankConfig"]["sections"] for panel in section["panels"]]


def configs(panels: list[dict], kind: str) -> list[dict]:
    return [panel["config"] for panel in panels if panel["viewType"] == kind]


def test_it_has_what_a_researcher_asks_for(panels):
    scatter = {(panel["xAxis"], panel["yAxis"]) for panel in configs(panels, "Scatter Plot")}
    assert ("summary:val/psnr", "summary:val/colorfulness_ratio") in scatter
    assert ("config:nogan.value.gan.lr", "summary:inflection/step") in scatter
    grid = next(panel for panel in configs(panels, "Media Browser") if panel["mediaKeys"] == ["samples"])
    assert grid["gridSettings"] == {"xAxis": "step", "yAxis": "run"}
    assert {panel["targetKey"] for panel in configs(panels, "Parameter Importance")} >= {"val/chroma_fd"}
    assert configs(panels, "Run Comparer")[0]["diffOnly"] is True


def test_every_line_shows_a_metric_of_a_run_over_its_axis(panels):
    lines = configs(panels, "Run History Line Plot")
    assert len(lines) > 10
    for line in lines:
        for metric in line["metrics"]:
            group, name = metric.split("/")
            known = (
                name.removesuffix("_truth") in MEASURES if group in ("val", "inflection") else name in words(telemetry)
            )
            assert known, f"{metric} is logged nowhere"
        axis = line["xAxis"]
        assert axis in AXES or axis == "inflection/cycle"
        if axis == "gan/total_step":
            assert all(metric.startswith("gan/") for metric in line["metrics"])


def words(text: str) -> set[str]:
    names = set(re.findall(r"\w+", text))
    return names | {f"critic_loss{suffix}" for suffix in re.findall(r"``…(_\w+)``", text)}


def test_a_project_needs_an_entity(capsys):
    for wrong in ("nogan", "a/b/c", "/nogan"):
        assert main(["dashboard", wrong]) == 1 and "expected ENTITY/PROJECT" in capsys.readouterr().err


def test_without_the_package_it_says_which_extra(monkeypatch):
    import sys

    from nogan.report.dashboard import build_workspace

    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[dashboard\]"'):
        build_workspace("team", "nogan")
