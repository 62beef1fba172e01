"""What a plan costs: floating-point operations of every phase, counted, and the hours that they take at a given rate.

    python benchmarks/cost.py experiment=artistic-imagenet
    python benchmarks/cost.py experiment=artistic-imagenet recipe_scale=x8 --devices 8 --tflops 100

Operations (a multiply and an add are two) are those of PyTorch's counter, over one real training step of each phase on
tensors without content. In GAN phases the critic and the generator take turns, as they do while the critic's loss is
below the threshold. Reading and augmenting photographs, the probe and the optimizers are left out.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nogan.data.batches import Labeled, Pair
from nogan.networks import trainable_parameters
from nogan.plan import Phase, Plan, build_plan
from nogan.plan.config import RunConfig, parse_config
from nogan.runs.summary import learning_rate, trains
from nogan.study.record import markdown
from nogan.training.compose import register
from nogan.training.modules import GANModule
from nogan.training.run import build_module

ROOT = Path(__file__).parent.parent
IMAGES = 2  # of the batch that is counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for train.py")
    parser.add_argument("--devices", type=int, default=1, help="that share the work (default 1)")
    parser.add_argument("--tflops", type=float, default=50, help="a device sustains, in 10^12 a second (default 50)")
    args = parser.parse_args()
    config = configure(args.overrides)
    plan = build_plan(config)
    work = plan_flops(config, plan)
    total, rate = sum(work.values()), args.devices * args.tflops * 1e12
    lines = [
        [
            phase.name,
            str(phase.size),
            str(phase.batch_size),
            f"{phase.images:,}" + (f" × {phase.epochs}" if phase.epochs > 1 else ""),
            f"{phase.steps:,}",
            learning_rate(phase),
            trains(phase),
            f"{work[phase.name] / 1e15:,.0f}",
            f"{work[phase.name] / rate / 3600:,.1f}",
            f"{work[phase.name] / total:.1%}".replace("%", " %"),
        ]
        for phase in plan
    ]
    gan = sum(work[phase.name] for phase in plan if phase.kind == "gan")
    print(markdown(["phase", "px", "batch", "images", "batches", "lr", "trains", "PFLOP", "hours", "of all"], lines))
    print(
        f"\n{total / 1e15:,.0f} PFLOP in all, {gan / 1e15:,.0f} of them ({gan / total:.1%}) in GAN phases; "
        f"{total / rate / 3600:,.1f} hours on {args.devices} device(s) that sustain {args.tflops:g} TFLOP/s."
    )


def configure(overrides: list[str]) -> RunConfig:
    """As the command line would, but with no weights to fetch."""
    register(ROOT / "experiments")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=[*overrides, "model.pretrained=false", "loss.pretrained=false"])
    return parse_config(OmegaConf.to_container(cfg, resolve=True))


def plan_flops(config: RunConfig, plan: Plan) -> dict[str, float]:
    """Operations of each phase by its name."""
    module = build_module(config)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode() as without_content:
            module._apply(without_content.from_tensor)
            return {phase.name: phase_flops(module, phase) for phase in plan}
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def phase_flops(module: GANModule, phase: Phase) -> float:
    """Operations of a whole phase, those that make the fakes included."""
    images = phase.steps * phase.batch_size
    if phase.kind == "generator":
        return images * flops(module, phase, "generator", phase.size)
    if phase.kind == "critic":
        with torch.no_grad():
            fakes = counted(lambda: module.generator.eval()(pictures(phase.fakes_size)))
        return images * flops(module, phase, "critic", phase.size) + phase.fakes * fakes
    turns = [flops(module, phase, turn, phase.size) for turn in ("critic", "generator")]
    return images * sum(turns) / 2


def flops(module: GANModule, phase: Phase, turn: str, size: int) -> float:
    """Operations for one image of a training step that serves the network whose ``turn`` it is."""
    network = module.generator.network
    trained = trainable_parameters(network, phase.trained_part) if turn == "generator" else frozenset()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    module.critic.requires_grad_(turn == "critic")
    module.generator.train(turn == "generator")
    module.critic.train(turn == "critic")

    def step() -> None:
        pair = Pair(pictures(size), pictures(size))
        if phase.kind == "generator":
            loss, _ = module.generator.pretrain_loss(pair)
        elif phase.kind == "critic":
            loss, _ = module.critic.pretrain_loss(Labeled(pair.color, torch.zeros(IMAGES)))
        else:
            loss, _ = module.critic_batch(pair) if turn == "critic" else module.generator_batch(pair)
        loss.backward()
        module.zero_grad()

    return counted(step)


def counted(work: Callable[[], object]) -> float:
    """Operations of ``work()``, for one image."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / IMAGES


def pictures(size: int) -> torch.Tensor:
    """A batch of them, without content."""
    return torch.empty(IMAGES, 3, size, size)


if __name__ == "__main__":
    main()
