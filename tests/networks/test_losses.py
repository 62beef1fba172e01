"""The losses against the original's values, and the promises that the feature network makes."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from deoldify_golden import arrays, filled, golden, image, image2
from torch import nn

from nogan.common.color import normalize
from nogan.common.errors import UserError
from nogan.networks.losses import FeatureLoss, critic_loss, critic_pretrain_loss, generator_adversarial_loss

RELATIVE = 1e-5


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """vgg16_bn under the fill formula, as torchvision's own file would hold it."""
    entries = [{**entry, "k": entry["k"]} for entry in golden("loss")["vgg_keys"]]
    tensors = {f"features.{key}": tensor for key, tensor in filled(entries).items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg16_bn.pth"
    torch.save(tensors | {"classifier.0.bias": torch.zeros(4096)}, path)
    return path


@pytest.fixture(scope="module")
def feature_loss(vgg_file):
    return FeatureLoss(network_weights=vgg_file)


@pytest.mark.parametrize("case", ["a", "b"])
def test_feature_loss(feature_loss, case):
    expected = golden("loss")["feature_loss"][case]
    n, _, height, width = expected["shape"]
    output = image(n, height, width).requires_grad_()
    total, parts = feature_loss(output, image2(n, height, width))
    total.backward()
    assert total.item() == pytest.approx(expected["loss"], rel=RELATIVE)
    names = {"pixel": "pixel", "feature_22": "feat_0", "feature_32": "feat_1", "feature_42": "feat_2"}
    assert set(parts) == set(names)
    for ours, theirs in names.items():
        assert parts[ours].item() == pytest.approx(expected["terms"][theirs], rel=RELATIVE)
        assert not parts[ours].requires_grad
    assert output.grad.norm().item() == pytest.approx(expected["grad_input_l2"], rel=1e-4)
    if case == "a":
        torch.testing.assert_close(output.grad, arrays("loss")["grad_input_a"], rtol=1e-3, atol=1e-6)


def test_adversarial_losses():
    expected = golden("loss")["gan"]
    i = np.arange(50.0)
    real = torch.from_numpy((1.5 * np.sin(0.7 * i + 0.2) + 0.5).astype(np.float32)).reshape(2, 25)
    fake = torch.from_numpy((1.2 * np.cos(0.5 * i) - 0.3).astype(np.float32)).reshape(2, 25)
    assert generator_adversarial_loss(fake).item() == pytest.approx(expected["bce(fake,1)"], rel=RELATIVE)
    assert critic_loss(real, fake).item() == pytest.approx(expected["loss_C"], rel=RELATIVE)
    mixed = critic_pretrain_loss(real, torch.tensor([1, 0]))
    assert mixed.item() == pytest.approx(expected["mixed targets [1,0] on real"], rel=RELATIVE)


@pytest.mark.parametrize(("weight", "key"), [(2.0, "loss_G weights (1.0, 2.0)"), (1.5, "loss_G weights (1.0, 1.5)")])
def test_generator_loss_in_the_gan(feature_loss, weight, key):
    expected = golden("loss")
    shape = expected["feature_loss"]["a"]["shape"]
    fake = torch.from_numpy((1.2 * np.cos(0.5 * np.arange(50.0)) - 0.3).astype(np.float32)).reshape(2, 25)
    n, _, height, width = shape
    feature, _ = feature_loss(image(n, height, width), image2(n, height, width))
    total = generator_adversarial_loss(fake) + weight * feature
    assert total.item() == pytest.approx(expected["gan"][key], rel=RELATIVE)


def test_feature_network_takes_no_part_in_training(feature_loss):
    owner = nn.ModuleDict({"loss": feature_loss})
    assert not list(owner.parameters()) and not owner.state_dict()
    owner.train()
    assert not any(module.training for module in feature_loss.network.modules())
    assert not any(parameter.requires_grad for parameter in feature_loss.network.parameters())
    before = {key: value.clone() for key, value in feature_loss.network.state_dict().items()}
    output = image(2, 64, 64).requires_grad_()
    owner["loss"](output, image2(2, 64, 64))[0].backward()
    after = feature_loss.network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_feature_network_moves_with_the_loss(feature_loss):
    moved = copy.deepcopy(feature_loss).to(torch.float64)
    assert {parameter.dtype for parameter in moved.network.parameters()} == {torch.float64}
    total, _ = moved(image(2, 64, 64).double(), image2(2, 64, 64).double())
    assert total.item() == pytest.approx(golden("loss")["feature_loss"]["a"]["loss"], rel=RELATIVE)


def test_runs_no_further_than_the_last_layer(vgg_file):
    loss = FeatureLoss(layers=(5, 22), weights=(1, 1), network_weights=vgg_file)
    assert len(loss.network.layers) == 23
    whole = torchvision.models.vgg16_bn().features[:23].eval()
    tensors = torch.load(vgg_file, weights_only=True)
    whole.load_state_dict({key.removeprefix("features."): value for key, value in tensors.items()}, strict=False)
    x = image(1, 64, 64)
    with torch.no_grad():
        first, second = loss.network(x)
        torch.testing.assert_close(second, whole(x))
        torch.testing.assert_close(first, whole[:6](x))


def test_a_tapped_result_is_not_overwritten(vgg_file):
    """The layer behind a batch norm is an in-place ReLU."""
    features = FeatureLoss(layers=(1, 2), weights=(1, 1), network_weights=vgg_file).network(image(1, 64, 64))
    assert features[0].min() < 0 <= features[1].min()


@pytest.mark.parametrize("network", ["resnet18", "mobilenetv2_100", "torchvision/mobilenet_v2"])
def test_other_networks(network):
    ran = []
    loss = FeatureLoss(network, layers=(1, 2), weights=(1, 2), pretrained=False)
    for name, module in loss.network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    output = image(2, 64, 64).requires_grad_()
    total, parts = loss(output, image2(2, 64, 64))
    total.backward()
    assert output.grad.abs().sum() > 0
    assert set(parts) == {"pixel", "feature_1", "feature_2"}
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=RELATIVE)
    beyond = ("layer3", "layer4", "blocks.3", "blocks.4", "layers.3")
    assert ran and not any(part in name for name in ran for part in beyond)


def test_pixels_alone():
    loss = FeatureLoss(None, pixel_weight=2.0)
    total, parts = loss(torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))
    assert total.item() == 2.0 and set(parts) == {"pixel"} and loss.network is None


def test_rebalanced_pixels_count_by_their_color():
    """Half of the picture is red, with a chroma of 0.632, and half is gray; the error is in one of them."""
    target = torch.full((1, 3, 4, 8), 0.5)
    target[..., :4] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    on_red, on_gray = (normalize(target).clone() for _ in range(2))
    on_red[..., :4] += 1
    on_gray[..., 4:] += 1
    for rebalance, ratio in ((0.0, 1.0), (1.0, 1 + 6.32), (2.0, 1 + 2 * 6.32)):
        loss = FeatureLoss(None, rebalance=rebalance)
        red, gray = (loss(output, normalize(target))[0].item() for output in (on_red, on_gray))
        assert red / gray == pytest.approx(ratio, rel=1e-3) and red + gray == pytest.approx(1)


def test_losses_stay_float32_under_autocast(feature_loss):
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = feature_loss(image(1, 64, 64), image2(1, 64, 64))
        logits = torch.randn(2, 9).bfloat16()
        assert critic_loss(logits, logits).dtype == torch.float32
    assert total.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"network": "vgg99"}, ["loss.network=vgg99", "torchvision"]),
        ({"network": "nonsense_net"}, ["loss.network=nonsense_net", "timm"]),
        ({"network": "torchvision/resnet18"}, ["loss.network=torchvision/resnet18", "features"]),
        ({"layers": (22, 99), "weights": (1, 1)}, ["loss.layers=[22, 99]", "0 … 43"]),
        ({"layers": (22, 32)}, ["loss.weights", "loss.layers=[22, 32]"]),
        ({"layers": (32, 22, 42)}, ["loss.layers=[32, 22, 42]", "rising"]),
        ({"network": "resnet18", "layers": (1, 22), "weights": (1, 1)}, ["loss.layers=[1, 22]", "resnet18"]),
        ({"network_weights": "nowhere.pth"}, ["loss.network_weights=nowhere.pth", "no such file"]),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(UserError) as error:
        FeatureLoss(**{"pretrained": False} | arguments)
    assert all(word in str(error.value) for word in words)


def test_weights_that_do_not_fit_are_named(tmp_path):
    wrong = torchvision.models.vgg11_bn().features.state_dict()
    torch.save({f"features.{key}": value for key, value in wrong.items()}, tmp_path / "vgg11.pth")
    with pytest.raises(UserError, match=r"features\.3\.weight is missing.*\(64, 64, 3, 3\)"):
        FeatureLoss(network_weights=tmp_path / "vgg11.pth")
