"""The faster ways that large weights take on CPUs against PyTorch's own."""

import copy

import pytest
import torch

from nogan.networks import large_weights
from nogan.networks.blocks import Conv2d, sn_conv


def trained_twice(conv, x, bf16):
    """Results, gradients and buffers after two passes through ``conv`` and the way back through both."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        first, second = conv(x), conv(x)
    (first.float().square().mean() + second.float().abs().mean()).backward()
    gradients = [parameter.grad for parameter in conv.parameters()]
    return [first.detach().float(), second.detach().float(), x.grad, *gradients, *conv.buffers()]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (4, 1, 0), (1, 1, 0)])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_results_gradients_and_vectors_are_pytorchs(monkeypatch, kernel, stride, padding, bf16, training):
    torch.manual_seed(0)
    plain = sn_conv(24, 16, kernel, stride=stride, padding=padding, bias=True).train(training)
    plain.to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    x = torch.randn(2, 24, 9, 10).contiguous(memory_format=torch.channels_last)
    expected = trained_twice(plain, x, bf16)

    used = []
    matrix_conv = large_weights.matrix_conv
    monkeypatch.setattr(large_weights, "MIN_WEIGHTS", 1)
    monkeypatch.setattr("nogan.networks.blocks.matrix_conv", lambda *args: used.append(args) or matrix_conv(*args))
    found = trained_twice(fast, x, bf16)
    assert len(used) == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0, atol=(2e-2 if bf16 else 1e-5) * theirs.abs().max().item())


def test_the_next_layer_may_change_the_result_in_place(monkeypatch):
    monkeypatch.setattr(large_weights, "MIN_WEIGHTS", 1)
    conv = sn_conv(24, 16, 3).to(memory_format=torch.channels_last).eval()
    x = torch.randn(2, 24, 9, 10).contiguous(memory_format=torch.channels_last)
    gradients = []
    for inplace in (True, False):
        conv.zero_grad()
        torch.nn.functional.relu(conv(x), inplace=inplace).square().mean().backward()
        gradients.append([parameter.grad for parameter in conv.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_what_does_not_fit_takes_pytorchs_way(monkeypatch):
    monkeypatch.setattr(large_weights, "MIN_WEIGHTS", 1)
    x = torch.randn(1, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    conv = Conv2d(8, 8, 3, padding=1).to(memory_format=torch.channels_last)
    assert large_weights.prefers_matrix(conv, x, conv.weight)
    assert not large_weights.prefers_matrix(conv, x.contiguous(), conv.weight)
    grouped = Conv2d(8, 8, 3, padding=1, groups=2).to(memory_format=torch.channels_last)
    assert not large_weights.prefers_matrix(grouped, x, grouped.weight)
    with torch.no_grad():
        assert not large_weights.prefers_matrix(conv, x, conv.weight)
    monkeypatch.setattr(large_weights, "MAX_POSITIONS", 63)
    assert not large_weights.prefers_matrix(conv, x, conv.weight)
