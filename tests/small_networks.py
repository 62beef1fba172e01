"""A small generator, and whether two networks are the same."""

import torch

from nogan.networks import build_generator

X = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))


def tiny(seed=0):
    """A small generator with settled spectral norms and statistics, and attention that counts."""
    network = build_generator("tiny", "wide", 0.1, seed=seed)
    with torch.no_grad():
        for block in network.blocks:
            if hasattr(block.attention, "gamma"):
                block.attention.gamma.fill_(0.7)
        for _ in range(3):
            network(X)
    return network.eval()


def same(a, b):
    """Whether two networks have the same weights, to the bit, and do the same."""
    states = a.state_dict(), b.state_dict()
    assert list(states[0]) == list(states[1])
    with torch.inference_mode():
        agree = torch.allclose(a(X), b(X), atol=1e-4)
    return agree and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
