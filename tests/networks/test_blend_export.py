"""Generators as files: saved, exported, and interpolated."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nogan.cli import main
from nogan.colorize.colorizer import Colorizer
from nogan.common.errors import UserError
from nogan.networks import build_generator, deoldify, fold_spectral_norm
from nogan.networks import onnx as export
from nogan.networks.blend import blend
from nogan.networks.generator_file import describe, load_generator, save_generator, trained_size

ROOT = Path(__file__).parents[2]
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


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    save_generator(tiny(), folder, size=64)
    assert main(["export", str(folder), "-o", str(folder / "model.onnx")]) == 0
    return folder / "model.onnx"


def test_a_saved_generator_comes_back_to_the_bit(tmp_path):
    network = tiny()
    weights = save_generator(network, tmp_path, steps=40, dataset="scenes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator.json", "generator.safetensors"]
    for path in (tmp_path, weights):
        again = load_generator(path)
        assert not again.training and same(again, network)
    description = json.loads((tmp_path / "generator.json").read_text())
    assert description == describe(weights) and description["training"] == {"steps": 40, "dataset": "scenes"}
    (tmp_path / "generator.json").unlink()  # the weights file alone is enough
    assert same(load_generator(weights), network)


def test_a_folded_generator_and_one_with_other_input_statistics_come_back(tmp_path):
    folded = fold_spectral_norm(tiny())
    save_generator(folded, tmp_path / "folded.safetensors")
    assert same(load_generator(tmp_path / "folded.safetensors"), folded)
    other = build_generator("mobilenetv3_small_050", "wide", 0.1, pretrained=False).eval()
    save_generator(other, tmp_path / "other.safetensors")
    assert same(load_generator(tmp_path / "other.safetensors"), other)


def test_saving_replaces_and_a_failed_save_leaves_the_old_one(tmp_path, monkeypatch):
    save_generator(tiny(), tmp_path)
    save_generator(tiny(seed=3), tmp_path)
    assert same(load_generator(tmp_path), tiny(seed=3))

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match="no room on the disk"):
        save_generator(tiny(), tmp_path)
    assert same(load_generator(tmp_path), tiny(seed=3))
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "empty").mkdir()
    (tmp_path / "letter.safetensors").write_text("Dear Sir")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "letter.pth").write_text("Dear Sir")
    (tmp_path / "letter.onnx").write_text("Dear Sir")
    torch.save({"hello": torch.zeros(3)}, tmp_path / "other.pth")
    save_file({"x": torch.zeros(3)}, tmp_path / "bare.safetensors")
    weights = save_generator(tiny(), tmp_path / "good")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:-1000])
    for name, changes in {
        "format.safetensors": {"format": "something"},
        "version.safetensors": {"version": 99},
        "unknown.safetensors": {"network": {"encoder": "tiny", "color": "blue"}},
        "shapes.safetensors": {"network": {"encoder": "tiny", "decoder": "wide", "width": 0.5}},
        "network.safetensors": {"network": None},
    }.items():
        save_file(
            load_generator(weights).state_dict(), tmp_path / name, {"nogan": json.dumps(describe(weights) | changes)}
        )
    for name in (
        *("empty", "missing", "letter.safetensors", "photo.jpg", "letter.pth", "letter.onnx", "other.pth"),
        *("bare.safetensors", "cut.safetensors", "format.safetensors", "version.safetensors"),
        *("unknown.safetensors", "shapes.safetensors", "network.safetensors"),
    ):
        with pytest.raises(UserError) as caught:
            Colorizer.load(tmp_path / name, device="cpu")
        assert name in str(caught.value) and "\n" not in str(caught.value), name


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
    other = Colorizer.load(onnx_file.parent, device="cpu").colorize(gray, 6)
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


def test_deoldify_format_comes_back(tmp_path):
    network = build_generator("resnet18", "deep", 0.1, pretrained=False).eval()
    save_generator(network, tmp_path)
    try:
        deoldify.save_generator(network, tmp_path / "direct.pth")
    except UserError:
        pytest.skip("DeOldify's format takes its own three networks only")
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "model.pth")]) == 0
    assert same(load_generator(tmp_path / "model.pth"), network)


def test_a_blend_is_its_ends_at_the_ends_and_between_them_in_between():
    a, b = tiny(), tiny(seed=5)
    assert same(blend(a, b, 0), a) and same(blend(a, b, 1), b)
    before = copy.deepcopy(a)
    middle = blend(a, b, 0.25)
    weights = {name: network.state_dict() for name, network in {"a": a, "b": b, "middle": middle}.items()}
    for name in ("head.bias", "blocks.0.convs.0.norm.running_var", "head.parametrizations.weight.original"):
        assert torch.allclose(weights["middle"][name], 0.75 * weights["a"][name] + 0.25 * weights["b"][name], atol=1e-6)
    # Spectral norm is 1 again, as batch norm behind it expects: not what u and v of either end would give.
    for module in middle.modules():
        if hasattr(module, "parametrizations") and hasattr(module.parametrizations.weight[0], "_u"):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.03)
    assert same(a, before)
    fold_spectral_norm(middle)  # which must not reach back into A
    assert same(a, before)


def test_blend_on_the_command_line(tmp_path, capsys):
    save_generator(tiny(), tmp_path / "a", size=64)
    save_generator(tiny(seed=5), tmp_path / "b")
    save_generator(build_generator("tiny", "deep", 0.1), tmp_path / "deep")
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert main(["blend", a, b, "--alpha", "0.25", "-o", c]) == 0
    assert same(load_generator(c), blend(load_generator(a), load_generator(b), 0.25))
    assert describe(c)["training"]["blend"]["alpha"] == 0.25
    assert [trained_size(path) for path in (a, b, c)] == [64, 192, 192]  # b does not say
    capsys.readouterr()
    assert main(["blend", a, b, "-o", c]) == 1 and "--overwrite" in capsys.readouterr().err
    assert main(["blend", a, b, "-o", c, "--overwrite", "--alpha", "1.5"]) == 1
    assert "--alpha 1.5" in capsys.readouterr().err
    assert main(["blend", a, str(tmp_path / "deep"), "-o", c, "--overwrite"]) == 1
    assert "decoder wide and deep" in capsys.readouterr().err


def test_an_onnx_checkpoint_colors_a_photograph_without_torch(onnx_file, tmp_path):
    from PIL import Image

    Image.new("L", (50, 40), 90).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--checkpoint", str(onnx_file)]
    script = (
        "import sys; from nogan.cli import main\n"
        f"code = main({['colorize', *arguments, '--render-factor', '4']!r})\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert Image.open(tmp_path / "b.png").size == (50, 40)
