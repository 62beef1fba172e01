"""Draw the pictures of docs/nogan.md from what is measured: the recipe's plan, and one recorded run of the study.

    python benchmarks/figures.py -o docs/images

Needs matplotlib (`pip install -e ".[study]"`); nothing is trained.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from combined_quality import combined_quality
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nogan.inflection import Verdict, make_detector
from nogan.plan import Plan, build_plan
from nogan.plan.config import parse_config
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


def replay(row: dict[str, Any]) -> Verdict | None:
    """What the default detector says of a recorded run: its critic losses, and its held-out metrics as they came."""
    settings = {"total_steps": row["steps"], "batch_size": row["batch_size"], "lr": row["lr"], "images": row["images"]}
    detector = make_detector(**settings)
    losses = {step: loss for step, loss in row["losses"]}
    # The record is from before the probe measured what detectors now call quality.
    metrics = {int(step): {**values, "quality": combined_quality(values)} for step, values in row["probe"].items()}
    for step in range(row["steps"] + 1):
        if step in metrics and (verdict := detector.measured(step, metrics[step])):
            return verdict
        if step in losses and (verdict := detector.update(step, losses[step])):
            return verdict
    return detector.finish()


def draw_run(row: dict[str, Any], path: Path) -> None:
    """The critic's loss above and held-out quality below, with the batch that the detector goes back to."""
    verdict = replay(row)
    assert verdict is not None
    steps, losses = np.array(row["losses"]).T
    window = np.exp(-0.5 * ((steps[:, None] - steps[None]) / (0.02 * row["steps"])) ** 2)
    snapshots = {int(step): combined_quality(values) for step, values in row["probe"].items()}
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5.2), sharex=True)
    above.plot(steps, losses, ".", ms=2.5, color="0.75", label="each critic batch")
    above.plot(steps, (window @ losses) / window.sum(1), color=COLORS["generator"], lw=2, label="smoothed")
    above.axhline(0.65, color="0.5", lw=1, ls=":")
    above.text(row["steps"], 0.66, "hand-over threshold 0.65", ha="right", va="bottom", color="0.4", size=8)
    above.set(ylabel="critic's loss", ylim=(0, 0.95))
    below.plot(list(snapshots), list(snapshots.values()), "o-", ms=3, color=COLORS["generator"], lw=1.5)
    below.axhline(snapshots[0], color="0.5", lw=1, ls=":")
    below.text(row["steps"], snapshots[0], "before the GAN phase", ha="right", va="bottom", color="0.4", size=8)
    below.set(ylabel="held-out quality (ln)", xlabel="batch of the GAN phase")
    for axis in (above, below):
        axis.axvline(verdict.inflection, color=COLORS["gan"], lw=2)
        axis.axvline(verdict.step, color=COLORS["gan"], lw=1, ls="--")
        axis.spines[["top", "right"]].set_visible(False)
    top = below.get_ylim()[1]
    point = f"inflection point: back to batch {verdict.inflection} "
    below.text(verdict.inflection, top, point, color=COLORS["gan"], size=9, ha="right", va="top")
    below.text(verdict.step, top, f" sure at {verdict.step}", color=COLORS["gan"], size=9, va="top")
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
    rows = [json.loads(line) for line in (ROOT / "experiments/inflection/real.jsonl").read_text().splitlines()]
    draw_run(next(r for r in rows if (r["data"], r["seed"]) == ("photographs-long", 0)), output / "inflection.svg")


if __name__ == "__main__":
    main()
