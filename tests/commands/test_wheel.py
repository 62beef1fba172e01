"""The built package, installed without its sources: it trains and colorizes from an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nogan import __version__
from tests.conftest import ROOT, SMALLEST

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run ``command`` and return what it printed; that it went well is asserted."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **variables}
    ran = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources, as ``pip install .`` builds it, but without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "sources"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("src", "conf", "experiments"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder / "built", copy, cwd=folder)
    shutil.rmtree(copy)
    (built,) = (folder / "built").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """A folder with the package and its console script; with PYTHONPATH it is found before any other."""
    target = wheel.parent.parent / "installed"
    run(*PIP, "install", "--no-deps", "--no-index", "--target", target, wheel, cwd=wheel.parent)
    return target


def test_the_wheel_holds_every_file_of_the_package_and_every_recipe(wheel):
    assert wheel.name.startswith(f"nogan-{__version__}-")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "nogan"
    sources = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    recipes = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "experiments").glob("*.yaml")]
    expected = {f"nogan/{path.relative_to(package)}" for path in sources}
    expected |= {f"nogan/_recipes/{path.relative_to(ROOT)}" for path in recipes}
    assert {name for name in names if name.startswith("nogan/")} == expected


def test_it_trains_and_colorizes_from_an_empty_folder(installed, tmp_path):
    nogan = [sys.executable, installed / "bin" / "nogan"]
    here = {"cwd": tmp_path, "PYTHONPATH": str(installed)}
    where = run(sys.executable, "-c", "import nogan; print(nogan.__file__)", **here)
    assert Path(where.strip()).parent == installed / "nogan"  # and not the sources that these tests run on
    assert run(*nogan, "--version", **here).strip() == __version__

    trained = run(*nogan, "train", *SMALLEST, "nogan.repeats=0", "trainer.limit_batches=1", **here)
    (folder,) = (tmp_path / "outputs" / "quickstart").iterdir()
    run_folder = f"outputs/quickstart/{folder.name}"
    told = f"nogan colorize {run_folder}/held-out -o OUT --checkpoint {run_folder} --render-factor 4"
    assert told in " ".join(trained.split())
    run(*nogan, *told.split()[1:], **here)  # what it says is next
    assert len(list((tmp_path / "OUT").iterdir())) == 2
    assert (folder / "report.html").is_file()

    drawn = np.linspace(0, 255, 48 * 64, dtype=np.uint8).reshape(48, 64)
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    run(*nogan, "colorize", "drawn.png", "-o", "color.png", "--checkpoint", folder, "--render-factor", "4", **here)
    colored = np.asarray(Image.open(tmp_path / "color.png"))
    assert colored.shape == (48, 64, 3) and (colored[..., 0] != colored[..., 2]).any()
