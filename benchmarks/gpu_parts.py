"""The parts of `gpu.py`, each run in a process of its own: ``gpu_parts.py PART WORK OUT SECONDS [options]``.

A part writes ``WORK/PART.json`` again after each finding, so that nothing is lost when it is cut. What else it leaves
for people goes to ``OUT``.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
MODELS = ("artistic", "stable")
CORES = len(os.sched_getaffinity(0))
WORKERS = min(16, CORES)

SMALL = (  # the recipe in small for the smoke test
    "nogan.repeats=0",
    "nogan.pretrain.g1={size:32,batch_size:4}",
    "nogan.pretrain.g2={size:32,batch_size:4}",
    "nogan.critic.fakes={size:32,batch_size:4}",
    "nogan.critic.phases.c1={size:32,batch_size:4}",
    "nogan.critic.phases.c2={size:32,batch_size:4}",
    "nogan.gan={size:32,batch_size:4}",
    "model.width=0.5",
    "model.critic.width=8",
    "probe={images:4,size:32,grid:2,batch_size:4}",
)


class Job:
    """One part: how long it may take, what it works on, and where its findings go."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.part, self.work, self.out, self.smoke = given.part, given.work, given.out, given.smoke
        self.given = given
        self.ends = time.monotonic() + given.seconds
        self.found: dict[str, Any] = {}
        self.device = "cpu" if self.smoke else "cuda"

    @property
    def left(self) -> float:
        """Seconds until the time of this part is over."""
        return self.ends - time.monotonic()

    def keep(self, **found: Any) -> None:
        """Write down what was found so far."""
        self.found |= found
        whole = self.work / f"{self.part}.tmp"
        whole.write_text(json.dumps(self.found))
        whole.replace(self.work / f"{self.part}.json")

    def add(self, name: str, row: Any) -> None:
        """Write down one more row of a table."""
        self.keep(**{name: [*self.found.get(name, []), row]})

    def recipe(self, model: str, *overrides: str) -> Any:
        """The config of a model's recipe on ImageNet, and in a smoke test the small one."""
        from cost import configure

        if self.smoke:
            return configure(["experiment=quickstart", *SMALL, *overrides])
        return configure([f"experiment={model}-imagenet", *overrides])

    def data(self) -> list[str]:
        """Overrides that give a run photographs: many squares cut out of those given, or the scenes."""
        workers = f"data.workers={0 if self.smoke else WORKERS}"
        count = 200 if self.smoke else 6000
        if self.given.photos is None:
            return ["data=scenes", f"data.images={count}", workers]
        cut_squares(self.given.photos, self.work / "squares", count)
        path, held_out = (self.work / "squares" / part for part in ("train", "held-out"))
        return ["data=folder", f"data.path={path}", f"data.val_path={held_out}", "data.augment=true", workers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--encoder-weights", type=Path)
    parser.add_argument("--settings", nargs="+")
    parser.add_argument("--smoke", action="store_true")
    job = Job(parser.parse_args())
    PARTS[job.part](job)


# ------------------------------------------------------------------------------------------------------------ the card


def device(job: Job) -> None:
    """What the card is, and the two ceilings: of a large bf16 matrix product, and of copying."""
    import torch

    job.keep(torch=torch.__version__)
    if job.smoke:
        job.keep(name="none: smoke test on the CPU")
        return
    job.keep(name=torch.cuda.get_device_name(), cudnn=torch.backends.cudnn.version())
    job.keep(memory_gib=round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1))
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    job.keep(matmul_tflops=2 * 8192**3 / seconds_on_gpu(lambda: a @ b) / 1e12)
    source, target = (torch.empty(2**30, device="cuda", dtype=torch.uint8) for _ in range(2))
    job.keep(copy_tbs=2 * 2**30 / seconds_on_gpu(lambda: target.copy_(source)) / 1e12)


def seconds_on_gpu(work: Callable[[], Any], repeats: int = 20) -> float:
    """Median time of ``work`` between two events on the GPU."""
    import torch

    times = []
    for turn in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if turn >= 3:
            times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


# ------------------------------------------------------------------------------------------------------------ its tests


def tests(job: Job) -> None:
    """tests/gpu, side by side where pytest-xdist is there; which tests failed, and how."""
    results = job.work / "tests.xml"
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    if find_spec("xdist") and not job.smoke:
        command += ["-n", "4"]
    began = time.monotonic()
    try:
        done = subprocess.run([*command, f"--junitxml={results}"], cwd=ROOT, timeout=job.left, capture_output=True)
        output = done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as cut:
        job.keep(ended="cut: its time was over", output=(cut.stdout or b"").decode(errors="replace").splitlines()[-25:])
        return
    cases = list(ElementTree.parse(results).iter("testcase")) if results.is_file() else []
    wrong = [(case, problem) for case in cases for problem in case if problem.tag in ("failure", "error")]
    skipped = sum(child.tag == "skipped" for case in cases for child in case)
    job.keep(
        passed=len(cases) - len(wrong) - skipped,
        skipped=skipped,
        failures=[
            {"name": f"{case.get('classname')}::{case.get('name')}", "what": (problem.text or "").splitlines()[-40:]}
            for case, problem in wrong
        ],
        pytest_seconds=round(time.monotonic() - began, 1),
    )
    if not cases:
        job.keep(output=(output + done.stderr.decode(errors="replace")).splitlines()[-25:])


# ------------------------------------------------------------------------------------------- operations of the phases


def flops(job: Job) -> None:
    """Operations for an image of every phase of both recipes, and for a fake; and what the plans hold."""
    from cost import plan_flops

    from nogan.plan import build_plan

    for model in MODELS[: 1 if job.smoke else None]:
        config = job.recipe(model)
        plan = build_plan(config)
        shown = first_of_each(plan)
        alone = [dataclasses.replace(phase, fakes=0) if phase.kind == "critic" else phase for phase in shown.values()]
        work = plan_flops(config, alone)
        per_image = {short(phase): work[phase.name] / (phase.steps * phase.batch_size) for phase in alone}
        with_fakes = next(phase for phase in shown.values() if phase.kind == "critic")
        more = plan_flops(config, [dataclasses.replace(with_fakes, fakes=with_fakes.steps * with_fakes.batch_size)])
        fake = more[with_fakes.name] / (with_fakes.steps * with_fakes.batch_size) - per_image[short(with_fakes)]
        job.keep(**{model: {"flops": {**per_image, "fakes": fake}, "images": images_of(plan)}})


def images_of(plan: Sequence[Any]) -> dict[str, int]:
    """Images that the plan trains on in all phases of a name, and the fakes that are made."""
    images: dict[str, int] = defaultdict(int)
    for phase in plan:
        images[short(phase)] += phase.steps * phase.batch_size
    images["fakes"] = sum({phase.cycle: phase.fakes for phase in plan if phase.kind == "critic"}.values())
    return dict(images)


def first_of_each(plan: Sequence[Any]) -> dict[str, Any]:
    """The first phase of each name: later cycles repeat them."""
    phases: dict[str, Any] = {}
    for phase in plan:
        phases.setdefault(short(phase), phase)
    return phases


def short(phase: Any) -> str:
    return phase.name.split("@")[0]


# ------------------------------------------------------------------------------------------------- rates of the phases


def rates(job: Job) -> None:
    """Training steps of every phase as the program takes them."""
    from gpu_rates import measure

    measure(job)


# ---------------------------------------------------------------------------------------------------------- photographs


def cut_squares(photos: Path, folder: Path, count: int, side: int = 256) -> None:
    """Cut ``count`` squares for training out of nine tenths of ``photos``, and some to measure on out of the others."""
    if (folder / "done").is_file():
        return
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    held_out = files[::10]
    parts = {"train": [file for file in files if file not in set(held_out)], "held-out": held_out}
    with ProcessPoolExecutor(CORES) as pool:
        for part, mine in parts.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            wanted = count if part == "train" else max(count // 20, 8)
            tasks = [
                (file, folder / part, number, range(number, wanted, len(mine)), side)
                for number, file in enumerate(mine)
            ]
            list(pool.map(_cut, tasks, chunksize=4))
    (folder / "done").touch()


def _cut(task: tuple[Path, Path, int, range, int]) -> None:
    file, folder, number, names, side = task
    with Image.open(file) as opened:
        photograph = opened.convert("RGB")
    rng = np.random.default_rng(number)
    for name in names:
        edge = round(min(photograph.size) * rng.uniform(0.6, 1))
        left, top = (int(rng.integers(0, length - edge + 1)) for length in photograph.size)
        square = photograph.crop((left, top, left + edge, top + edge))
        if edge > side:
            square = square.resize((side, side), Image.Resampling.BOX)
        square.save(folder / f"{name:05d}.jpg", quality=90)


# ------------------------------------------------------------------------------------------------------- the two runs


def program(job: Job) -> None:
    """All of NoGAN with the artistic networks at full size, few batches a phase; its report and pictures."""
    short_phases = [
        "nogan.repeats=1",
        # Some 160 batches of each phase: more passes over fewer photographs.
        "nogan.pretrain={g1:{epochs:3},g2:{epochs:3},g3:{share:0.75},g4:{share:0.375}}",
        "nogan.critic.fakes.share=0.3",
        "nogan.critic.fakes.batch_size=32",
        "nogan.critic.phases={c1:{epochs:4},c2:{epochs:1}}",
        "nogan.gan.share=0.35",
        "nogan.gan.critic_threshold=0.68",  # the critic has seen little
        "nogan.gan.max_critic_steps=4",
        "nogan.snapshot_every=0.05",
        "nogan.snapshot_budget_gb=4",
        "probe={images:64,size:128,grid:6,batch_size:32}",
    ]
    if job.smoke:
        overrides = ["experiment=quickstart", "trainer=debug", *SMALL, "nogan.snapshot_every=0.1"]
    else:
        overrides = ["model=artistic", "trainer=gpu", "model.pretrained=false", "loss.pretrained=false", *short_phases]
    folder = train(job, [*overrides, "name=program"])
    found = sum_up_run(job, folder)
    copy(folder / "report.html", job.out / "gpu-program.html")
    if pictures := sorted((folder / "samples").glob("step-*.png")):
        grids = [pictures[0], *(path for path in pictures if path.name in found), pictures[-1]]
        stack(list(dict.fromkeys(grids)), job.out / "gpu-program.jpg")


def inflection(job: Job) -> None:
    """`experiment=inflection`, one size up: 64 px, wider networks, five times as many snapshots to choose from."""
    overrides = ["experiment=inflection", "seed=1", "name=inflection", "data.images=null"]
    if job.smoke:
        overrides += ["nogan.snapshot_every=0.2", "probe={images:4,size:32,grid:2,batch_size:4}"]
        overrides += ["trainer.limit_batches=8", "model.critic.width=8"]
    else:
        overrides += [
            "trainer=gpu",
            "model.width=1.0",
            "model.critic.width=48",
            "nogan.pretrain.g1={size:64,batch_size:32,share:1.0,epochs:3,lr:2e-3}",
            "nogan.critic.fakes={size:64,batch_size:64,share:0.4}",
            "nogan.critic.phases.c1={size:64,batch_size:32,epochs:2,lr:1e-3}",
            "nogan.gan={size:64,batch_size:16,share:1.0,epochs:6,lr:1e-4}",
            "nogan.snapshot_every=0.16",
            "nogan.snapshot_budget_gb=2",
            "probe={images:128,size:64,grid:8,batch_size:128}",
        ]
        if job.given.encoder_weights:
            weights = job.given.encoder_weights
            overrides += ["model.encoder=mobilenetv2_100", f"model.encoder_weights={weights}"]
    folder = train(job, overrides)
    sum_up_run(job, folder)
    copy(folder / "metrics.csv", job.out / "gpu-inflection-metrics.csv")
    copy(folder / "records.json", job.out / "gpu-inflection-records.json")


def train(job: Job, overrides: list[str]) -> Path:
    """Run train.py to its end or to the end of the part's time; the run folder."""
    folder = job.work / f"run-{job.part}"
    overrides = [*overrides, *job.data(), "logger=csv"]
    command = [sys.executable, "train.py", *overrides, f"hydra.run.dir={folder}"]
    job.keep(overrides=[word.replace(str(job.work), "WORK") for word in overrides])
    log = job.work / f"{job.part}-train.log"
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            code = process.wait(max(job.left - 8, 1))
        except subprocess.TimeoutExpired:  # it saves and says where it stood
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(max(job.left + 5, 5))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
    job.keep(code=code, run_seconds=round(time.monotonic() - began, 1), tail=log.read_text().splitlines()[-15:])
    return folder


def sum_up_run(job: Job, folder: Path) -> set[str]:
    """Keep what the run's phases cost and came to; the names of the sample grids at their ends."""
    records, plan = (_read(folder / name) for name in ("records.json", "plan.json"))
    batches = {phase["name"]: phase for phase in plan}
    rows, total = [], 0
    for record in records:
        total += record["steps"]
        phase = batches[record["name"]]
        rows.append(record | {"size": phase["size"], "batch_size": phase["batch_size"], "planned": phase["steps"]})
    job.keep(phases=rows, planned=len(plan))
    ends = np.cumsum([record["steps"] for record in records]).tolist()
    return {f"step-{step:06d}.png" for step in ends}


def _read(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text()) if file.is_file() else []


def copy(source: Path, target: Path) -> None:
    if source.is_file():
        shutil.copyfile(source, target)


def stack(grids: list[Path], target: Path) -> None:
    """The grids one below the other in one picture: the first whole, of the others the middle row, the output."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in grids]
    height = pictures[0].shape[0] // 3
    rows = [pictures[0][:height], *(picture[height : 2 * height] for picture in pictures), pictures[0][2 * height :]]
    Image.fromarray(np.concatenate(rows)).save(target, quality=90)


# --------------------------------------------------------------------------------------------------------------- color


def color(job: Job) -> None:
    """Coloring with both generators: the network alone, whole photographs, and film."""
    from nogan.colorize.colorizer import Colorizer
    from nogan.networks import build_generator
    from nogan.networks.generator_file import save_generator

    options = {"device": job.device, "precision": "fp32" if job.smoke else "bf16"}
    factors, batch = ((4,), 2) if job.smoke else ((21, 35), 8)
    photographs = sharp_photographs(job, batch)
    for compiled in (False,) if job.smoke else (False, True):
        for model in MODELS[: 1 if job.smoke else None]:
            file = job.work / f"{model}.safetensors"
            if not file.is_file():
                config = job.recipe(model).model
                save_generator(build_generator(config.encoder, config.decoder, config.width, pretrained=False), file)
            colorizer = Colorizer.load(file, compile=compiled, **options)
            for factor in factors:
                if job.left < (25 if compiled else 5):
                    job.keep(ended="its time was over; some rows are missing")
                    return
                row = {"model": model, "factor": factor, "compiled": compiled, "batch": batch}
                gray = np.random.default_rng(0).integers(0, 256, (batch, 16 * factor, 16 * factor), dtype=np.uint8)
                alone = median_seconds(lambda c=colorizer, g=gray: c.predict(g))
                whole = median_seconds(lambda c=colorizer, f=factor: c.colorize_pixels(photographs, f))
                row |= {"network_per_second": batch / alone, "photographs_per_second": batch / whole}
                job.add("rows", row)
            if model == MODELS[0] and not compiled:
                film(job, colorizer, factors[0])


def median_seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Median wall-clock time of ``work``, whose result is on the CPU."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def sharp_photographs(job: Job, count: int) -> list[np.ndarray]:
    """Pictures of a megapixel."""
    rng, size = np.random.default_rng(0), (160, 120) if job.smoke else (1200, 900)
    coarse = [Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)) for _ in range(count)]
    return [np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) for picture in coarse]


def film(job: Job, colorizer: Any, factor: int) -> None:
    """Frames a second of 1080p film, from file to file."""
    try:
        import av  # noqa: F401
    except ImportError:
        job.keep(film="left out: PyAV is not installed")
        return
    from colorize import film_rate

    frames = 8 if job.smoke else 240
    rate = film_rate(frames, colorizer, factor=factor, batch_size=2 if job.smoke else 8)
    job.keep(film={"factor": factor, "frames": frames, "frames_per_second": rate})


PARTS = {
    "device": device,
    "tests": tests,
    "flops": flops,
    "rates": rates,
    "program": program,
    "inflection": inflection,
    "color": color,
}

if __name__ == "__main__":
    main()
