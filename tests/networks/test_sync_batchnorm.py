"""Synchronized batch norm on one process, where it must be plain batch norm; ``tests/test_ddp.py`` has it on two."""

import pytest
import timm.layers
import torch
from torch import nn

from nogan.networks import build_generator, trainable_parameters
from nogan.networks.sync_batchnorm import SyncBatchNorm, desynchronize, synchronize


@pytest.fixture
def generator() -> nn.Module:
    return build_generator("tiny", width=0.5, pretrained=False)


def test_synchronizing_keeps_names_parameters_and_what_is_frozen(generator):
    before, decoder = generator.state_dict(keep_vars=True), list(trainable_parameters(generator, "decoder"))
    kinds = [type(module) for module in generator.modules()]
    synchronize(generator)
    assert sum(isinstance(module, SyncBatchNorm) for module in generator.modules()) > 10
    assert not any(type(module) is nn.BatchNorm2d for module in generator.modules())
    after = generator.state_dict(keep_vars=True)
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)
    assert list(trainable_parameters(generator, "decoder")) == decoder
    generator.layer_groups()  # goes through the network without numbers
    desynchronize(generator)
    assert [type(module) for module in generator.modules()] == kinds


@pytest.mark.parametrize("training", [True, False])
def test_alone_it_is_plain_batch_norm(generator, training):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    twin = build_generator("tiny", width=0.5, pretrained=False).train(training)
    synchronize(generator.train(training))
    assert torch.equal(generator(x), twin(x))
    assert all(torch.equal(a, b) for a, b in zip(generator.buffers(), twin.buffers(), strict=True))


def test_the_activation_that_a_norm_has_built_in_stays():
    network = nn.Sequential(timm.layers.BatchNormAct2d(4))
    x = torch.randn(3, 4, 5, 5)
    expected = network(x)
    synchronize(network)
    assert torch.equal(network(x), expected) and (expected >= 0).all()
