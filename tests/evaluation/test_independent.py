"""The measures against independent implementations, on the same pictures and with the same (random) weights."""

import numpy as np
import pytest
import torch
from torch import nn

from nogan.evaluation import deep, metrics
from nogan.evaluation.deep import InceptionFrechet

SIDE = 72


@pytest.fixture(scope="module")
def pictures():
    """Outputs and truths, RGB ``(4, 3, 72, 72)`` uint8: smooth colors, and the same ones shifted and noisy."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (4, 3, 6, 6)))
    truth = nn.functional.interpolate(coarse, size=SIDE, mode="bicubic").clamp(0, 255)
    noise = torch.from_numpy(rng.normal(8, 12, (4, 3, SIDE, SIDE)))
    return (truth + noise).clamp(0, 255).to(torch.uint8), truth.to(torch.uint8)


def test_ssim_is_that_of_scikit_image(pictures):
    from skimage.metrics import structural_similarity

    found = metrics.ssim(*(images / 255 for images in pictures))
    for output, truth, ours in zip(*pictures, found, strict=True):
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 0}
        theirs = structural_similarity(output.numpy() / 255, truth.numpy() / 255, data_range=1.0, **settings)
        assert ours.item() == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # of table 1 in Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula", 2005
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000_is_that_of_its_published_test_data(first, second, expected):
    labs = (torch.tensor(lab).view(1, 3, 1, 1).expand(1, 3, 5, 7) for lab in (first, second))
    assert metrics.ciede2000(*labs).item() == pytest.approx(expected, abs=5e-5)


def test_lab_is_that_of_scikit_image(pictures):
    from skimage.color import rgb2lab

    ours = metrics.rgb_to_lab(pictures[0] / 255)
    theirs = rgb2lab(pictures[0].numpy() / 255, channel_axis=1)
    assert torch.allclose(ours.double(), torch.from_numpy(theirs), atol=2e-2)  # they round the matrix to four digits


def test_lpips_is_that_of_its_authors(pictures, tmp_path):
    lpips = pytest.importorskip("lpips")
    from torchvision.models import alexnet

    torch.manual_seed(0)
    network = alexnet(weights=None)
    features = {f"features.{key}": tensor for key, tensor in network.features.state_dict().items()}
    torch.save(features, tmp_path / "alexnet.pth")
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    for piece in (getattr(theirs.net, f"slice{number}") for number in range(1, 6)):
        piece.load_state_dict({key: features[f"features.{key}"] for key in piece.state_dict()})
    output, truth = (images / 255 for images in pictures)
    with torch.inference_mode():
        expected = theirs(output, truth, normalize=True).flatten()
    found = deep.lpips(tmp_path / "alexnet.pth", "cpu").run(output, truth)
    assert torch.allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("colors", "published", "ddcolor"),
    [
        # Red and green in halves: R - G is ±255 (mean 0, deviation 255), (R + G) / 2 - B is 127.5 everywhere.
        (((255, 0, 0), (0, 255, 0)), 255 + 0.3 * 127.5, 0.3 * (255**2 + 127.5**2) ** 0.5),
        # Yellow and blue: R - G is 0, the other ±255; the absolute values do not vary.
        (((255, 255, 0), (0, 0, 255)), 255, 0.3 * 255),
        (((90, 90, 90), (10, 10, 10)), 0, 0),
    ],
)
def test_colorfulness_in_both_forms_by_hand(colors, published, ddcolor):
    picture = torch.tensor(colors).T[None, :, None, :].expand(1, 3, 4, 2) / 255
    assert metrics.colorfulness(picture).item() == pytest.approx(published, rel=1e-5, abs=1e-4)
    assert metrics.colorfulness_ddcolor(picture).item() == pytest.approx(ddcolor, rel=1e-5, abs=1e-4)


def distance_by_singular_values(first, second):
    """FID of a few features ``(N, D)``: the trace of the root is a sum of singular values, without any D x D matrix."""
    centered = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (first, second)]
    root = np.linalg.svd(centered[0] @ centered[1].T, compute_uv=False).sum()
    gap = ((first.mean(0) - second.mean(0)) ** 2).sum()
    return gap + sum((x**2).sum() for x in centered) - 2 * root


def test_fid_of_features_in_parts_is_that_of_all_at_once():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(9, 12)), rng.normal(0.5, 2, size=(7, 12))
    sets = []
    for features in (first, second):
        sums = InceptionFrechet()
        sums.update(features[:4].astype(np.float32))
        sums.update(features[4:].astype(np.float32))
        sets.append(sums)
    assert sets[0].distance(sets[1]) == pytest.approx(distance_by_singular_values(first, second), rel=1e-5)


# --- with Inception itself --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fidelity_weights(tmp_path_factory):
    """Random weights of torch-fidelity's network, as a file."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    path = tmp_path_factory.mktemp("weights") / "fidelity.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        network = theirs.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path


def fid(kind, weights, pictures):
    """Ours, one picture at a time as `nogan evaluate` does."""
    features = deep.inception(kind, weights, "cpu").run
    sets = []
    for images in pictures:
        sums = InceptionFrechet()
        for image in images:
            sums.update(features(image[None]).numpy())
        sets.append(sums)
    return sets[0].distance(sets[1])


@pytest.mark.slow
def test_fid_is_that_of_torch_fidelity(pictures, fidelity_weights, tmp_path):
    from PIL import Image
    from torch_fidelity import calculate_metrics

    for name, images in zip(("output", "truth"), pictures, strict=True):
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{number}.png")
    folders = {"input1": str(tmp_path / "output"), "input2": str(tmp_path / "truth")}
    settings = {"cuda": False, "fid": True, "feature_extractor_weights_path": str(fidelity_weights), "verbose": False}
    theirs = calculate_metrics(**folders, **settings, batch_size=4, cache=False)
    expected = theirs["frechet_inception_distance"]
    assert fid("fidelity", fidelity_weights, pictures) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_fid_of_deoldify_is_that_of_its_description(pictures, fidelity_weights):
    """Bicubic to 299 px, values from -1 to 1, and the same network: torch-fidelity's takes x as (x - 128) / 128."""
    import cv2
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(fidelity_weights))
    found = []
    seen = {}
    network.Conv2d_1a_3x3.register_forward_pre_hook(lambda module, args: (seen["x"],))
    for images in pictures:
        resized = [cv2.resize(i.permute(1, 2, 0).numpy(), (299, 299), interpolation=cv2.INTER_CUBIC) for i in images]
        seen["x"] = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            found.append(network(torch.zeros(4, 3, 299, 299, dtype=torch.uint8))[0].double().numpy())
    assert fid("deoldify", fidelity_weights, pictures) == pytest.approx(distance_by_singular_values(*found), rel=1e-4)


@pytest.mark.slow
def test_fid_of_ddcolor_is_that_of_its_description(pictures, tmp_path):
    """Bilinear to 299 px, [0, 1] halved into [0.5, 1], ImageNet's deviation and mean; torchvision's network."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False).eval()
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    pooled = []
    network.avgpool.register_forward_hook(lambda module, args, output: pooled.append(output.flatten(1)))
    for images in pictures:
        x = nn.functional.interpolate(images / 255, size=(299, 299), mode="bilinear", align_corners=False)
        x = x * 0.5 + 0.5
        for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
            x[:, channel] = x[:, channel] * (deviation / 0.5) + (mean - 0.5) / 0.5
        with torch.inference_mode():
            network(x)
    expected = distance_by_singular_values(*(features.double().numpy() for features in pooled))
    assert fid("ddcolor", tmp_path / "inception.pth", pictures) == pytest.approx(expected, rel=1e-4)


def test_weights_that_are_missing_or_others_are_said_in_one_line(tmp_path):
    from nogan.common.errors import UserError

    with pytest.raises(UserError, match=r"--lpips-weights .*none\.pth: no such file; expected torchvision's alexnet"):
        deep.lpips(tmp_path / "none.pth", "cpu")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights expected"):
        deep.lpips(tmp_path / "other.pth", "cpu")
