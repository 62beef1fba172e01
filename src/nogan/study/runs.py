"""Real runs for the study: trained once by `train.py experiment=inflection`, then measured as often as needed.

A run only marks the inflection point and goes on, so no detector changes it, and its critic losses can be replayed to
any detector afterwards. All of its snapshots are kept. They are measured after the run on pictures that nothing trains
on: their averages picture by picture on those that stand for a *probe*, whose figures rules may hear, and some of them,
averaged and as they are, on the *oracle's*, by which rules are judged. So another rule or measure needs no further
training.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.common.rng import numpy_rng
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import stores
from nogan.study.record import fingerprint
from nogan.study.rows import AVERAGED, SINGLE, RealRun, TrainedRun

if TYPE_CHECKING:
    from nogan.evaluation.merit import Color

EXPERIMENT = "inflection"
SIZE = 32  # px
ORACLE_EVERY = {AVERAGED: 2, SINGLE: 4}
"""The oracle measures every second average, which differ little, and every fourth single snapshot; and the last."""
PROBE_SHARE = 0.1  # of the photographs in train/: held out for the probe
PROBE_IMAGES, ORACLE_IMAGES = 128, 512
PROBE_SCENES, ORACLE_SCENES = 20_000_003, 10_000_019  # seeds; a run draws its own scenes from its small seed
HELD_OUT_SHARE, REALS_SHARE = 0.05, 0.25  # of the photographs; the same as of scenes
AT_ONCE = 512  # pictures in a pass of the network
# A GAN phase that is two and a half times as long, after the same pretraining.
LONG = ("nogan.pretrain.g1.share=0.26", "nogan.critic.fakes.share=0.064")
PHOTOGRAPHS = (
    "data=folder",
    "data.augment=false",  # the crops are as varied
    "data.workers=0",
    f"data.val_share={HELD_OUT_SHARE}",
    f"data.reals_share={REALS_SHARE}",
)
# One size up: a wider model, with an encoder that knows photographs.
LARGE = (
    "model.encoder=mobilenetv2_100",
    "model.pretrained=true",
    "model.width=1",
    "model.critic.width=32",
    "probe.size=64",
    *(f"nogan.{phase}.size=64" for phase in ("pretrain.g1", "critic.fakes", "critic.phases.c1", "gan")),
)


class RunSet(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
        settings: in which they differ from the experiment.
        crops: squares that photographs are cut into, as many as there are scenes; None: scenes.
        size: px, of the runs and of the crops.
    """

    settings: tuple[str, ...]
    crops: int | None = None
    size: int = SIZE


SETS: dict[str, RunSet] = {
    "scenes": RunSet(()),
    "photographs": RunSet((*PHOTOGRAPHS, "data.images=20000"), 20_000),
    "scenes-long": RunSet((*LONG, "data.images=50000")),
    "photographs-long": RunSet((*PHOTOGRAPHS, *LONG, "data.images=50000"), 50_000),
    "photographs-64": RunSet((*PHOTOGRAPHS, *LARGE, "data.images=20000"), 20_000, 64),
}


class Workplace(NamedTuple):
    """Where the study's files are, and how it computes.

    Attributes:
        root: the repository.
        out: the folder of results; run folders go to ``runs/`` in it, what was measured to ``real/``.
        threads: processor threads of a run.
        photos: a folder with photographs in ``train/`` and ``val/``.
        encoder_weights: a file, for the set with an encoder that knows photographs; None: timm fetches it.
    """

    root: Path
    out: Path
    threads: int = 1
    photos: Path | None = None
    encoder_weights: Path | None = None


def version(root: Path, data: str) -> str:
    """A hash of what the training on a data set depends on: the experiment's settings and the sizes above."""
    overlay = root / "experiments" / f"{EXPERIMENT}.yaml"
    if not overlay.is_file() or not (root / "train.py").is_file():
        raise UserError(f"{root} holds no train.py and {overlay.name}: run this in the repository, or pass --root.")
    settings = yaml.safe_load(overlay.read_text())
    return fingerprint([], (settings, tuple(SETS[data]), PROBE_SHARE))


def make(place: Workplace, data: str, seed: int) -> RealRun:
    """A run as measured: from its file; measured, if it was trained; else trained first, or taken up where it was cut.

    Raises:
        UserError: the run failed; names its output, which says why.
    """
    made = version(place.root, data)
    kept = place.out / "real" / f"{data}-{seed}.npz"
    if (known := load(kept, made)) is not None:
        return known
    folder = place.out / "runs" / f"{data}-{seed}-{made}"
    chosen = SETS[data]
    crops = None
    if chosen.crops is not None:
        assert place.photos is not None
        crops = cut(place.photos, place.out / data, chosen.crops, chosen.size)
    if not RunFolder(folder).has_ended:
        _train(place, folder, data, seed, crops)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # it will not go on
    found = measure(folder, _pictures(data, seed, crops), place.threads)
    row: RealRun = {
        **collect(folder),
        "data": data,
        "seed": seed,
        "probe": found["probe"],
        "oracle": found["oracle"],
        "others": found["others"],
    }
    save(row, kept, made)
    return row


def is_trained(place: Workplace, data: str, seed: int) -> bool:
    """Whether this run has gone to its end."""
    return RunFolder(place.out / "runs" / f"{data}-{seed}-{version(place.root, data)}").has_ended


def is_measured(place: Workplace, data: str, seed: int) -> bool:
    """Whether nothing of this run is left to do."""
    return load(place.out / "real" / f"{data}-{seed}.npz", version(place.root, data)) is not None


def _train(place: Workplace, folder: Path, data: str, seed: int, crops: Path | None) -> None:
    if RunFolder(folder).config_file.is_file():
        arguments = [f"resume={folder.resolve()}"]
    else:
        settings = SETS[data].settings
        arguments = [f"experiment={EXPERIMENT}", f"seed={seed}", f"hydra.run.dir={folder.resolve()}", *settings]
        if crops is not None:
            arguments += [f"data.path={crops.resolve() / 'train'}", f"data.val_path={crops.resolve() / 'probe'}"]
            # A folder is held out, so no part of `train` has to be: the critic has that part as well.
            arguments += [f"data.reals_share={HELD_OUT_SHARE + REALS_SHARE}"]
        if place.encoder_weights is not None and "model.pretrained=true" in settings:
            arguments += [f"model.encoder_weights={place.encoder_weights.resolve()}"]
    path = os.pathsep.join(filter(None, [str((place.root / "src").resolve()), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": str(place.threads), "PYTHONPATH": path}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("a") as output:
        command = [sys.executable, "train.py", *arguments]
        code = subprocess.run(command, cwd=place.root, env=environment, stdout=output, stderr=output).returncode
    if code:
        lines = (folder / "output.log").read_text().strip().splitlines() or [""]
        raise UserError(f"{data}, seed {seed}: train.py ended with code {code}: {lines[-1]} (all of it: {output.name})")


def collect(folder: Path) -> TrainedRun:
    """What a finished run left in its folder."""
    run = RunFolder(folder)
    lines = [line for line in run.metrics() if "gan/critic_loss" in line]
    phase, record = run.plan()[-1], run.records()[-1]
    assert record.generator_steps is not None  # the last phase is a GAN phase
    return {
        "steps": phase.steps,
        "batch_size": phase.batch_size,
        "lr": phase.lr[0],
        "images": run.plain_config()["data"]["images"],
        "generator_steps": record.generator_steps,
        "losses": [[round(line["gan/step"]) - 1, round(line["gan/critic_loss"], 5)] for line in lines],
        "verdict": asdict(record.verdict) if record.verdict else None,
        "seconds": round(record.seconds, 1),
        "commit": run.environment().get("git"),
    }


# ----------------------------------------------------------------------------------------------------------- measuring


class Measured(NamedTuple):
    """RGB ``(N, 3, H, W)`` in [0, 1] that no run has seen: for the probe, and for the oracle."""

    probe: Any
    oracle: Any


def _pictures(data: str, seed: int, crops: Path | None) -> Measured:
    import torch

    from nogan.common.image_files import open_image
    from nogan.data.scenes import draw_scene

    def tensor(pictures: Sequence[np.ndarray]) -> Any:
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255

    def crops_in(part: str, count: int) -> Any:
        assert crops is not None
        files = sorted((crops / part).glob("*.png"))[:count]
        return tensor([np.asarray(open_image(file).convert("RGB")) for file in files])

    if crops is not None:
        return Measured(crops_in("probe", PROBE_IMAGES), crops_in("oracle", ORACLE_IMAGES))
    size = SETS[data].size
    return Measured(
        tensor([draw_scene(PROBE_SCENES + seed, index, size) for index in range(PROBE_IMAGES)]),
        tensor([draw_scene(ORACLE_SCENES, index, size) for index in range(ORACLE_IMAGES)]),
    )


def measure(folder: Path, pictures: Measured, threads: int) -> dict[str, Any]:
    """What a :class:`~nogan.study.rows.RealRun` has of its snapshots: ``probe``, ``oracle`` and ``others``."""
    import torch

    from nogan.networks import generator_file as exports
    from nogan.training.snapshot_average import SnapshotAverage

    torch.set_num_threads(threads)
    network = exports.load_generator(folder)
    (store,) = stores(RunFolder(folder)).values()
    average = SnapshotAverage(float(AVERAGED))
    probe, oracle = (_Instrument(rgb) for rgb in pictures)
    found: dict[str, Any] = {"probe": {AVERAGED: {}}, "oracle": {}, "others": {}}
    steps = store.steps()
    for number, step in enumerate(steps):
        store.restore(step, network)
        if step == 0:
            average.begin(network)
        averaged: Any = average.follow(network, step) if step else network
        found["probe"][AVERAGED][str(step)] = [round(value, 3) for value in probe.merits(averaged).tolist()]
        for kind, candidate in ((AVERAGED, averaged), (SINGLE, network)):
            if number % ORACLE_EVERY[kind] == 0 or step == steps[-1]:
                figures = oracle.figures(candidate)
                found["oracle"].setdefault(kind, {})[str(step)] = figures.pop("merit")
                for name, value in figures.items():
                    found["others"].setdefault(name, {}).setdefault(kind, {})[str(step)] = value
    return found


class _Instrument:
    """Measures generators on ``rgb``, ``(N, 3, H, W)`` in [0, 1]; the first one is that before the phase."""

    def __init__(self, rgb: Any) -> None:
        self.rgb = rgb
        self.before: Color | None = None

    def merits(self, network: Any) -> Any:
        """Merit of each picture, ``(N,)``."""
        return self._measure(network, shares=True)[2]

    def figures(self, network: Any) -> dict[str, float]:
        """Merit of all pictures, and other measures of them."""
        from nogan.evaluation.metrics import colorfulness, psnr

        output, quality, merits, color = self._measure(network, shares=False)
        values = {
            "merit": float(merits.mean()),
            "quality": float(quality.mean()),
            "chroma_fd": math.exp(color.value),
            "psnr": float(psnr(output, self.rgb).mean()),
            "colorfulness_ratio": float(colorfulness(output).mean() / colorfulness(self.rgb).mean()),
        }
        return {key: round(value, 4) for key, value in values.items()}

    def _measure(self, network: Any, shares: bool) -> tuple[Any, Any, Any, "Color"]:
        import torch

        from nogan.evaluation import eye
        from nogan.evaluation.held_out import colorize
        from nogan.evaluation.merit import color_of, merit_of_each

        network.eval()
        with torch.no_grad():
            output = colorize(network, self.rgb, AT_ONCE, torch.device("cpu"))
        quality, color = eye.quality(output, self.rgb), color_of(output, self.rgb, shares=shares)
        self.before = self.before or color
        return output, quality, merit_of_each(quality, color, self.before), color


def _instruments() -> str:
    """A hash of what measuring depends on: where that has changed, runs are measured again."""
    from nogan.evaluation import eye, merit, metrics
    from nogan.training import snapshot_average

    sources = [Path(str(module.__file__)) for module in (eye, merit, metrics, snapshot_average)]
    return fingerprint(sources, (ORACLE_EVERY, PROBE_IMAGES, ORACLE_IMAGES, PROBE_SCENES, ORACLE_SCENES))


def save(row: RealRun, path: Path, made: str) -> None:
    """Write a run as measured; ``made`` is the version of its settings."""
    plain = {key: value for key, value in row.items() if key != "probe"}
    probed = row["probe"][AVERAGED]
    facts = json.dumps({**plain, "probe_steps": list(probed), "made": made, "measured": _instruments()})
    columns = {AVERAGED: np.array(list(probed.values()), np.float32)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: _write(temporary, facts, columns))


def _write(path: Path, facts: str, columns: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, facts=np.array(facts), **columns)


def load(path: Path, made: str | None = None) -> RealRun | None:
    """Inverse of :func:`save`; None if it is not there, or not of the version ``made`` and of today's measures.

    With ``made=None`` any file is taken as it is.
    """
    if not path.is_file():
        return None
    with np.load(path) as file:
        facts = json.loads(str(file["facts"]))
        merits = np.round(file[AVERAGED].astype(float), 3).tolist()
    if made is not None and (facts.pop("made"), facts.pop("measured")) != (made, _instruments()):
        return None
    steps = facts.pop("probe_steps")
    row: Any = {**facts, "probe": {AVERAGED: dict(zip(steps, merits, strict=True))}}
    return row


# ------------------------------------------------------------------------------------------------------ photographs


def cut(photographs: Path, folder: Path, count: int, size: int = SIZE) -> Path:
    """Cut photographs into small squares, so that a few photographs are enough for a run.

    A tenth of the photographs in ``photographs/train`` is held out for the probe; those in ``photographs/val`` are the
    oracle's. A square's side is 40–100 % of the photograph's shorter side; its place is uniform.

    Args:
        photographs: the folder that holds ``train/`` and ``val/``.
        folder: where the squares go, into ``train/``, ``probe/`` and ``oracle/``.
        count: squares to train on.
        size: px, of a square.

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
    _cut_into(train, count, folder / "train", size)
    _cut_into(probe, ORACLE_IMAGES, folder / "probe", size)
    _cut_into(files["val"], ORACLE_IMAGES, folder / "oracle", size)
    (folder / "done").touch()
    return folder


def _cut_into(files: list[Path], count: int, folder: Path, size: int) -> None:
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
            square = photograph.resize((size, size), Image.Resampling.BOX, box=box, reducing_gap=None)
            square.save(folder / f"{index:05d}.png", compress_level=1)
