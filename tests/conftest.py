"""What many tests need: configs composed as the command line would compose them, and runs that take seconds."""

import functools
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nogan.plan.config import RunConfig
from nogan.training.compose import read_config
from tests.started import start

ROOT = Path(__file__).parent.parent

# The complete program at its smallest: every phase, one repeat, pictures of 32 px.
SMALLEST = (
    "experiment=quickstart",
    "trainer=debug",
    "logger=csv",
    "data.workers=0",
    "data.images=200",
    *("nogan.pretrain.g1.share=0.8", "nogan.pretrain.g2.share=0.6", "nogan.gan.share=0.3"),
    "nogan.pretrain.g2.size=32",
    "nogan.critic.fakes={size:32,batch_size:4,share:0.3}",
    "nogan.critic.phases.c2.size=32",
    "nogan.gan.size=32",
    "nogan.pretrain.g1.batch_size=4",
    "nogan.pretrain.g2.batch_size=4",
    "nogan.critic.phases.c1.batch_size=4",
    "nogan.critic.phases.c2.batch_size=4",
    "nogan.gan.batch_size=4",
    "nogan.inflection.cycle_worth=null",  # what gains nothing in some batches still has all its cycles
    "nogan.snapshot_every=0.05",
    "model.width=0.5",
    "model.critic.width=8",
    "probe={images:4,size:32,grid:2,batch_size:4}",
)


def train_py(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``train.py`` in ``folder``, as from the command line, with further environment ``variables``."""
    return start(ROOT / "train.py", folder, *arguments, **variables)


@pytest.fixture(scope="session")
def configure() -> Callable[..., RunConfig]:
    """``configure("model=artistic", "nogan.repeats=2")`` as the command line would."""
    return functools.cache(read_config)  # a config is frozen, and to compose one takes a quarter of a second


@pytest.fixture(scope="session")
def smallest(configure: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    """Like ``configure``, on top of the smallest complete program."""
    return lambda *overrides: configure(*SMALLEST, *overrides)


@pytest.fixture(scope="session")
def damaged(tmp_path_factory) -> Path:
    """A folder of 120 photographs, one in ten of them of zero bytes: 007.png, 017.png, …"""
    folder = tmp_path_factory.mktemp("damaged")
    rng = np.random.default_rng(0)
    for number in range(120):
        path = folder / f"{number:03d}.png"
        if number % 10 == 7:
            path.touch()
        else:
            Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """Commands that run within a test configure logging for their process: here that is the other tests', too."""
    root = logging.getLogger()
    level, disabled_below, handlers = root.level, logging.root.manager.disable, root.handlers[:]
    yield
    for handler in root.handlers[:]:
        if isinstance(handler, logging.FileHandler) and handler not in handlers:  # its folder goes with the test
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.disable(disabled_below)
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.split(".")[0] == "nogan":
            logger.disabled, logger.propagate = False, True
            logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True, scope="session")
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """No test pulls the plug of the machine; a run waits for the disk sixty times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors are faster on one thread, and results do not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_workers_left() -> Iterator[None]:
    """A worker that outlives its test holds copies of the pipes of others, such as a browser's driver."""
    yield
    if datamodule := sys.modules.get("nogan.data.datamodule"):
        datamodule.end_workers()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The folder of a complete run with two inflection points and W&B offline; read it, do not change it."""
    from rich.console import Console

    from nogan.report import write_report
    from nogan.training.run import train

    overrides = (
        "logger=wandb",
        "logger.wandb.upload_weights=true",
        "trainer.limit_batches=8",
        "nogan.gan.max_critic_steps=1",
        "nogan.snapshot_every=0.03",  # each batch, so that the last snapshot lies past the inflection point
        "nogan.inflection.name=budget",
        "nogan.inflection.budget.share=0.075",  # of 200 images, in batches of 4: within the fourth batch
    )
    folder = tmp_path_factory.mktemp("finished") / "run"
    choices = {"model": "tiny", "data": "scenes", "nogan": "tiny", "experiment": "quickstart", "recipe_scale": "x1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        config = read_config(*SMALLEST, *overrides)
        train(config, folder, choices=choices, console=Console(quiet=True), write_report=write_report)
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser, without a window; tests that need one are skipped where there is none, or fail with CI set."""
    playwright = pytest.importorskip("playwright.sync_api", reason='needs a browser driver: pip install -e ".[dev]"')
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs a browser: apt-get install chromium")
    quiet = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*quiet.split(), "--disable-sync"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium) -> Iterator[Callable[..., Any]]:
    """``open_page(path, **options)``: the page; at the end, nothing may have been complained of or asked for."""
    complaints: list[str] = []
    contexts = []

    def opened(path: Path, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
