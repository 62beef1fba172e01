"""Reading a config changes nothing: what has to be made is made when a run begins."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from nogan.common.recipes import recipes
from nogan.training.compose import register
from nogan.training.compose.recipes import groups
from tests.conftest import ROOT, SMALLEST, train_py

MAKES = ("os.mkdir", "os.rename", "os.remove", "os.symlink", "tempfile.mkdtemp", "tempfile.mkstemp", "socket.__new__")
noticed: list[str] | None = None  # what has happened since a test began to listen


def notice(event: str, args: tuple) -> None:
    if threading.current_thread() is not threading.main_thread():  # what another test, or a library, left running
        return
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_CREAT | os.O_TRUNC)
    if noticed is not None and (writes or event in MAKES) and "__pycache__" not in str(args):
        noticed.append(f"{event} {args}")


sys.addaudithook(notice)


@pytest.fixture
def read_only(monkeypatch, tmp_path) -> Iterator[None]:
    """Nothing makes a file or a folder, or opens a socket."""
    global noticed
    register()
    import torch.distributed

    def connect(*args: object, **options: object) -> None:
        raise AssertionError("reading a config connects the processes")

    monkeypatch.setattr(torch.distributed, "TCPStore", connect)
    monkeypatch.chdir(tmp_path)
    noticed = []
    yield
    made, noticed = noticed, None
    assert not made and not list(tmp_path.iterdir())


BY_TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
BY_SRUN = {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_NTASKS_PER_NODE": "2"}


@pytest.mark.parametrize("variables", [{}, BY_TORCHRUN, BY_SRUN], ids=["alone", "torchrun", "srun"])
@pytest.mark.parametrize("override", ["seed=1", "dry_run=true", "resume=auto", "sweep=optuna", "experiment=lr-sweep"])
def test_no_resolver_of_a_config_has_a_side_effect(read_only, monkeypatch, override, variables):
    if override == "sweep=optuna":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the sweep extra")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with initialize_config_dir(str(recipes() / "conf"), version_base="1.3"):
        overrides = ["model=tiny", "data=scenes", override, "objective=val/psnr", "hydra.runtime.output_dir=x"]
        cfg = compose("config", overrides=overrides, return_hydra_config=True)
    cfg.hydra.job.num = cfg.hydra.job.id = 0
    monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)
    hydra = OmegaConf.to_container(cfg, resolve=True)["hydra"]
    assert hydra["run"]["dir"].startswith("outputs/") and hydra["sweep"]["dir"].startswith("multirun/")
    assert (hydra["output_subdir"] is None) == bool(variables)  # only the first process writes


def test_a_dry_run_leaves_nothing_anywhere(tmp_path):
    (tmp_path / "tmp").mkdir()
    ran = train_py(tmp_path, *SMALLEST, "dry_run=true", "hydra.run.dir=here", TMPDIR=str(tmp_path / "tmp"))
    assert ran.returncode == 0 and "Plan:" in ran.stdout, ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"] and not list((tmp_path / "tmp").iterdir())


def test_a_checkout_has_its_own_recipes():
    assert recipes() == ROOT
    assert set(groups()) == {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} - {"protocol"} | {
        "experiment",
        "inflection",
    }
