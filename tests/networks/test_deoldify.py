"""DeOldify's weight files: read, refused, written back."""

import copy
import io
import os
import pickle
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from deoldify_golden import DATA, arrays, image, layout, network, tensors_of
from safetensors.torch import save_file
from torch import nn

from nogan.common.color import denormalize, normalize
from nogan.common.errors import UserError
from nogan.networks import build_critic, build_generator, deoldify, fold_spectral_norm


@pytest.fixture
def deep():
    return network("deep")


@pytest.fixture
def critic():
    return network("critic")


@pytest.fixture(scope="module")
def deep_tensors():
    return tensors_of("deep")


@pytest.fixture(scope="module")
def deep_file(deep_tensors, tmp_path_factory):
    """The artistic generator as the original's learner saves it by default: with its optimizer's state."""
    path = tmp_path_factory.mktemp("deoldify") / "ColorizeArtistic_gen.pth"
    lr = slice(None, 0.003, None)
    opt = {"state": {}, "param_groups": [{"lr": lr, "betas": (np.float64(0.95), 0.99), "params": [0, 1]}]}
    torch.save({"model": OrderedDict(deep_tensors), "opt": opt}, path)
    return path


@pytest.fixture(scope="module")
def small_critic_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("critic") / "critic.pth"
    deoldify.save_critic(build_critic(16, seed=3), path)
    return path


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(value, b[key]) for key, value in a.items())


def test_generator_from_a_file_with_optimizer_state(deep, deep_file):
    generator = deoldify.load_generator(deep_file)
    assert not generator.training
    assert generator.config == {"encoder": "resnet34", "decoder": "deep", "width": 1.5, "attention": True}
    assert same_state(generator, deep)


def test_generator_gives_the_originals_picture(deep):
    with np.load(DATA / "inference.golden.npz") as golden:
        gray, expected, picture = golden["model_ready_64"], golden["net_out_64"], golden["model_out_64"]
    with torch.no_grad():
        output = deep(normalize(torch.from_numpy(gray).permute(2, 0, 1).float()[None] / 255))[0]
    torch.testing.assert_close(output, torch.from_numpy(expected), rtol=0, atol=5e-5)
    levels = (denormalize(output).clamp(0, 1) * 255).byte().permute(1, 2, 0).int()
    assert (levels - torch.from_numpy(picture).int()).abs().max() <= 1


@pytest.mark.parametrize("name", ["deep", pytest.param("wide", marks=pytest.mark.slow), "critic"])
def test_round_trip_is_exact(tmp_path, name):
    written_from = network(name)
    kind = "critic" if name == "critic" else "generator"
    path = tmp_path / f"{name}.pth"
    getattr(deoldify, f"save_{kind}")(written_from, path)

    written = torch.load(path, weights_only=True)
    assert isinstance(written, OrderedDict)
    found = [{"key": key, "shape": list(t.shape), "dtype": str(t.dtype)[6:]} for key, t in written.items()]
    assert found == [{key: entry[key] for key in ("key", "shape", "dtype")} for entry in layout(name)["entries"]]
    assert all(torch.equal(written[key], tensor) for key, tensor in tensors_of(name).items())
    metadata = {key: value for key, value in written._metadata.items() if "spectral_norm" in value}
    assert len(metadata) == layout(name)["n_spectral_metadata"]
    assert [[key, metadata[key]] for key in list(metadata)[:2]] == layout(name)[
        "state_dict_metadata_spectral_norm_example"
    ]
    again = getattr(deoldify, f"load_{kind}")(path)
    assert again.config == written_from.config and same_state(again, written_from)
    assert list(tmp_path.iterdir()) == [path]


def test_old_pytorch_loads_what_is_written(tmp_path):
    """Into modules under the old spectral and weight norm, as the original builds them, strictly."""
    critic = build_critic(8, doublings=1, seed=1).eval()
    deoldify.save_critic(critic, tmp_path / "critic.pth")

    def old(conv):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return nn.utils.spectral_norm(conv)

    def block(i, o, kernel, stride):
        return nn.Sequential(old(nn.Conv2d(i, o, kernel, stride, 1)), nn.LeakyReLU(0.2))

    class Attention(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.query, self.key, self.value = (old(nn.Conv1d(c, o, 1, bias=False)) for o in (c // 8, c // 8, c))
            self.gamma = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            y = x.flatten(2)
            weights = torch.softmax(self.query(y).transpose(1, 2) @ self.key(y), dim=1)
            return (self.gamma * (self.value(y) @ weights) + y).view(x.shape)

    down = block(8, 16, 4, 2).append(Attention(16))
    drop = nn.Dropout2d(0.1)
    head = nn.Sequential(old(nn.Conv2d(16, 1, 4, bias=False)))
    theirs = nn.Sequential(
        block(3, 8, 4, 2), drop, block(8, 8, 3, 1), drop, down, block(16, 16, 3, 1), head, nn.Flatten()
    )
    theirs.load_state_dict(torch.load(tmp_path / "critic.pth", weights_only=True), strict=True)
    with torch.no_grad():
        for attention in (theirs.eval()[4][2], critic.layers[4].attention):
            attention.gamma.fill_(0.7)
        x = image(2, 32, 40)
        torch.testing.assert_close(theirs(x), critic(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "decoder", "width", "attention"),
    [("resnet18", "deep", 0.5, True), ("resnet18", "wide", 0.25, True), ("resnet34", "deep", 0.375, False)],
)
def test_variant_follows_from_the_tensors(tmp_path, encoder, decoder, width, attention):
    generator = build_generator(encoder, decoder, width, attention=attention, pretrained=False).eval()
    deoldify.save_generator(generator, tmp_path / "generator.pth")
    again = deoldify.load_generator(tmp_path / "generator.pth")
    assert again.config == generator.config and same_state(again, generator)


def test_other_containers(critic, deep, deep_tensors, tmp_path):
    save_file(deep_tensors, tmp_path / "deep.safetensors")
    assert same_state(deoldify.load_generator(tmp_path / "deep.safetensors"), deep)
    halves = {f"module.{key}": t.half() if t.is_floating_point() else t for key, t in tensors_of("critic").items()}
    torch.save(halves, tmp_path / "critic.pth", _use_new_zipfile_serialization=False)
    loaded = deoldify.load_critic(tmp_path / "critic.pth")
    assert loaded.config == critic.config
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    torch.testing.assert_close(
        loaded.head.bias or loaded.layers[0].conv.bias, critic.layers[0].conv.bias, rtol=1e-3, atol=1e-4
    )


def test_numpy_1_scalars_in_the_optimizer_state(tmp_path, small_critic_file):
    """Files of the original's time name NumPy's modules as they were called then."""
    content = {"model": torch.load(small_critic_file, weights_only=True), "opt": {"lr": np.float64(3e-4)}}
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    old = buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert b"cnumpy.core.multiarray\nscalar" in old
    (tmp_path / "old.pth").write_bytes(old)
    assert deoldify.load_critic(tmp_path / "old.pth").config["width"] == 16


class Malicious:
    """Unpickled the careless way, creates a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["opt", "model"])
def test_malicious_file_runs_nothing(tmp_path, small_critic_file, zipped, where):
    target = tmp_path / "it-ran"
    content = {"model": torch.load(small_critic_file, weights_only=True), "opt": {}}
    content[where]["extra"] = Malicious(target)
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    for load in (deoldify.load_critic, deoldify.load_generator):
        with pytest.raises(UserError, match=r"evil\.pth: refused, because loading it would run \w+\.mkdir"):
            load(tmp_path / "evil.pth")
    assert not target.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # the proof that it would have run
    assert target.exists()


def test_what_is_no_checkpoint(tmp_path, deep_file, small_critic_file):
    whole = small_critic_file.read_bytes()
    files = {
        "half.pth": whole[: len(whole) // 2],
        "empty.pth": b"",
        "picture.pth": b"\xff\xd8\xff\xe0" * 40,
        "text.pth": b"hello",
        "plain.pth": pickle.dumps({"a": 1}, protocol=2),
        "short.safetensors": b"\x00" * 5,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"checkpoint=.*{name}") as error:
            deoldify.load_generator(tmp_path / name)
        assert "\n" not in str(error.value)
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    with pytest.raises(UserError, match="holds no named tensors"):
        deoldify.load_generator(tmp_path / "numbers.pth")
    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"expected tensors such as layers\.0\.0\.weight .* found fc\.weight"):
        deoldify.load_generator(tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"--checkpoint=.*: no such file"):
        deoldify.load_generator(tmp_path / "nowhere.pth", setting="--checkpoint")
    with pytest.raises(UserError, match="not a DeOldify generator; it is a DeOldify critic"):
        deoldify.load_generator(small_critic_file)
    with pytest.raises(UserError, match="not a DeOldify critic; it is a DeOldify generator"):
        deoldify.load_critic(deep_file)


@pytest.mark.parametrize(
    ("key", "spoil", "message"),
    [
        (key, spoil, message)
        for key in (
            "layers.0.0.weight",
            "layers.0.7.2.bn2.bias",
            "layers.4.conv1.0.weight_orig",
            "layers.11.0.weight_u",
        )
        for spoil, message in (
            (lambda tensors, key: tensors.pop(key), "tensor {key} is missing; DeOldify's deep generator on a resnet34"),
            (
                lambda tensors, key: tensors.update({key: tensors[key][..., :1]}),
                "tensor {key} has shape .*; DeOldify's deep",
            ),
        )
    ]
    + [
        (
            "layers.99.weight",
            lambda t, key: t.update({key: torch.ones(3)}),
            "tensor {key} .* is unknown to DeOldify's deep",
        ),
        (
            "layers.0.7.1.conv1.weight",
            lambda t, key: [t.pop(k) for k in list(t) if ".7.1." in k],
            "tensor {key} is missing",
        ),
    ],
)
def test_spoiled_tensors_are_named(deep_tensors, key, spoil, message):
    tensors = dict(deep_tensors)
    spoil(tensors, key)
    with pytest.raises(UserError, match=message.format(key=key.replace(".", r"\."))):
        deoldify.generator_from(tensors, source="file")


def test_what_deoldify_has_no_words_for(tmp_path):
    tiny = build_generator("tiny", width=0.5)
    with pytest.raises(UserError, match="DeOldify knows no encoder tiny"):
        deoldify.save_generator(tiny, tmp_path / "tiny.pth")
    folded = fold_spectral_norm(build_critic(8, doublings=1))
    with pytest.raises(UserError, match="folded"):
        deoldify.save_critic(folded, tmp_path / "folded.pth")
    assert not list(tmp_path.iterdir())


def test_start_from_deoldifys_weights(deep, deep_file):
    started = build_generator("resnet34", "deep", 1.5, pretrained=False, seed=5)
    deoldify.load_weights(started, deep_file)
    assert same_state(started, deep) and started.training
    with torch.no_grad():
        torch.testing.assert_close(started.eval()(image(2, 64, 64)), arrays("deep")["out_2x64x64"], rtol=0, atol=5e-5)


def test_start_from_our_own(tmp_path):
    generator, critic = build_generator("tiny", width=0.5, seed=1), build_critic(8, doublings=1, seed=1)
    save_file(generator.state_dict(), tmp_path / "generator.safetensors")
    both = {f"generator.network.{key}": value for key, value in generator.state_dict().items()}
    both |= {f"critic.network.{key}": value for key, value in critic.state_dict().items()}
    torch.save({"state_dict": both, "epoch": 3}, tmp_path / "last.ckpt")
    for original, build, file in (
        (generator, lambda seed: build_generator("tiny", width=0.5, seed=seed), "generator.safetensors"),
        (generator, lambda seed: build_generator("tiny", width=0.5, seed=seed), "last.ckpt"),
        (critic, lambda seed: build_critic(8, doublings=1, seed=seed), "last.ckpt"),
    ):
        other = build(2)
        assert not same_state(other, original)
        deoldify.load_weights(other, tmp_path / file)
        assert same_state(other, original)


def test_start_from_what_does_not_fit(tmp_path, small_critic_file):
    wider = build_generator("tiny", width=1.0)
    save_file(build_generator("tiny", width=0.5).state_dict(), tmp_path / "generator.safetensors")
    before = copy.deepcopy(wider)
    with pytest.raises(UserError, match=r"model\.init=.*generator\.safetensors: tensor blocks\.0\.convs.* has shape"):
        deoldify.load_weights(wider, tmp_path / "generator.safetensors")
    with pytest.raises(UserError, match="not a DeOldify generator; it is a DeOldify critic"):
        deoldify.load_weights(wider, small_critic_file)
    with pytest.raises(UserError, match=r"tensor 0\.0\.bias has shape \(16,\)"):
        deoldify.load_weights(build_critic(8), small_critic_file)
    assert same_state(wider, before)
