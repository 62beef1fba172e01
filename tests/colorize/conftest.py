"""What the tests of photographs and films share."""

from pathlib import Path

import pytest

from nogan.networks import build_generator
from nogan.networks.generator_file import save_generator


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory) -> Path:
    """A folder with a small generator in it, as a run leaves one."""
    folder = tmp_path_factory.mktemp("run")
    save_generator(build_generator("tiny", "wide", 0.1), folder)
    return folder
