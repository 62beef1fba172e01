"""How fast this machine colors and trains at full network size, and DeOldify's own code beside it.

    python benchmarks/speed.py --original DEOLDIFY        # a checkout of https://github.com/jantic/DeOldify
    python benchmarks/speed.py --only deep-21 critic      # some rows; the others stay as they were measured
    python benchmarks/speed.py --layers                   # the critic's convolutions, also as matrix products
    python benchmarks/speed.py --quick                    # small pictures, once: whether it runs

Each row's variants take turns, and the median counts, so that what else the machine does falls on all of them alike.
On a machine that others use, too, `--clock processor` counts the processor's seconds, on one thread. A step is forward
and backward pass and the optimizer's step. "Peak" is the share of the rate that one convolution, made for the purpose,
reaches here in the same precision. The table goes to `speed.md`, the figures to `speed.json` beside it.
"""

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from original import Original
from pages import fill
from torch.utils.flop_counter import FlopCounterMode

from nogan.colorize.backends import torch_network
from nogan.colorize.square import network_size
from nogan.data.batches import Pair
from nogan.networks import build_critic, build_generator
from nogan.networks.large_weights import matrix_conv
from nogan.networks.losses import FeatureLoss
from nogan.training.modules import CriticModule, GANModule, GeneratorModule

HERE = Path(__file__).parent
NETWORKS = {"deep": ("resnet34", "deep", 1.5), "wide": ("resnet101", "wide", 2.0)}
STEPS = {"pretraining": 4, "critic": 2, "generator": 2}  # images of 192 px
TITLES = {
    "pretraining": "artistic pretraining step, {images} images of {size} px",
    "critic": "GAN, critic's step, {images} images of {size} px",
    "generator": "GAN, generator's step, {images} images of {size} px",
}
ROWS = (*(f"{network}-{factor}" for network in NETWORKS for factor in (21, 35)), *STEPS)
LAYERS = [
    *((256, 512, 4, 96), (512, 512, 3, 48), (512, 1024, 4, 48), (1024, 1024, 3, 24)),
    *((1024, 2048, 4, 24), (2048, 2048, 3, 12)),
]
"""Channels in and out, kernel, and side of the map that comes in."""
VARIANTS = ("original", "fp32", "bf16")

Action = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=Path, metavar="DIR", help="a checkout of DeOldify")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, help="only these columns")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--quick", action="store_true", help="small pictures, once; into --output only")
    parser.add_argument("--layers", action="store_true", help="only print the table of the critic's convolutions")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "speed.md")
    args = parser.parse_args()
    if args.clock == "processor":
        torch.set_num_threads(1)
    if args.quick:
        args.repeats = 1
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    if args.layers:
        print(f"{machine(args.clock)}\n\n{layer_table(clock)}")
        return
    original = Original(args.original) if args.original else None
    file = args.output.with_suffix(".json")
    found = json.loads(file.read_text()) if file.is_file() else {}
    found |= {"machine": machine(args.clock), "repeats": args.repeats}
    found["peak"] = {precision: peak(precision, clock) for precision in ("fp32", "bf16")}
    found.setdefault("rows", {})
    for row in args.only:
        actions, title = coloring(row, original, args.quick) if "-" in row else training(row, original, args.quick)
        actions = {name: action for name, action in actions.items() if name in args.variants}
        result = found["rows"].setdefault(row, {"seconds": {}, "flops": 0})
        result["title"] = title
        seconds, flops = measure(actions, args.repeats, clock)
        result["seconds"] |= seconds
        result["flops"] = flops or result["flops"]
        del actions
        gc.collect()
        file.write_text(json.dumps(found, indent=1) + "\n")
        fill(args.output, "speed.py", table(found), "Speed")
        print(table(found), flush=True)


def machine(clock: str) -> str:
    """Processor, threads and versions, in words."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    has = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in info]
    return (
        f"{os.cpu_count()} cores ({names[0] if names else 'CPU'}; {', '.join(has)}), "
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, {clock} seconds"
    )


def peak(precision: str, clock: Callable[[], float]) -> float:
    """Operations a second of a convolution that suits the machine well."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x, weight = (
        torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((2, 256, 96, 96), (256, 256, 3, 3))
    )
    times = []
    for _ in range(6):
        start = clock()
        y = F.conv2d(x, weight, padding=1)
        times.append(clock() - start)
    return 2 * y.numel() * 256 * 9 / min(times)


def measure(actions: dict[str, Action], repeats: int, clock: Callable[[], float]) -> tuple[dict[str, float], int]:
    """Median seconds of each action, taken in turns, and the operations of a pass of the program's own (or 0)."""
    flops = 0
    for name, action in actions.items():
        with FlopCounterMode(display=False) as counter:
            action()
        flops = flops if name == "original" else counter.get_total_flops()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            start = clock()
            action()
            times[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in times.items()}, flops


def coloring(row: str, original: Original | None, quick: bool) -> tuple[dict[str, Action], str]:
    """One picture through a generator, in eval mode."""
    name, _, factor = row.partition("-")
    side = network_size(6 if quick else int(factor))
    gray = np.random.default_rng(0).random((1, side, side), np.float32)
    actions: dict[str, Action] = {}
    if original is not None:
        network, x = original.generator(name).eval(), torch.from_numpy(gray)[:, None].repeat(1, 3, 1, 1)
        actions["original"] = torch.inference_mode()(lambda: network(x))
    encoder, decoder, width = NETWORKS[name]
    for precision in ("fp32", "bf16"):
        ours = torch_network(build_generator(encoder, decoder, width, pretrained=False), "cpu", precision, False)
        actions[precision] = lambda ours=ours: ours(gray)
    return actions, f"{name}, render factor {factor}"


def training(row: str, original: Original | None, quick: bool) -> tuple[dict[str, Action], str]:
    """A training step of the artistic model."""
    images, size = STEPS[row], 64 if quick else 192
    pictures = torch.Generator().manual_seed(0)
    color = torch.randn(images, 3, size, size, generator=pictures)
    gray = color.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()
    pair = Pair(*(picture.contiguous(memory_format=torch.channels_last) for picture in (gray, color)))
    module = GANModule(
        GeneratorModule(build_generator(pretrained=False), FeatureLoss(pretrained=False), lr=1e-5),
        CriticModule(build_critic(), lr=1e-5),
        feature_weight=2.0,
    ).to(memory_format=torch.channels_last)
    trained, other = (module.critic, module.generator) if row == "critic" else (module.generator, module.critic)
    trained.train().requires_grad_(True)
    other.eval().requires_grad_(False)
    optimizer = trained.configure_optimizers()
    losses = {"pretraining": module.generator.pretrain_loss, "critic": module.critic_batch}
    loss_of = losses.get(row, module.generator_batch)

    def step(precision: str) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss, _ = loss_of(pair)
        loss.backward()
        optimizer.step()

    actions: dict[str, Action] = {}
    if original is not None:
        actions["original"] = original_step(row, original, gray, color)
    actions |= {"fp32": lambda: step("fp32"), "bf16": lambda: step("bf16")}
    return actions, TITLES[row].format(images=images, size=size)


def original_step(row: str, original: Original, gray: torch.Tensor, color: torch.Tensor) -> Action:
    """The same step with DeOldify's code."""
    generator, critic, loss = original.generator("deep"), original.critic(), original.feature_loss()
    trained, other = (critic, generator) if row == "critic" else (generator, critic)
    original.set_trained(trained, True)
    original.set_trained(other, False)
    optimizer = original.optimizer(trained)
    losses: dict[str, Callable[[], torch.Tensor]] = {
        "pretraining": lambda: loss(generator(gray), color),
        "critic": lambda: original.critic_loss(critic, generator, gray, color),
        "generator": lambda: original.generator_loss(critic, generator, loss, gray, color),
    }

    def step() -> None:
        losses[row]().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def layer_table(clock: Callable[[], float]) -> str:
    """Forward and backward pass of each of the critic's convolutions, for two images of 192 px: the better of two."""
    lines = [
        "| channels | kernel | positions | fp32, PyTorch's, s | matrix, s | bf16, PyTorch's, s | matrix, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for inputs, outputs, kernel, side in LAYERS:
        stride = 2 if kernel == 4 else 1
        x, weight = (
            (scale * torch.randn(shape)).contiguous(memory_format=torch.channels_last).requires_grad_()
            for scale, shape in ((1, (2, inputs, side, side)), (0.01, (outputs, inputs, kernel, kernel)))
        )
        cells = [f"{inputs} → {outputs}", f"{kernel}x{kernel}, /{stride}", str(2 * (side // stride) ** 2)]
        for bf16 in (False, True):
            for convolution in (F.conv2d, matrix_conv):
                times = []
                for _ in range(3):
                    x.grad = weight.grad = None
                    start = clock()
                    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                        y = convolution(x, weight, None, stride, 1)
                    y.backward(torch.ones_like(y))
                    times.append(clock() - start)
                cells.append(f"{min(times[1:]):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table(found: dict[str, Any]) -> str:
    """The figures in Markdown."""
    peaks = found["peak"]
    lines = [
        f"{found['machine']}; median of {found['repeats']}. Peak of a convolution: {peaks['fp32'] / 1e9:.0f} GFLOP/s "
        f"in fp32, {peaks['bf16'] / 1e9:.0f} in bf16.",
        "",
        "| work | original, s | fp32, s | ratio | peak | bf16, s | ratio | peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        if (result := found["rows"].get(row)) is None:
            continue
        seconds, cells = result["seconds"], [result["title"]]
        base = seconds.get("original")
        cells.append(f"{base:.2f}" if base else "–")
        for precision in ("fp32", "bf16"):
            if (taken := seconds.get(precision)) is None:
                cells += ["–", "–", "–"]
                continue
            share = result["flops"] / taken / peaks[precision]
            cells += [f"{taken:.2f}", f"{taken / base:.2f}" if base else "–", f"{share:.0%}".replace("%", " %")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
