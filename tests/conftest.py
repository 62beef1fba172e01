"""What many tests need: configs composed as the command line would compose them, and runs that take seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nogan.compose import register
from nogan.config import RunConfig, parse_config

ROOT = Path(__file__).parent.parent

# The complete program at its smallest: every phase, one repeat, pictures of 32 px.
SMALLEST = (
    "experiment=quickstart",
    "trainer=debug",
    "logger=csv",
    "data.workers=0",
    "data.images=200",
    "nogan.pretrain.g2.size=32",
    "nogan.critic.fakes={size:32,batch_size:4,share:0.3}",
    "nogan.critic.phases.c2.size=32",
    "nogan.gan.size=32",
    "nogan.pretrain.g1.batch_size=4",
    "nogan.pretrain.g2.batch_size=4",
    "nogan.critic.phases.c1.batch_size=4",
    "nogan.critic.phases.c2.batch_size=4",
    "nogan.gan.batch_size=4",
    "nogan.snapshot_every=0.05",
    "model.width=0.5",
    "model.critic.width=8",
    "probe={images:4,size:32,grid:2,batch_size:4}",
)


@pytest.fixture(scope="session")
def configure() -> Callable[..., RunConfig]:
    """``configure("model=artistic", "nogan.repeats=2")`` as the command line would."""
    register(ROOT / "experiments")

    def configured(*overrides: str) -> RunConfig:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("config", overrides=list(overrides))
        return parse_config(OmegaConf.to_container(cfg, resolve=True))

    return configured


@pytest.fixture(scope="session")
def smallest(configure: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    """Like ``configure``, on top of the smallest complete program."""
    return lambda *overrides: configure(*SMALLEST, *overrides)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors are faster on one thread, and results do not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
