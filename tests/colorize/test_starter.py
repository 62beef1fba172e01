"""The model that comes with the package: there, small, quick, and what is taken where no checkpoint is given."""

import subprocess
import sys

import numpy as np
from PIL import Image

from nogan import Colorizer
from nogan.cli import main
from nogan.colorize.photos import read_photo
from nogan.networks.generator_file import describe, load_generator
from nogan.networks.named import STARTER_FILE
from tests.media import photograph


def test_it_is_small_and_says_where_it_comes_from():
    assert STARTER_FILE.stat().st_size <= 16_000_000
    training = describe("starter")["training"]
    assert training["run"] == "starter"
    assert load_generator("starter").render_factor == training["render_factor"]


def test_photographs_need_no_checkpoint(tmp_path, capsys):
    Image.fromarray(photograph()).convert("L").save(tmp_path / "old.png")
    assert main(["colorize", str(tmp_path / "old.png"), "-o", str(tmp_path / "new.png"), "--device", "cpu"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert sum("no --checkpoint: coloring with the starter" in line for line in said) == 1
    colored = read_photo(tmp_path / "new.png").pixels
    assert np.ptp(colored.astype(int), axis=-1).max() > 5  # color, where there was none
    by_python = Colorizer.load(device="cpu").colorize(Image.open(tmp_path / "old.png"))
    assert np.array_equal(np.asarray(by_python), colored)
    assert main(["colorize", str(tmp_path / "old.png"), "-o", str(tmp_path / "x.png"), "--checkpoint", "starter"]) == 0
    assert "no --checkpoint" not in capsys.readouterr().err


def test_gray_stays_calm():
    """Even gray has no color of its own: whatever the starter makes of it must be pale, with no patch."""
    colored = Colorizer.load(device="cpu").colorize(np.full((96, 96), 128, np.uint8))
    assert np.ptp(colored.astype(int), axis=-1).max() < 40


def test_loading_it_needs_no_training_packages():
    code = "import nogan, sys; nogan.Colorizer.load(device='cpu'); print([m for m in sys.modules if m in %r])"
    heavy = ("pytorch_lightning", "datasets", "av", "matplotlib", "gradio")
    ran = subprocess.run([sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
