"""Learning rates and betas against the sequences that the original's scheduler gave (tests/data/deoldify)."""

import json
from pathlib import Path

import pytest
import torch

from nogan.plan import GANPhase, build_plan
from nogan.plan.schedule import OneCycle, layer_group_lr, one_cycle_hyper

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "deoldify" / "scheduler.golden.json").read_text())


@pytest.mark.parametrize(
    ("name", "lr", "pct_start"),
    [
        ("head_frozen", layer_group_lr(1e-3), 0.8),
        ("unfrozen", layer_group_lr((3e-7, 3e-4)), 1e-8),
        ("critic_1e3", (1e-3,), 0.3),
    ],
)
def test_one_cycle_at_every_step(configure, name, lr, pct_start):
    shape = OneCycle(**dict(configure("model=artistic").nogan.one_cycle))
    golden = GOLDEN[name]
    for step in range(golden["n_steps"]):
        hyper = one_cycle_hyper(step, golden["n_steps"], lr, pct_start, beta2=0.99, shape=shape)
        expected = golden["lr_per_group"][step][: len(lr)]
        assert hyper.lr == pytest.approx(expected, rel=1e-9)
        assert hyper.betas == pytest.approx((golden["momentum_beta1"][step], golden["beta2"]), rel=1e-9)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_rates_of_a_gan_phase_are_constant_until_they_fall_in_a_straight_line_to_zero(configure, share):
    phase = build_plan(configure("experiment=inflection", f"nogan.gan.decay={share}"))[-1]
    assert isinstance(phase, GANPhase) and phase.decay == share
    for turn, highest in (("generator", phase.generator_lr), ("critic", phase.critic_lr)):
        rates = [phase.hyper(step, turn).lr[0] for step in range(phase.steps)]
        expected = [highest * min(1, (phase.steps - step) / max(share * phase.steps, 1)) for step in range(phase.steps)]
        assert rates == pytest.approx(expected)
        assert rates[0] == highest and rates[-1] == pytest.approx(highest / max(share * phase.steps, 1))


@pytest.mark.parametrize("case", ["learner_default", "gan", "big_wd_for_visibility"])
def test_adam_with_decoupled_weight_decay_on_every_tensor(case):
    golden, init = GOLDEN["optimizer"][case], GOLDEN["optimizer"]["init"]
    parameters = {name: torch.nn.Parameter(torch.tensor(values)) for name, values in init.items()}
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=golden["lr"], betas=golden["betas"][0], eps=golden["eps"][0], weight_decay=golden["wd"]
    )
    for t, after in enumerate(golden["params_after_step"], 1):
        for j, parameter in enumerate(parameters.values()):
            i = torch.arange(parameter.numel())
            parameter.grad = torch.sin(1.3 * t + 0.7 * i + j) * 0.1**j
        optimizer.step()
        for name, expected in after.items():
            torch.testing.assert_close(parameters[name].detach(), torch.tensor(expected), rtol=1e-5, atol=1e-7)
