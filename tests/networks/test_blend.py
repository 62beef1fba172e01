"""Interpolation between two checkpoints."""

import copy

import pytest
import torch
from small_networks import same, tiny

from nogan.cli import main
from nogan.networks import build_generator, fold_spectral_norm
from nogan.networks.blend import blend
from nogan.networks.generator_file import describe, load_generator, save_generator, trained_size


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
    save_generator(tiny(), tmp_path / "a", size=64, run="one", data="folder")
    save_generator(tiny(seed=5), tmp_path / "b", run="another", data="folder")
    save_generator(build_generator("tiny", "deep", 0.1), tmp_path / "deep")
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert main(["blend", a, b, "--alpha", "0.25", "-o", c]) == 0
    assert same(load_generator(c), blend(load_generator(a), load_generator(b), 0.25))
    training = describe(c)["training"]
    assert training["blend"]["alpha"] == 0.25
    assert training["data"] == "folder" and "run" not in training  # what holds for both
    assert [trained_size(path) for path in (a, b, c)] == [64, 192, 192]  # b does not say
    capsys.readouterr()
    assert main(["blend", a, b, "-o", c]) == 1 and "--overwrite" in capsys.readouterr().err
    assert main(["blend", a, b, "-o", c, "--overwrite", "--alpha", "1.5"]) == 1
    assert "--alpha 1.5" in capsys.readouterr().err
    assert main(["blend", a, str(tmp_path / "deep"), "-o", c, "--overwrite"]) == 1
    assert "decoder wide and deep" in capsys.readouterr().err
