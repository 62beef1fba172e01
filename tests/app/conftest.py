"""What the tests of the page share: colorizers, photographs and a film, and the command to compare with."""

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media import make_film, photograph
from PIL import Image

from nogan.cli import main
from nogan.networks import build_generator
from nogan.networks.generator_file import save_generator


@pytest.fixture(scope="session")
def outputs(tmp_path_factory) -> Path:
    """A folder with the generators of two runs, ``a/1`` and ``b/1``, small and quick."""
    folder = tmp_path_factory.mktemp("app") / "outputs"
    for seed, name in enumerate(("a", "b")):
        save_generator(build_generator("tiny", "wide", 0.1, seed=seed), folder / name / "1", size=64)
    return folder


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> Path:
    """``old.jpg`` with EXIF, ``scan.tif`` of 16 bits, ``letter.jpg``, which is none, and ``film.mkv`` with sound."""
    folder = tmp_path_factory.mktemp("dropped")
    exif = Image.Exif()
    exif[0x010E] = "Grandmother, 1931"
    Image.fromarray(photograph(120, 180)).save(folder / "old.jpg", exif=exif, dpi=(300, 300))
    Image.fromarray(photograph(seed=1).astype(np.uint16) * 257).save(folder / "scan.tif")
    (folder / "letter.jpg").write_text("Dear Sir")
    make_film(folder / "film.mkv", 40, sound="flac")
    return folder


@pytest.fixture
def by_command(tmp_path, monkeypatch) -> Callable[..., bytes]:
    """``by_command(text, source, *others)``: what the command that the page shows makes of a file."""

    def run(text: str, source: Path, *others: Path) -> bytes:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        monkeypatch.chdir(folder)
        for file in (source, *others):
            (folder / file.name).write_bytes(file.read_bytes())
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == "nogan" and not main(words)
        return next((folder / "colored").glob(f"{source.stem}.*")).read_bytes()

    return run
