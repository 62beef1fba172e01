"""The probe's measurements and its picture."""

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from nogan.common import color
from nogan.evaluation.further import further_measure
from nogan.evaluation.held_out import colorize, draw_grid, evaluating, rescale, shift
from nogan.evaluation.measures import SCALE
from nogan.evaluation.per_image import PER_IMAGE, Pair
from nogan.evaluation.summing_up import estimate
from nogan.report import write_report
from nogan.report.pictures import read_grid
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore
from nogan.training.run import train


def test_shift_moves_the_picture_and_mirrors_the_border():
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    moved = shift(picture, 1)
    assert torch.equal(moved[..., 1:, 1:], picture[..., :-1, :-1])
    assert torch.equal(moved[..., 0, 1:], picture[..., 1, :-1])
    back = shift(moved, -1)
    assert torch.equal(back[..., :-1, :-1], picture[..., :-1, :-1])


@pytest.mark.parametrize(("to", "size"), [(1.25, 80), (64, 64), (0.5, 32)])
def test_rescale_gives_multiples_of_sixteen(to, size):
    assert rescale(torch.rand(1, 3, 64, 64), to).shape == (1, 3, size, size)


@pytest.mark.parametrize("size", [32, 48, 64, 128, 192])
def test_the_probe_colorizes_at_another_size_whatever_its_own(size):
    assert rescale(torch.rand(1, 3, size, size), SCALE).shape[-1] > size


def test_evaluating_restores_every_mode():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3)))
    network[1][1].eval()  # one module was in eval mode before
    modes = [module.training for module in network.modules()]
    with pytest.raises(ValueError), evaluating(network):
        assert not any(module.training for module in network.modules())
        raise ValueError
    assert [module.training for module in network.modules()] == modes


def test_colorize_keeps_the_luma_of_the_photograph():
    photographs = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    red_cast = nn.Conv2d(3, 3, 1)
    nn.init.eye_(red_cast.weight.data.view(3, 3))
    red_cast.bias.data = torch.tensor([0.3, 0.0, 0.0])
    with torch.no_grad():
        outputs = colorize(red_cast, photographs, 2, torch.device("cpu"))
    assert torch.allclose(color.luma(outputs), color.luma(photographs), atol=1e-3)
    assert (outputs[:, 0] - outputs[:, 1]).mean() > 0.02


def test_the_grid_has_gray_output_and_truth_in_its_rows():
    photographs, outputs = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    grid = np.asarray(draw_grid(photographs, outputs)) / 255
    assert grid.shape == (3 * 8 + 2 * 2, 2 * 8 + 2, 3)
    second = slice(10, 18)
    assert np.allclose(grid[:8, second], color.to_gray(photographs[1]).permute(1, 2, 0), atol=0.5 / 255 + 1e-6)
    assert np.allclose(grid[second, second], outputs[1].permute(1, 2, 0), atol=0.5 / 255 + 1e-6)
    assert np.allclose(grid[20:28, second], photographs[1].permute(1, 2, 0), atol=0.5 / 255 + 1e-6)


def test_a_grid_is_cut_into_the_pictures_that_it_was_drawn_from(tmp_path):
    draw_grid(torch.rand(5, 3, 16, 16), torch.zeros(5, 3, 16, 16)).save(tmp_path / "grid.png")
    grid = read_grid(tmp_path / "grid.png")
    assert [picture.size for row in (grid.gray, grid.output, grid.truth) for picture in row] == [(16, 16)] * 15
    assert all(picture.getextrema() == ((0, 0),) * 3 for picture in grid.output)  # no gap got into them


@pytest.mark.parametrize("key", ["ssim", "ciede2000", "cf", "delta_cf_ddcolor", "wrong_strong_seen", "false_variation"])
def test_what_an_objective_names_is_measured_as_evaluate_does(key):
    generator = torch.Generator().manual_seed(3)
    photographs, outputs = (torch.rand(3, 3, 32, 32, generator=generator) for _ in range(2))
    outputs = (photographs * 0.8 + outputs * 0.2) * torch.tensor([1.0, 0.6, 1.0]).view(3, 1, 1)
    named, measure = further_measure(f"val/{key}")
    assert named == key
    columns = [
        {name: of(Pair(pictures, photographs)).double().numpy() for name, of in PER_IMAGE.items()}
        for pictures in (outputs, photographs)
    ]
    expected = estimate(key, *columns, {}, 3)
    assert measure(outputs, photographs) == pytest.approx(expected.value if expected else np.nan, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("objective", [None, "val/psnr", "val/change"])
def test_what_a_run_measures_anyway_is_not_measured_again(objective):
    assert further_measure(objective) is None


def test_a_run_measures_what_its_objective_names(smallest, tmp_path):
    config = smallest("objective=val/ciede2000", "nogan.repeats=0", "trainer.limit_batches=1")
    metrics = train(config, tmp_path / "run", console=Console(quiet=True))
    run = RunFolder(tmp_path / "run")
    assert 0 < metrics["val/ciede2000"] < 100
    assert run.records()[-1].metrics["ciede2000"] == metrics["val/ciede2000"]
    assert [row["val/ciede2000"] for row in run.metrics() if "val/psnr" in row][-1] == metrics["val/ciede2000"]


def test_where_few_pictures_are_held_out_all_of_them_are_measured_and_the_run_and_its_report_say_so(
    smallest, tmp_path, caplog
):
    few = (
        "data.images=40",
        "data.val_share=0.025",
        "probe.images=128",
        "probe.batch_size=16",
        "nogan.repeats=0",
        "trainer.limit_batches=2",
    )
    with caplog.at_level("INFO", "nogan"):
        train(smallest(*few), tmp_path, console=Console(quiet=True), write_report=write_report)
    assert "Pictures held out to measure on: 1, of the 128 of probe.images" in caplog.text
    assert len(SnapshotStore(tmp_path / "snapshots" / "gan@1").pictures(0)) == 1
    page = (tmp_path / "report.html").read_text()
    assert "Measured on 1 scene of 32 px" in page
    assert "a snapshot is the average of the generators so far" in page
