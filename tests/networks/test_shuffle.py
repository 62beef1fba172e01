"""The upsampling in one kernel, by Triton's interpreter, which needs no GPU."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("triton", reason="comes with PyTorch for Linux only")

COMPARED = """
import torch
from torch.nn import functional as F
from nogan.networks.blocks import blur, pixel_shuffle
from nogan.networks.shuffle import relu_shuffle_blur

for shape in ((2, 20, 3, 5), (1, 12, 1, 4), (3, 1200, 2, 2)):
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    ours, theirs = (x.clone().requires_grad_(True) for _ in range(2))
    found, expected = relu_shuffle_blur(ours), blur(pixel_shuffle(F.relu(theirs)))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)
    wider = torch.randn(shape[0], shape[1] // 4 + 5, *found.shape[2:]).contiguous(memory_format=torch.channels_last)
    for gradient in (wider[:, : shape[1] // 4], torch.randn_like(expected).contiguous()):
        ours.grad = theirs.grad = None
        found.backward(gradient, retain_graph=True)
        expected.backward(gradient, retain_graph=True)
        torch.testing.assert_close(ours.grad, theirs.grad)
x[0, 0, 0, 1] = float("nan")
assert relu_shuffle_blur(x).isnan().sum() == 4
"""


def test_one_kernel_does_what_three_did():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", COMPARED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
