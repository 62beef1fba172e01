"""Sweeps through the launchers that run jobs elsewhere than in the sweep's own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SMALLEST

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local", "joblib"])
def test_a_sweep_runs_every_job(launcher, tmp_path):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher")
    command = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra/launcher={launcher}", "seed=0,1", *SMALLEST]
    command += ["nogan.repeats=0", "trainer.limit_batches=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    (sweep,) = (tmp_path / "multirun" / "quickstart").iterdir()
    for job in ("0", "1"):
        assert len(json.loads((sweep / job / "records.json").read_text())) == 5
        assert (sweep / job / "generator.safetensors").is_file()
    seeds = {(sweep / job / "config.yaml").read_text().split("seed: ")[1].split()[0] for job in ("0", "1")}
    assert seeds == {"0", "1"}
