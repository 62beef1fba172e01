"""Real runs for the study: trained by `train.py experiment=inflection`, measured on pictures that they never saw.

A run only marks the inflection point and goes on, so no detector changes it, and its critic losses can be replayed to
any detector afterwards. The run's probe measures every snapshot, as in any run. The *oracle* measures the same
snapshots on other held-out pictures, so that a detector that listens to the probe is not judged by the same pictures.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nogan.common.errors import UserError
from nogan.common.rng import numpy_rng
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore, stores
from nogan.study.record import fingerprint
from nogan.study.rows import RealRun, TrainedRun

EXPERIMENT = "inflection"
SIZE = 32  # px, of the runs and of the crops
CROPS = {"photographs": 20_000, "photographs-long": 50_000}  # squares that photographs are cut into, as many as scenes
PROBE_SHARE = 0.1  # of the photographs in train/: held out for the probe
ORACLE_IMAGES = 256
ORACLE_SCENES = 10_000_019  # seed of the oracle's scenes; a run draws its own from its small seed
STABILITY_IMAGES = 64
HELD_OUT_SHARE, REALS_SHARE = 0.05, 0.25  # of the photographs; the same as of scenes
# A GAN phase that is two and a half times as long, after the same pretraining.
LONG = ("nogan.pretrain.g1.share=0.26", "nogan.critic.fakes.share=0.064")
PHOTOGRAPHS = (
    "data=folder",
    "data.augment=false",  # the crops are as varied
    "data.workers=0",
    f"data.val_share={HELD_OUT_SHARE}",
    f"data.reals_share={REALS_SHARE}",
)
SETS: dict[str, tuple[str, ...]] = {
    "scenes": (),
    "photographs": (*PHOTOGRAPHS, f"data.images={CROPS['photographs']}"),
    "scenes-long": (*LONG, "data.images=50000"),
    "photographs-long": (*PHOTOGRAPHS, *LONG, f"data.images={CROPS['photographs-long']}"),
}
"""The settings in which the runs on each data set differ from the experiment."""


def version(root: Path, data: str) -> str:
    """A hash of what the results on a data set depend on: the experiment's settings and the sizes above."""
    overlay = root / "experiments" / f"{EXPERIMENT}.yaml"
    if not overlay.is_file() or not (root / "train.py").is_file():
        raise UserError(f"{root} holds no train.py and {overlay.name}: run this in the repository, or pass --root.")
    settings = yaml.safe_load(overlay.read_text())
    return fingerprint([], (settings, SETS[data], SIZE, CROPS.get(data), PROBE_SHARE, ORACLE_IMAGES, ORACLE_SCENES))


def make(root: Path, out: Path, data: str, seed: int, threads: int, crops: Path | None) -> RealRun:
    """Train one run, or continue it where it was interrupted; measure it; and remove its folder, keeping the samples.

    Args:
        root: the repository.
        out: run folders go here.
        data: a key of ``SETS``.
        seed: of the run.
        threads: processor threads.
        crops: the folder that :func:`cut` made, for photographs.

    Raises:
        UserError: the run failed; names its output, which says why.
    """
    folder = out / f"{data}-{seed}-{version(root, data)}"
    if not RunFolder(folder).has_ended:
        _train(root, folder, data, seed, threads, crops)
    trained, oracle = collect(folder), _oracle(folder, _oracle_pictures(data, crops), threads)
    shutil.move(RunFolder(folder).samples, out / "samples" / folder.name)
    shutil.rmtree(folder)
    return {**trained, "data": data, "seed": seed, "oracle": oracle}


def _train(root: Path, folder: Path, data: str, seed: int, threads: int, crops: Path | None) -> None:
    if RunFolder(folder).config_file.is_file():
        arguments = [f"resume={folder.resolve()}"]
    else:
        arguments = [f"experiment={EXPERIMENT}", f"seed={seed}", f"hydra.run.dir={folder.resolve()}", *SETS[data]]
        if data in CROPS:
            assert crops is not None
            arguments += [f"data.path={crops.resolve() / 'train'}", f"data.val_path={crops.resolve() / 'probe'}"]
            # A folder is held out, so no part of `train` has to be: the critic has that part as well.
            arguments += [f"data.reals_share={HELD_OUT_SHARE + REALS_SHARE}"]
    path = os.pathsep.join(filter(None, [str((root / "src").resolve()), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("a") as output:
        command = [sys.executable, "train.py", *arguments]
        code = subprocess.run(command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        lines = (folder / "output.log").read_text().strip().splitlines() or [""]
        raise UserError(f"{data}, seed {seed}: train.py ended with code {code}: {lines[-1]} (all of it: {output.name})")


def collect(folder: Path) -> TrainedRun:
    """What a finished run left in its folder."""
    run = RunFolder(folder)
    lines = [line for line in run.metrics() if "gan/critic_loss" in line]
    phase, record = run.plan()[-1], run.records()[-1]
    assert record.generator_steps is not None  # the last phase is a GAN phase
    probed = SnapshotStore(run.snapshots(phase.name)).all_metrics()
    return {
        "steps": phase.steps,
        "batch_size": phase.batch_size,
        "lr": phase.lr[0],
        "images": run.plain_config()["data"]["images"],
        "generator_steps": record.generator_steps,
        "losses": [[round(line["gan/step"]) - 1, round(line["gan/critic_loss"], 5)] for line in lines],
        "verdict": asdict(record.verdict) if record.verdict else None,
        "probe": {str(step): _rounded(metrics) for step, metrics in probed.items()},
        "seconds": round(record.seconds, 1),
        "commit": run.environment()["git"],
    }


def _rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in metrics.items()}


# --------------------------------------------------------------------------------------------------------- the oracle


def _oracle_pictures(data: str, crops: Path | None) -> Any:
    """RGB ``(N, 3, SIZE, SIZE)`` in [0, 1] that no run has seen."""
    import torch

    if data not in CROPS:
        from nogan.data.scenes import draw_scene

        pictures = [draw_scene(ORACLE_SCENES, index, SIZE) for index in range(ORACLE_IMAGES)]
    else:
        from nogan.common.image_files import open_image

        assert crops is not None
        pictures = [np.asarray(open_image(file).convert("RGB")) for file in sorted((crops / "oracle").glob("*.png"))]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def _oracle(folder: Path, pictures: Any, threads: int) -> dict[str, dict[str, float]]:
    import torch

    from nogan.evaluation.held_out import colorize, shift
    from nogan.evaluation.measures import SHIFT
    from nogan.evaluation.metrics import HeldOutMetrics, chroma_distance
    from nogan.networks import generator_file as exports

    torch.set_num_threads(threads)
    network = exports.load_generator(folder)
    (store,) = stores(RunFolder(folder)).values()
    few, cpu, found = pictures[:STABILITY_IMAGES], torch.device("cpu"), {}
    for step in store.steps():
        store.restore(step, network)
        network.eval()
        with torch.no_grad():
            outputs = colorize(network, pictures, 64, cpu)
            shifted = colorize(network, shift(few, SHIFT), 64, cpu)
        metrics = HeldOutMetrics()
        metrics.update(outputs, pictures)
        values = metrics.compute()
        values["shift_variation"] = float(chroma_distance(shift(shifted, -SHIFT), outputs[: len(few)]).mean())
        found[str(step)] = _rounded(values)
    return found


# ------------------------------------------------------------------------------------------------------ photographs


def cut(photographs: Path, folder: Path, count: int) -> Path:
    """Cut photographs into small squares, so that a few photographs are enough for a run.

    A tenth of the photographs in ``photographs/train`` is held out for the probe; those in ``photographs/val`` are the
    oracle's. A square's side is 40–100 % of the photograph's shorter side; its place is uniform.

    Args:
        photographs: the folder that holds ``train/`` and ``val/``.
        folder: where the squares go, into ``train/``, ``probe/`` and ``oracle/``.
        count: squares to train on.

    Returns:
        ``folder``.

    Raises:
        UserError: there are no such folders in ``photographs``, or they hold too few photographs.
    """
    if (folder / "done").is_file():
        return folder
    files = {part: sorted(p for p in (photographs / part).glob("**/*") if p.is_file()) for part in ("train", "val")}
    if len(files["train"]) < 20 or not files["val"]:
        raise UserError(f"--photos {photographs}: expected photographs in train/ (20 or more) and val/ in it.")
    order = numpy_rng("study-photographs").permutation(len(files["train"]))
    held_out = round(len(order) * PROBE_SHARE)
    probe, train = ([files["train"][i] for i in part] for part in (order[:held_out], order[held_out:]))
    _cut_into(train, count, folder / "train")
    _cut_into(probe, ORACLE_IMAGES, folder / "probe")
    _cut_into(files["val"], ORACLE_IMAGES, folder / "oracle")
    (folder / "done").touch()
    return folder


def _cut_into(files: list[Path], count: int, folder: Path) -> None:
    """Cut ``count`` squares, equally many from each file. By name, every file comes once before any comes twice."""
    from PIL import Image

    from nogan.common.image_files import open_image

    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        with open_image(file) as opened:
            photograph = opened.convert("RGB")
        for turn, index in enumerate(range(number, count, len(files))):
            rng = numpy_rng("study-crop", folder.name, number, turn)
            side = round(min(photograph.size) * rng.uniform(0.4, 1))
            left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
            box = (left, top, left + side, top + side)
            square = photograph.resize((SIZE, SIZE), Image.Resampling.BOX, box=box, reducing_gap=None)
            square.save(folder / f"{index:05d}.png", compress_level=1)
