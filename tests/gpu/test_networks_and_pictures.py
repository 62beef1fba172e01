"""The networks, the augmentation and the colorizer give on a GPU what they give on the CPU."""

import copy

import numpy as np
import pytest
import torch
from deoldify_golden import arrays, image, network, sized
from torch.nn import functional as F

from nogan.colorize.colorizer import Colorizer
from nogan.common.rng import torch_rng
from nogan.data.augment import augment
from nogan.networks.blocks import blur, pixel_shuffle
from nogan.networks.shuffle import fits, relu_shuffle_blur
from tests.data.test_augment import batch_of
from tests.styles import STYLES

TOLERANCE = 5e-4  # absolute, of outputs in (-3, 3): other kernels add in another order
PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "size"), [("deep", "2x64x64"), ("deep", "1x80x80"), ("wide", "2x64x64"), ("critic", "2x128x128")]
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_networks_give_the_goldens(name, size, memory_format):
    on_gpu = copy.deepcopy(network(name)).cuda().to(memory_format=memory_format)
    with torch.no_grad():
        found = on_gpu(image(*sized(size)).cuda().contiguous(memory_format=memory_format)).cpu()
    expected = arrays(name)
    if f"out_{size}" in expected:
        torch.testing.assert_close(found, expected[f"out_{size}"], atol=TOLERANCE, rtol=0)
    else:
        torch.testing.assert_close(found[..., ::8, ::8], expected[f"out_sub8_{size}"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 20, 3, 5), (3, 1200, 7, 6), (1, 1536, 24, 24)])
@pytest.mark.parametrize("up", [relu_shuffle_blur, lambda x: blur(pixel_shuffle(F.relu(x)))])
def test_upsampling_has_the_gradients_of_the_cpu(up, shape, dtype):
    """In one kernel and in three; of a part of the channels, too, as behind a concatenation."""
    x = torch.randn(shape, device="cuda", dtype=dtype).contiguous(memory_format=torch.channels_last)
    assert fits(x)
    ours, here = x.clone().requires_grad_(), x.float().cpu().requires_grad_()
    found, expected = up(ours), blur(F.pixel_shuffle(F.relu(here), 2))
    wider = torch.randn(shape[0], shape[1] // 4 + 5, *found.shape[2:], device="cuda", dtype=dtype)
    gradient = wider.contiguous(memory_format=torch.channels_last)[:, : shape[1] // 4]
    found.backward(gradient)
    expected.backward(gradient.float().cpu())
    tolerance = {"rtol": 0.02, "atol": 0.04} if dtype is torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.detach().float().cpu(), expected.detach(), **tolerance)
    torch.testing.assert_close(ours.grad.float().cpu(), here.grad, **tolerance)


@pytest.mark.parametrize(("name", "size"), [("deep", "2x64x64"), ("wide", "2x64x64"), ("critic", "2x128x128")])
def test_half_precision_stays_close(name, size):
    """With the channels and the attention that are for tensor cores, forwards and backwards.

    In eval mode: the statistics of a handful of values would make much of little.
    """
    here, x = copy.deepcopy(network(name)).cuda().eval().to(memory_format=torch.channels_last), image(*sized(size))
    x = x.cuda().contiguous(memory_format=torch.channels_last)
    found = {}
    for half in (False, True):
        here.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            output = here(x)
        output.square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in here.parameters() if p.grad is not None])
        found[half] = output.detach(), gradient
    for ours, exact in zip(found[True], found[False], strict=True):
        assert (ours - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("name", STYLES)
def test_the_same_draw_augments_alike(name):
    images, sizes = batch_of((64, 100), (90, 64), (260, 250))
    here = augment(images, sizes, 64, STYLES[name], torch_rng(1))
    there = augment(images.cuda(), sizes, 64, STYLES[name], torch_rng(1))
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "levels"), [({}, 2), ({"precision": "bf16"}, 40), ({"precision": "auto"}, 40), ({"compile": True}, 2)]
)
def test_a_photograph_is_colored_alike(tmp_path, options, levels):
    from nogan.networks import build_generator
    from nogan.networks.generator_file import save_generator

    file = save_generator(build_generator("tiny", "deep", 1.0, pretrained=False), tmp_path / "generator.safetensors")
    here = Colorizer.load(file, device="cpu", precision="fp32").colorize(PHOTOGRAPH, 6).astype(int)
    on_gpu = Colorizer.load(file, device="cuda", **{"precision": "fp32", **options})
    assert on_gpu.batch_size > 1
    for found in on_gpu.colorize_pixels([PHOTOGRAPH] * 3, 6):
        assert np.abs(found.astype(int) - here).max() <= levels
