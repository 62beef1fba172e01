"""Generators as ONNX: equal to torch, and of use without it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import tiny

from nogan.cli import main
from nogan.colorize.colorizer import Colorizer
from nogan.common.errors import UserError
from nogan.evaluation.colorizers import requests_of
from nogan.networks import onnx as export
from nogan.networks.blocks import halved
from nogan.networks.generator_file import load_generator, save_generator, save_half

NOT_NEEDED = ("torch", "pydantic", "rich", "av", "numpy.ma", "nogan.colorize.film.colorize")
"""What a photograph does not wait for: what only networks of torch, runs, progress bars or films need."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    save_generator(tiny(), folder, size=64)
    assert main(["export", str(folder), "-o", str(folder / "model.onnx")]) == 0
    return folder / "model.onnx"


def test_onnx_agrees_with_torch_at_sizes_of_all_shapes(onnx_file):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file)
    network = load_generator(onnx_file.parent)
    for batch, height, width in ((1, 64, 64), (3, 96, 64), (1, 80, 80), (2, 48, 176)):
        x = torch.randn(batch, 3, height, width)
        with torch.inference_mode():
            expected = network(x).numpy()
        assert np.abs(session.run(None, {"gray": x.numpy()})[0] - expected).max() < 1e-4


def test_an_onnx_checkpoint_colors_as_the_run_does(onnx_file):
    gray = np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8)
    one = Colorizer.load(onnx_file, device="cpu").colorize(gray, 6)
    other = Colorizer.load(onnx_file.parent, device="cpu", precision="fp32").colorize(gray, 6)
    assert np.abs(one.astype(int) - other).max() <= 3  # one level of the network's picture, through the matrices
    assert Colorizer.load(onnx_file).trained_size == Colorizer.load(onnx_file.parent).trained_size == 64
    with pytest.raises(UserError, match="--device mps"):
        Colorizer.load(onnx_file, device="mps")


def test_export_refuses_what_it_cannot_do(tmp_path, onnx_file, capsys, monkeypatch):
    run = str(onnx_file.parent)
    assert main(["export", run, "-o", str(onnx_file)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", run, "-o", str(tmp_path / "model.bin")]) == 1
    assert "--format" in capsys.readouterr().err
    assert main(["export", str(onnx_file), "-o", str(tmp_path / "again.onnx")]) == 1
    assert "ONNX" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "missing"), "-o", str(tmp_path / "again.onnx")]) == 1
    assert main(["export", run, "-o", str(tmp_path / "model.pth")]) == 1  # DeOldify knows no tiny encoder
    assert capsys.readouterr().err.count("\n") == 2
    monkeypatch.setattr(export, "onnx_difference", lambda network, path: 0.01)
    monkeypatch.setattr("torch.onnx.export", lambda *args, **options: Saved())
    assert main(["export", run, "-o", str(tmp_path / "wrong.onnx")]) == 1
    assert "differs from torch" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class Saved:
    """An exported program that saves nothing of use."""

    def __init__(self):
        self.model = self
        self.metadata_props = {}

    def save(self, path):
        path.write_bytes(b"onnx")


def test_an_onnx_checkpoint_colors_a_photograph_without_torch(onnx_file, tmp_path):
    from PIL import Image

    Image.new("L", (50, 40), 90).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--checkpoint", str(onnx_file)]
    script = (
        "import sys; from nogan.cli import main\n"
        f"code = main({['colorize', *arguments, '--render-factor', '4']!r})\n"
        f"sys.exit(code or any(name in sys.modules for name in {NOT_NEEDED}))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert Image.open(tmp_path / "b.png").size == (50, 40)


def test_sizes_that_an_export_computes_are_rounded_up_as_here(tmp_path):
    import onnxruntime

    class Cropped(torch.nn.Module):
        def forward(self, x):
            height, width = halved((x.shape[2], x.shape[3]), 32)
            return x[..., :height, :width] * 1

    sides = {2: torch.export.Dim("height", min=32), 3: torch.export.Dim("width", min=32)}
    program = torch.onnx.export(
        Cropped().eval(), (torch.zeros(1, 1, 96, 128),), dynamo=True, dynamic_shapes={"x": sides}
    )
    program.save(tmp_path / "cropped.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "cropped.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 1, 80, 112), np.float32)})
    assert found.shape == (1, 1, 3, 4)


def test_half_precision_is_half_as_large_and_colors_the_same(onnx_file, tmp_path, capsys, monkeypatch):
    run, half = str(onnx_file.parent), tmp_path / "half.onnx"
    assert main(["export", run, "-o", str(half), "--precision", "fp16"]) == 0
    assert "levels of 255" in capsys.readouterr().out
    assert half.stat().st_size < 0.65 * onnx_file.stat().st_size  # the graph takes as much in both
    gray = np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8)
    assert Colorizer.load(half).trained_size == 64
    one, other = (Colorizer.load(file, device="cpu").colorize(gray, 6).astype(int) for file in (onnx_file, half))
    assert np.abs(one - other).mean() < 1
    monkeypatch.setattr("nogan.colorize.onnx_half.difference", lambda *_: (0.5, 3.5))
    assert main(["export", run, "-o", str(tmp_path / "other.onnx"), "--precision", "fp16"]) == 1
    assert main(["export", run, "-o", str(tmp_path / "other.safetensors"), "--precision", "fp16"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "take fp32" in first and "has half precision as it is" in second
    assert list(tmp_path.iterdir()) == [half]


def test_an_export_says_the_render_factor_that_suits_it(onnx_file, tmp_path):
    assert Colorizer.load(onnx_file).render_factor is None
    save_half(onnx_file.parent, tmp_path / "small.safetensors", 12)
    assert main(["export", str(tmp_path / "small.safetensors"), "-o", str(tmp_path / "small.onnx")]) == 0
    assert Colorizer.load(tmp_path / "small.onnx").render_factor == 12
    (request,) = requests_of([str(tmp_path / "small.onnx")], [None])  # `nogan evaluate` takes it, too
    assert request.render_factor == 12
