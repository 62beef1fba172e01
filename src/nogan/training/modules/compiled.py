"""Networks compiled for their training steps, and not for the few passes between them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

VARIANTS = 64
"""Programs that one network may be compiled to: for each size, batch, mode and set of trained parameters."""


def compile_for_training(network: nn.Module) -> None:
    """Compile ``network`` in place, at its first pass of every kind; its parameters, names and state stay."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = VARIANTS
    # Sizes change from phase to phase, not within one: a program for one size is faster than one for all.
    network.compile(dynamic=False)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run networks as they are: what measures them or makes fakes has too many sizes and batches to compile each."""
    if "torch._dynamo" not in sys.modules:  # not imported for this: it takes seconds, and nothing is compiled
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
