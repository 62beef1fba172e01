"""What fails on the pictures of a later phase is found before the first one, in one line that names the phase."""

import sys
from collections.abc import Callable

import pytest

from nogan.common.errors import UserError
from nogan.plan import build_plan
from nogan.plan.config import RunConfig
from nogan.training import shapes
from nogan.training.shapes import check_shapes

MODULE = """
from torch import nn

class Coarse(nn.Sequential):
    '''Takes sizes that 48 divides.'''
    def __init__(self):
        super().__init__(nn.PixelUnshuffle(48), nn.Conv2d(3 * 48**2, 3 * 48**2, 1), nn.PixelShuffle(48))

class Looks(nn.Conv2d):
    '''Looks at its numbers, which the meta device does not have.'''
    def __init__(self):
        super().__init__(3, 3, 1)
    def forward(self, x):
        return super().forward(x) if float(x.detach().mean()) > -100 else x

class Maps(nn.Conv2d):
    '''A critic that does not flatten its logits.'''
    def __init__(self):
        super().__init__(3, 1, 8)

class Overwrites(nn.Conv2d):
    '''A critic that works forward alone.'''
    def __init__(self):
        super().__init__(3, 1, 8)
    def forward(self, x):
        y = super().forward(x).exp()
        return y.add_(1).flatten(1)

class Each(nn.Module):
    '''A loss of each picture.'''
    def forward(self, output, target):
        return (output - target).abs().mean(dim=(1, 2, 3)), {}
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> str:
    """The name of a module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"shapes_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def check(config: RunConfig) -> None:
    check_shapes(config, build_plan(config))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [
                "+model.networks.generator={_target_:OWN.Coarse}",
                "nogan.pretrain.g1.size=48",
                "nogan.pretrain.g2.size=48",
            ],
            r"nogan\.critic\.fakes\.size=32: model\.networks\.generator fails on 1 picture of 32 x 32 px: pixel",
        ),
        (
            ["+model.networks.critic={_target_:OWN.Maps}"],
            r"nogan\.critic\.phases\.c1\.size=32: model\.networks\.critic fails on 2 .* shape \(2, 1, 25, 25\)",
        ),
        (
            ["+model.networks.critic={_target_:OWN.Overwrites}"],
            r"c1\.size=32: model\.networks\.critic fails .* modified by an inplace operation",
        ),
        (
            ["+loss.function={_target_:OWN.Each}"],
            r"nogan\.pretrain\.g1\.size=32: loss\.function fails .* shape \(2,\), and \(\) is expected",
        ),
        (
            ["model.encoder=resnet34", "nogan.pretrain.g2.batch_size=1"],
            r"nogan\.pretrain\.g2\.size=32: model\.encoder=resnet34 fails on 1 picture .* more than 1 value per",
        ),
        (
            ["model.encoder=resnet34", "trainer.accumulate=4"],
            r"g1\.size=32: model\.encoder=resnet34 fails on 1 picture .* more than 1 value per",
        ),
        (
            ["model.encoder=vit_tiny_patch16_224"],
            r"model\.encoder=vit_tiny_patch16_224: its features stand at red",
        ),
        (["loss={network:vgg16_bn,layers:[50],weights:[1]}"], r"loss\.layers=\[50\]: vgg16_bn has features 0 … 43"),
    ],
)
def test_what_would_fail_after_hours_names_phase_and_key(smallest, own, overrides, message):
    with pytest.raises(UserError, match=message):
        check(smallest(*(override.replace("OWN", own) for override in overrides)))


def test_a_network_that_looks_at_its_numbers_is_tried_for_real(smallest, own):
    check(smallest(f"+model.networks.generator={{_target_:{own}.Looks}}"))


@pytest.mark.parametrize("encoder", ["tiny", "resnet34", "resnet101"])
def test_the_networks_of_the_recipes_take_what_they_are_known_to_take(
    smallest: Callable[..., RunConfig], monkeypatch, encoder
):
    monkeypatch.setattr(shapes, "ENCODERS", ())
    monkeypatch.setattr(shapes, "VGG16_LAYERS", ())
    loss = "loss={network:vgg16_bn,layers:[0,43],weights:[1,1]}"
    sizes = ("nogan.pretrain.g1.size=32", "nogan.pretrain.g2.size=47", "nogan.gan.size=33")
    check(smallest(f"model.encoder={encoder}", loss, *sizes))


def test_a_dry_run_of_the_recipes_does_not_wait_for_torch(smallest):
    config = smallest("loss={network:vgg16_bn,layers:[22,32,42],weights:[20,70,10]}", "model.encoder=resnet101")
    assert not list(shapes._unusual_parts(config, build_plan(config)))
