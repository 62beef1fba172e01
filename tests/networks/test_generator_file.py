"""Generators as files: saved and read again, to the bit."""

import json

import numpy as np
import pytest
import torch
from small_networks import X, same, tiny
from torch.overrides import TorchFunctionMode

from nogan.cli import main
from nogan.colorize.colorizer import Colorizer
from nogan.common.errors import UserError
from nogan.networks import build_generator, deoldify, fold_spectral_norm
from nogan.networks.generator_file import describe, load_generator, save_generator


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


def test_an_export_of_half_the_size_does_the_same_and_says_its_render_factor(tmp_path, capsys):
    network = tiny()
    save_generator(network, tmp_path, size=64, data="folder")
    half = tmp_path / "half.safetensors"
    assert main(["export", str(tmp_path), "-o", str(half), "--render-factor", "9"]) == 0
    assert half.stat().st_size < 0.75 * (tmp_path / "generator.safetensors").stat().st_size
    again = load_generator(half)
    assert {tensor.dtype for tensor in again.parameters()} == {torch.float32}
    with torch.inference_mode():
        assert torch.allclose(again(X), network(X), atol=0.02)
    assert (again.render_factor, again.trained_size, network.render_factor) == (9, 64, None)
    assert describe(half)["training"] == {"size": 64, "data": "folder", "render_factor": 9}
    gray = np.zeros((40, 50), np.uint8)
    colorizer = Colorizer.load(half, device="cpu")
    assert colorizer.squares([gray])[0].shape == (144, 144, 3)
    assert colorizer.squares([gray], 4)[0].shape == (64, 64, 3)
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "x.safetensors"), "--render-factor", "3"]) == 1
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "x.pth"), "--render-factor", "9"]) == 1
    assert "expected 4 to 100" in capsys.readouterr().err and not (tmp_path / "x.safetensors").exists()


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


def test_a_flipped_bit_and_weights_that_are_not_finite_are_refused(tmp_path):
    weights = save_generator(tiny(), tmp_path)
    content = bytearray(weights.read_bytes())
    content[-100] ^= 0x40
    weights.write_bytes(content)
    with pytest.raises(UserError, match="its weights do not match their checksum"):
        load_generator(tmp_path)
    broken = tiny()
    torch.nn.init.constant_(next(broken.parameters()), float("nan"))
    with pytest.raises(UserError, match="is not finite: expected the weights of a network that works"):
        save_generator(broken, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    torch.save({"model": {"weight": torch.tensor([float("inf")])}}, tmp_path / "inf.pth")
    with pytest.raises(UserError, match="its tensor weight is not finite"):
        load_generator(tmp_path / "inf.pth")


def test_deoldify_format_comes_back(tmp_path):
    network = build_generator("resnet18", "deep", 0.1, pretrained=False).eval()
    save_generator(network, tmp_path)
    try:
        deoldify.save_generator(network, tmp_path / "direct.pth")
    except UserError:
        pytest.skip("DeOldify's format takes its own three networks only")
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "model.pth")]) == 0
    assert same(load_generator(tmp_path / "model.pth"), network)


def test_a_file_is_loaded_without_drawing_weights_first(tmp_path):
    class Drawn(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.seen += [func] * (func in (torch.Tensor.normal_, torch.Tensor.uniform_, torch.mv))
            return func(*args, **kwargs or {})

    save_generator(tiny(), tmp_path)
    with Drawn() as drawn:
        network = load_generator(tmp_path)
        assert not drawn.seen
        tiny()
        assert drawn.seen
    assert same(network, tiny())
