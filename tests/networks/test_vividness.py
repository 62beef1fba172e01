"""The knob of one network for all: no effect at first, exact where it is turned and fixed, and in every file."""

import numpy as np
import pytest
import torch
from deoldify_golden import network
from small_networks import X, tiny

from nogan.cli import main
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.vividness import generator_at
from nogan.common.errors import UserError
from nogan.networks import at_vividness, build_generator, deoldify
from nogan.networks.blend import blend
from nogan.networks.generator_file import load_generator, save_generator
from nogan.networks.movement import inside, move, movements

KNOB = {"hidden": 8, "rate": 10.0}
LEVELS = torch.tensor([0.0, 1.0])


def conditioned(turned: bool = True):
    """A small generator with the knob, at first without an effect, then ``turned`` by random weights."""
    generator = build_generator("tiny", "wide", 0.1, vividness=KNOB)
    generator.load_state_dict({**generator.state_dict(), **tiny().state_dict()})
    if turned:
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in generator.vividness.changes:
                layer.weight.normal_(0, 0.02, generator=rng)
                layer.bias.normal_(0, 0.02, generator=rng)
    return generator.eval()


@torch.inference_mode()
def test_at_first_it_changes_nothing():
    plain, knob = tiny(), conditioned(turned=False)
    assert torch.equal(knob(X, LEVELS), plain(X)) and torch.equal(knob(X), plain(X))
    assert not torch.equal(conditioned()(X, LEVELS), plain(X))


def test_the_other_first_weights_are_those_of_the_network_without_it():
    plain, knob = build_generator("tiny", "deep", 0.5), build_generator("tiny", "deep", 0.5, vividness=KNOB)
    assert all(torch.equal(tensor, knob.state_dict()[name]) for name, tensor in plain.state_dict().items())


@torch.inference_mode()
def test_each_picture_has_its_own_and_a_fixed_one_is_the_same_network_without_the_knob():
    knob = conditioned()
    both = knob(X, torch.tensor([0.0, 0.7]))
    for picture, level in enumerate((0.0, 0.7)):
        fixed = at_vividness(knob, level)
        assert fixed.vividness is None and "vividness" not in fixed.config
        torch.testing.assert_close(fixed(X)[picture], both[picture], rtol=0, atol=5e-6)
    assert (both[1] - knob(X, LEVELS)[1]).abs().max() > 1e-3, "0.7 is not 1"
    assert torch.equal(knob(X), knob(X, torch.ones(2)))
    assert at_vividness(tiny(), 0.5).config == tiny().config


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_deoldifys_weights_start_it_and_agree(level, tmp_path):
    theirs = network("deep")
    deoldify.save_generator(theirs, tmp_path / "theirs.pth")
    knob = build_generator(**theirs.config, pretrained=False, vividness=KNOB).eval()
    deoldify.load_weights(knob, tmp_path / "theirs.pth")
    x = X[:1, :, :32, :32]
    with torch.inference_mode():
        torch.testing.assert_close(knob(x, torch.tensor([level])), theirs(x), rtol=0, atol=5e-5)


def test_files_keep_it_and_deoldifys_are_at_one_vividness(tmp_path, capsys):
    knob = conditioned()
    save_generator(knob, tmp_path / "run", size=64)
    loaded = load_generator(tmp_path / "run")
    with torch.inference_mode():
        assert torch.equal(loaded(X, LEVELS), knob(X, LEVELS))
    with pytest.raises(UserError, match="have no knob for the vividness"):
        deoldify.save_generator(
            build_generator("resnet18", "deep", 0.1, pretrained=False, vividness=KNOB), tmp_path / "x"
        )
    plain = tiny()
    save_generator(plain, tmp_path / "plain")
    started = conditioned()
    deoldify.load_weights(started, tmp_path / "plain" / "generator.safetensors")
    assert started.state_dict().keys() > plain.state_dict().keys()
    with pytest.raises(UserError, match=r"tensor vividness\.\S+ .* is unknown"):
        deoldify.load_weights(tiny(), tmp_path / "run" / "generator.safetensors")


def test_the_colorizer_turns_it(tmp_path):
    knob = conditioned()
    save_generator(knob, tmp_path, size=64)
    gray = np.random.default_rng(0).integers(0, 255, (40, 48), dtype=np.uint8)
    colored = {
        level: Colorizer.load(tmp_path, vividness=level, precision="fp32").colorize(gray, 4) for level in (0, 1, None)
    }
    assert np.array_equal(colored[1], colored[None]) and not np.array_equal(colored[0], colored[1])
    steady = Colorizer.load(tmp_path, default_vividness=0.0, precision="fp32").colorize(gray, 4)
    assert np.array_equal(steady, colored[0])


def test_of_a_run_without_it_the_knob_is_the_blend_with_the_generator_before_the_gan_phase(tmp_path):
    before, after = tiny(), tiny(seed=1)
    save_generator(after, tmp_path)
    with pytest.raises(UserError, match=r"--vividness 0\.5: .* has no such knob"):
        generator_at(tmp_path, 0.5)
    save_generator(before, tmp_path / "generator@pretrained.safetensors")
    for level, wanted in ((0.0, before), (0.3, blend(before, after, 0.3)), (1.0, after), (None, after)):
        found = generator_at(tmp_path, level).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.state_dict().items()), level


def test_of_two_checkpoints_it_is_their_mix(tmp_path):
    save_generator(tiny(), tmp_path / "steady", size=64)
    save_generator(conditioned(), tmp_path / "vivid", size=64)
    both = {str(tmp_path / "steady"): 1.0, str(tmp_path / "vivid"): 1.0}
    gray = np.random.default_rng(0).integers(0, 255, (1, 64, 64), dtype=np.uint8)

    def predicted(checkpoint, level=None):
        return Colorizer.load(checkpoint, vividness=level, precision="fp32").predict(gray)

    steady, vivid = map(predicted, both)
    assert np.array_equal(predicted(both, 0.0), steady) and np.array_equal(predicted(both, 1.0), vivid)
    np.testing.assert_allclose(predicted(both, 0.25), 0.75 * steady + 0.25 * vivid, atol=1e-6)
    unequal = {**both, str(tmp_path / "vivid"): 0.5}
    for several in (unequal, {**both, "third": 1.0}):
        with pytest.raises(UserError, match=r"--vividness 0\.5 of a blend, .*expected two checkpoints without weights"):
            predicted(several, 0.5)
    for wrong in ({"vividness": 1.5}, {"default_vividness": -1.0}):
        with pytest.raises(UserError, match=r"expected a number from 0 \(steady\) to 1 \(vivid\)"):
            Colorizer.load(both, **wrong)


@pytest.mark.parametrize("level", ["1.5", "-0.1", "nan"])
def test_what_is_out_of_range_is_one_line(level, tmp_path, capsys):
    save_generator(conditioned(), tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    model = str(tmp_path)
    color = ["colorize", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), f"--vividness={level}"]
    exported = ["export", model, "-o", str(tmp_path / "b.pth"), f"--vividness={level}"]
    for command in ([*color, "--checkpoint", model], [*color, "--blend", model, "starter"], exported):
        assert main(command) == 1
        said = capsys.readouterr().err
        assert f"--vividness {level}: expected a number from 0 (steady) to 1 (vivid)" in said and said.count("\n") == 1


def test_an_onnx_export_has_it_as_an_input(tmp_path, capsys):
    save_generator(conditioned(), tmp_path, size=64)
    model = tmp_path / "model.onnx"
    assert main(["export", str(tmp_path), "-o", str(model)]) == 0
    gray = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for level in (0.0, 1.0):
        ours, theirs = (
            Colorizer.load(path, vividness=level, precision="fp32").colorize(gray, 4) for path in (tmp_path, model)
        )
        assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "b.onnx"), "--vividness", "0.5"]) == 1
    assert "has it as an input" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "c.safetensors"), "--vividness", "0.5"]) == 1
    assert "keeps the knob" in capsys.readouterr().err


# --- movement ---------------------------------------------------------------------------------------------------------


def test_a_movement_moves_by_what_was_drawn():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    still = movements(torch.full((1, 4), 0.5), shift=0.1, rotate=5, zoom=0.1)
    torch.testing.assert_close(move(ramp, still), ramp)
    right = movements(torch.tensor([[1.0, 0.5, 0.5, 0.5]]), shift=0.125, rotate=5, zoom=0.1)  # by 4 px
    moved, counted = move(ramp, right), inside(right, (32, 32))
    torch.testing.assert_close(moved[..., :28], ramp[..., 4:])
    assert counted[..., :28].all() and not counted[..., 28:].any()
    turned = movements(torch.tensor([[0.5, 0.5, 1.0, 0.5]]), shift=0, rotate=90, zoom=0)
    torch.testing.assert_close(move(ramp, turned), ramp.mT.flip(2), atol=1e-3, rtol=0)
    closer = movements(torch.tensor([[0.5, 0.5, 0.5, 1.0]]), shift=0, rotate=0, zoom=1.0)
    assert closer[0, 0, 0] == pytest.approx(2) and closer[0, 1, 1] == pytest.approx(2)
