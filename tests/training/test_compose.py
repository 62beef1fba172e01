"""Reading a config changes nothing: what has to be made is made when a run begins."""

import socket
import tempfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from nogan.training.compose import register
from nogan.training.compose.recipes import groups, recipes
from tests.conftest import ROOT, SMALLEST, train_py


@pytest.fixture
def read_only(monkeypatch, tmp_path):
    """Whatever makes a file or a folder, or opens a socket, fails."""
    register()

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError(f"reading a config has a side effect: {args} {options}")

    def read(path: Path, mode: str = "r", *args: object, **options: object) -> object:
        assert set(mode).isdisjoint("wax+"), f"reading a config writes {path}"
        return opened(path, mode, *args, **options)

    opened = Path.open
    monkeypatch.chdir(tmp_path)
    for name in ("mkdir", "mkdtemp", "mkstemp", "NamedTemporaryFile"):
        for owner in (Path, tempfile):
            if hasattr(owner, name):
                monkeypatch.setattr(owner, name, refuse)
    for name in ("mkdir", "makedirs"):
        monkeypatch.setattr(f"os.{name}", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr("torch.distributed.TCPStore", refuse)
    monkeypatch.setattr(Path, "open", read)
    yield tmp_path
    assert not list(tmp_path.iterdir())


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
    assert set(groups()) == {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} | {
        "experiment",
        "inflection",
    }
