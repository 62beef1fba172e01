"""The color spaces' constants: put on a device once, and of use wherever they are asked for."""

import pytest
import torch

from nogan.common import color


@pytest.fixture(autouse=True)
def _none_made_yet():
    color._constant.cache_clear()


def test_constants_are_made_once_for_each_device_and_type(monkeypatch):
    made, tensor = [], torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda *values, **kind: made.append(kind["dtype"]) or tensor(*values, **kind))
    for dtype in (torch.float32, torch.float64):
        for _ in range(2):
            x = torch.rand(2, 3, 4, 4, dtype=dtype)
            torch.testing.assert_close(color.denormalize(color.normalize(color.to_gray(x))), color.to_gray(x))
    assert made == 3 * [torch.float32] + 3 * [torch.float64]  # mean, deviation and luma


def test_what_inference_asked_for_first_takes_gradients():
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    with torch.inference_mode():
        color.denormalize(x)
    color.denormalize(x).sum().backward()
    assert x.grad is not None


def test_what_is_traced_leaves_nothing_behind():
    x = torch.rand(2, 3, 4, 4)
    there_and_back = torch.compile(lambda y: color.denormalize(color.normalize(y)), backend="eager", fullgraph=True)
    torch.testing.assert_close(there_and_back(x), x)
    assert color._constant.cache_info().currsize == 0
