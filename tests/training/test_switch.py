"""The adaptive switch against traces written by hand from the recipe's two sentences."""

import pytest

from nogan.training.switch import AdaptiveSwitch


def trace(losses, **settings):
    """Who each batch serves, given the loss that the critic has whenever it is its turn."""
    switch = AdaptiveSwitch(0.65, **settings)
    served, losses = [], iter(losses)
    for _ in range(20):
        served.append(switch.turn[0])
        if switch.turn == "generator":
            switch.after_generator()
            continue
        loss = next(losses, None)
        if loss is None:
            break
        switch.after_critic(loss)
    return "".join(served[:-1]), switch


@pytest.mark.parametrize(
    ("losses", "served"),
    [
        ([0.1, 0.1, 0.1], "cgcgcg"),  # below the threshold: strictly by turns
        ([0.7, 0.7, 0.6, 0.5], "cccgcg"),  # above it the critic goes on until one batch is below
        ([0.65, 0.649], "ccg"),  # the threshold itself is not below it
        ([0.9, 0.9, 0.9, 0.9], "cccc"),  # for ever, without a cap
    ],
)
def test_served_networks(losses, served):
    assert trace(losses)[0] == served


def test_the_cap_gives_the_generator_a_batch_and_is_counted():
    served, switch = trace([0.9] * 7, max_critic_steps=3)
    assert served == "cccgcccgc"
    assert switch.forced == 2
    assert (switch.critic_steps, switch.generator_steps) == (7, 2)
    assert switch.burden == 3.5


def test_a_nan_loss_does_not_hand_over():
    assert trace([float("nan"), 0.1])[0] == "ccg"


def test_state_round_trip():
    _, switch = trace([0.9, 0.1, 0.9])
    other = AdaptiveSwitch(0.65)
    other.load_state_dict(switch.state_dict())
    assert other == switch
