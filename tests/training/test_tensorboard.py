"""What TensorBoard is told, read back from its event file; a missing package is found before anything is built."""

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import nogan.training.loggers
from nogan.common.errors import UserError
from nogan.runs.run_folder import RunFolder
from nogan.training.run import train


def test_it_has_every_point_of_the_csv_and_every_grid(smallest, tmp_path):
    pytest.importorskip("tensorboard", reason='needs the tensorboard extra: pip install -e ".[tensorboard]"')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    overrides = ("logger=tensorboard", "nogan.repeats=0", "trainer.limit_batches=2")
    train(smallest(*overrides), tmp_path, console=Console(quiet=True))
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()
    rows = RunFolder(tmp_path).metrics()
    for name in ("val/psnr", "gan/critic_loss", "generator/loss"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        wanted = [(int(row["step"]), row[name]) for row in rows if name in row]
        assert logged == [(step, pytest.approx(value)) for step, value in wanted] and logged
    pictures = {event.step: event.encoded_image_string for event in events.Images("samples")}
    drawn = {int(path.stem[5:]): path for path in (tmp_path / "samples").iterdir()}
    assert pictures.keys() == drawn.keys()
    for step, path in drawn.items():
        with Image.open(io.BytesIO(pictures[step])) as sent, Image.open(path) as grid:
            assert np.array_equal(np.asarray(sent), np.asarray(grid))


def test_without_the_package_it_says_which_extra_before_anything_is_built(smallest, tmp_path, monkeypatch):
    monkeypatch.setattr(nogan.training.loggers, "find_spec", lambda name: None)
    said = io.StringIO()
    with pytest.raises(UserError, match=r'logger=tensorboard .*pip install -e "\.\[tensorboard\]"$'):
        train(smallest("logger=tensorboard"), tmp_path / "run", console=Console(file=said))
    assert not said.getvalue() and not (tmp_path / "run").exists()
