"""Adam by either kernel: a CPU's fused one stands in for a GPU's."""

import copy

import pytest
import torch

from nogan.networks import build_critic, build_generator
from nogan.networks.losses import FeatureLoss
from nogan.training.modules import CriticModule, GeneratorModule, optimizer


def modules():
    # Adam makes whole steps of the rounding in gradients that vanish, unless eps is above them.
    generator = GeneratorModule(build_generator("tiny", width=0.25), FeatureLoss(None), eps=1e-3)
    critic = CriticModule(build_critic(8, doublings=1, dropout=0.0), eps=1e-3)
    return [module.to(memory_format=torch.channels_last) for module in (generator, critic)]


def train(module, adam, steps):
    for seed in range(steps):
        x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        adam.zero_grad()
        module(x.contiguous(memory_format=torch.channels_last)).square().mean().backward()
        for group in adam.param_groups:  # as in a run, where they change with each batch
            group.update(lr=1e-3 / (seed + 1), betas=(0.5 + 0.1 * seed, 0.99))
        adam.step()


def state_of(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("module", modules(), ids=["generator", "critic"])
@pytest.mark.parametrize("saved_by", ["fused", "plain"])
def test_a_state_goes_on_under_the_other_kernel(module, saved_by, monkeypatch):
    kernels = {"fused": ("cpu",), "plain": ()}
    goes_on = "plain" if saved_by == "fused" else "fused"

    def adam_of(module, kernel):
        monkeypatch.setattr(optimizer, "FUSED_ON", kernels[kernel])
        return module.configure_optimizers()

    first = copy.deepcopy(module)
    adam = adam_of(first, saved_by)
    train(first, adam, 3)
    second = copy.deepcopy(first)
    other = adam_of(second, goes_on)
    other.load_state_dict(copy.deepcopy(adam.state_dict()))
    assert {group["fused"] for group in other.param_groups} == {True if goes_on == "fused" else None}
    assert [group["lr"] for group in other.param_groups] == [group["lr"] for group in adam.param_groups]
    for network, its in ((first, adam), (second, other)):
        train(network, its, 2)
    torch.testing.assert_close(state_of(second), state_of(first), rtol=0, atol=1e-6)
    assert not torch.equal(state_of(first), state_of(module))


@pytest.mark.parametrize("module", modules(), ids=["generator", "critic"])
def test_gradients_and_moments_lie_in_memory_as_the_parameters(module):
    """A GPU's fused kernel refuses others, but for axes of one entry."""
    adam = module.configure_optimizers()
    train(module, adam, 1)
    for parameter in module.parameters():
        where = [stride for stride, size in zip(parameter.stride(), parameter.shape, strict=True) if size > 1]
        assert parameter.ndim != 4 or parameter.is_contiguous(memory_format=torch.channels_last)
        for tensor in (parameter.grad, *(adam.state[parameter][name] for name in ("exp_avg", "exp_avg_sq"))):
            assert [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1] == where
