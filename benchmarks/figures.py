"""Draw the pictures of docs/nogan.md from what is measured: the recipe's plan, and one recorded run of the study.

    python benchmarks/figures.py -o docs/images

Needs matplotlib (`pip install -e ".[study]"`); nothing is trained.
"""

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nogan.inflection import DEFAULT
from nogan.plan import Plan, build_plan
from nogan.plan.config import parse_config
from nogan.study.regret import replay
from nogan.study.rows import AVERAGED, RealRun
from nogan.study.runs import as_recorded
from nogan.training.compose import register

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
COLORS = {"generator": "#4c78a8", "critic": "#bab0ac", "gan": "#e45756"}
LABELS = {"generator": "generator alone", "critic": "critic alone", "gan": "both: the GAN phases"}


def plan_of(*overrides: str) -> Plan:
    """The plan that `python train.py dry_run=true` prints for these overrides."""
    register(ROOT / "experiments")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides))
    return build_plan(parse_config(OmegaConf.to_container(cfg, resolve=True)))


def draw_plan(plan: Plan, path: Path) -> None:
    """The phases in their order, as wide as the work in them: images x pixels, a critic's half as dear."""
    figure, axis = plt.subplots(figsize=(9, 1.7))
    total, left = sum(phase.cost for phase in plan), 0.0
    for phase in plan:
        width = 100 * phase.cost / total
        axis.barh(0, width, left=left, color=COLORS[phase.kind], edgecolor="white", linewidth=0.6)
        if width > 4:
            name = phase.name.split("@")[0]
            axis.text(left + width / 2, 0, f"{name}\n{phase.size} px", ha="center", va="center", color="white", size=8)
        left += width
    share = sum(phase.cost for phase in plan if phase.kind == "gan") / total
    for kind, label in LABELS.items():
        text = f"{label} ({100 * share:.0f} % of the work)" if kind == "gan" else label
        axis.bar(0, 0, color=COLORS[kind], label=text)
    axis.set(xlim=(0, 100), ylim=(-0.45, 0.45), yticks=[], xlabel="share of the work, %")
    axis.spines[["top", "left", "right"]].set_visible(False)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3, frameon=False, fontsize=9)
    save(figure, path)


def draw_run(row: RealRun, path: Path) -> None:
    """The critic's loss above and held-out merit below, with the batch that the default detector goes back to."""
    stop = replay(row, DEFAULT, AVERAGED)
    assert stop.at is not None and stop.sure is not None
    steps, losses = np.array(row["losses"]).T
    window = np.exp(-0.5 * ((steps[:, None] - steps[None]) / (0.02 * row["steps"])) ** 2)
    snapshots = {int(step): fmean(merits) for step, merits in row["probe"][AVERAGED].items()}
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5.2), sharex=True)
    above.plot(steps, losses, ".", ms=2.5, color="0.75", label="each critic batch")
    above.plot(steps, (window @ losses) / window.sum(1), color=COLORS["generator"], lw=2, label="smoothed")
    above.axhline(0.65, color="0.5", lw=1, ls=":")
    above.text(row["steps"], 0.66, "hand-over threshold 0.65", ha="right", va="bottom", color="0.4", size=8)
    above.set(ylabel="critic's loss", ylim=(0, 0.95))
    below.plot(list(snapshots), list(snapshots.values()), "o-", ms=3, color=COLORS["generator"], lw=1.5)
    below.axhline(snapshots[0], color="0.5", lw=1, ls=":")
    below.text(row["steps"], snapshots[0], "before the GAN phase", ha="right", va="top", color="0.4", size=8)
    below.set(ylabel="held-out merit", xlabel="batch of the GAN phase")
    for axis in (above, below):
        axis.axvline(stop.at, color=COLORS["gan"], lw=2)
        axis.axvline(stop.sure, color=COLORS["gan"], lw=1, ls="--")
        axis.spines[["top", "right"]].set_visible(False)
    top = below.get_ylim()[1]
    below.text(stop.at, top, f"inflection point: {stop.at} ", color=COLORS["gan"], size=9, ha="right", va="top")
    below.text(stop.sure, top, f" sure at {stop.sure}", color=COLORS["gan"], size=9, va="top")
    above.legend(frameon=False, fontsize=9, loc="lower right")
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write SVG that is the same each time."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs/images", help="folder of the pictures")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    plt.rcParams |= {"svg.hashsalt": "nogan", "font.size": 10}
    draw_plan(plan_of("model=artistic"), output / "plan.svg")
    run = as_recorded(ROOT / "experiments/inflection/real/photographs-long-200.npz")
    draw_run(run, output / "inflection.svg")


if __name__ == "__main__":
    main()
