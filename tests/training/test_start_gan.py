"""Pretrain once, then vary the GAN: ``start=gan model.init=RUN_DIR``."""

import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from nogan.common.errors import UserError
from nogan.plan import build_plan
from nogan.report import write_report
from nogan.training.run import train

# Long enough that detector, switch and dropout all have their part in the result.
GAN = ("trainer.limit_batches=6", "nogan.gan.max_critic_steps=2", "nogan.inflection.name=budget")
UNTIMED = ("name", "kind", "cycle", "steps", "end", "verdict", "rolled_back_to", "critic_steps", "generator_steps")


def test_the_gan_phases_are_those_of_a_run_that_did_all_of_it(smallest, tmp_path):
    whole, short = tmp_path / "whole", tmp_path / "short"
    share = "nogan.inflection.budget.share=0.075"
    train(smallest(*GAN, share), whole, console=Console(quiet=True))
    train(
        smallest(*GAN, share, "start=gan", f"model.init={whole}"),
        short,
        console=Console(quiet=True),
        write_report=write_report,
    )
    records = [json.loads((run / "records.json").read_text()) for run in (whole, short)]
    assert [record["name"] for record in records[1]] == ["gan@1", "c2@2", "gan@2"]
    for one, other in zip(records[0][-3:], records[1], strict=True):
        assert {key: one.get(key) for key in UNTIMED} == {key: other.get(key) for key in UNTIMED}
        assert one.get("metrics") == other.get("metrics")
    assert records[1][0]["critic_steps"] and records[1][0]["generator_steps"]
    for file in ("generator.safetensors", "critic.safetensors", "critic@gan.safetensors"):
        tensors = [load_file(run / file) for run in (whole, short)]
        assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert "gan@1" in (short / "report.html").read_text()


def test_a_run_of_one_gan_phase_hands_a_critic_on(smallest, finished_run, tmp_path):
    train(smallest("start=gan", f"model.init={finished_run}", "nogan.repeats=0"), tmp_path, console=Console(quiet=True))
    before = load_file(finished_run / "snapshots" / "gan@1" / "critic-before.safetensors")
    after = load_file(tmp_path / "critic.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_it_needs_a_run_that_has_got_as_far(smallest, tmp_path):
    with pytest.raises(
        UserError, match=r"nogan\.start=gan begins with the networks of another run: expected start=gan "
    ):
        smallest("start=gan")
    with pytest.raises(UserError, match=r"expected a run folder with snapshots/gan@1/step-000000\.safetensors in it"):
        train(smallest("start=gan", f"model.init={tmp_path}"), tmp_path / "run", console=Console(quiet=True))


def test_phases_keep_their_numbers(smallest):
    whole = build_plan(smallest())
    assert [phase.number for phase in whole] == list(range(len(whole)))
    assert build_plan(smallest("start=gan", "model.init=RUN")) == whole[4:]
