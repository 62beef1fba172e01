"""Merit is quality and the color gained, up to a limit; picture by picture it scatters as the chroma FD does."""

import math
from functools import partial

import pytest
import torch
from rich.console import Console

from nogan.evaluation.merit import COLOR_WEIGHT, ENOUGH, Color, merit_of_each
from nogan.evaluation.metrics import HeldOutMetrics, chroma_frechet
from nogan.evaluation.set_color import color_of, color_of_rows
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import stores
from nogan.training.run import train


@pytest.fixture(scope="module")
def pictures():
    """Photographs of all colors, and outputs of half the color, the first of them gray."""
    photographs = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    gray = photographs.mean(dim=1, keepdim=True)
    outputs = gray + 0.5 * (photographs - gray)
    outputs[0] = gray[0]
    return outputs, photographs


def test_shares_are_the_jackknifes_and_a_picture_with_wrong_colors_has_the_largest(pictures):
    outputs, photographs = pictures
    color = color_of(outputs, photographs)
    assert color.value == pytest.approx(math.log(chroma_frechet(outputs, photographs)))
    without = [
        math.log(chroma_frechet(*(torch.cat([rgb[:i], rgb[i + 1 :]]) for rgb in (outputs, photographs))))
        for i in range(12)
    ]
    pseudo = torch.tensor([12 * color.value - 11 * value for value in without], dtype=torch.float64)
    assert color.shares == pytest.approx((pseudo - pseudo.mean()).tolist(), abs=1e-6)
    assert max(color.shares) == color.shares[0]
    assert Color.of_list(color.as_list()) == color
    assert color_of(outputs[:1], photographs[:1]).shares == (0.0,)


@pytest.mark.parametrize("count", [1, 12, 33])
def test_what_the_probe_has_counted_already_gives_the_same_to_the_bit(count):
    """Also for the one picture that is left over where colors are counted 32 at a time."""
    outputs, photographs = torch.rand(2, count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert color_of_rows(*HeldOutMetrics().update(outputs, photographs)) == color_of(outputs, photographs)


def test_color_gained_counts_up_to_a_limit_and_no_longer_scatters_there():
    qualities, before, weight = [-2.0, -3.0], Color(5.0, (0.1, -0.1)), 2.0
    merits = partial(merit_of_each, qualities, before=before, weight=weight)
    assert merits(before) == pytest.approx([-2, -3])
    assert merits(Color(4.9, (0.0, 0.0))) == pytest.approx([-2 + weight * 0.2, -3 + weight * 0.0])
    assert merits(Color(3.0, (0.3, -0.3))) == pytest.approx([-2 + weight * ENOUGH, -3 + weight * ENOUGH])
    assert merits(Color(6.0, (0.3, -0.3))) == qualities, "color lost counts for nothing"
    assert all(math.isnan(value) for value in merits(Color(math.nan, (0.0, 0.0))))


def test_the_weight_is_the_one_that_the_record_is_about(configure):
    assert configure("model=tiny").probe.color_weight == COLOR_WEIGHT


def test_a_run_counts_the_color_gained_since_its_first_gan_phase(smallest, tmp_path):
    config = smallest("nogan.repeats=1", "trainer.limit_batches=3", "nogan.gan.lr=1e-3")
    train(config, tmp_path, console=Console(quiet=True))
    first, second = stores(RunFolder(tmp_path)).values()
    before = first.metrics(0)
    assert before["merit"] == pytest.approx(before["quality"], abs=1e-5)
    later = [store.metrics(step) for store in (first, second) for step in store.steps()]
    assert len(later) > 4
    for metrics in later:
        gained = math.log(before["chroma_fd"] / metrics["chroma_fd"])
        expected = metrics["quality"] + config.probe.color_weight * min(max(gained, 0), ENOUGH)
        assert metrics["merit"] == pytest.approx(expected, abs=1e-4)
    pretrained = next(record.metrics for record in RunFolder(tmp_path).records() if record.kind == "generator")
    assert pretrained["merit"] == pretrained["quality"]
