"""Train a colorizer with NoGAN.

    python train.py experiment=quickstart             # a small one on built-in data, in minutes
    python train.py model=artistic nogan.repeats=5    # the artistic model on ImageNet
    python train.py model=artistic dry_run=true       # what that would do, phase by phase
    python train.py resume=outputs/…                  # go on with an interrupted run

Every key is in conf/; `python train.py --help` lists the groups.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from nogan.report.sweep import conclude
from nogan.training.compose import chosen_groups, command_line, job, run_config
from nogan.training.preview import show_plan

HERE = Path(__file__).parent


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@job
def main(cfg: DictConfig) -> float | None:
    """Run one job; returns the value of ``objective``, for sweeps."""
    config = run_config(cfg)
    if config.dry_run:
        show_plan(config, Console())
        return None
    from nogan.report import write_report
    from nogan.training.run import train  # torch and Lightning load after the config has been found right

    metrics = train(
        config,
        Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir),
        choices=chosen_groups(),
        write_report=write_report,
    )
    return metrics.get(config.objective) if config.objective else None


if __name__ == "__main__":
    command_line(main, experiments=HERE / "experiments", conclude=conclude)
