"""Real runs for the study: trained once by `train.py experiment=inflection`, then measured as often as needed.

A run only marks the inflection point and goes on, so no detector changes it, and its critic losses can be replayed to
any detector afterwards. All of its snapshots are kept, and measured after the run (:mod:`nogan.study.measuring`). So
another rule or measure needs no further training.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from nogan.common.errors import UserError
from nogan.common.rng import numpy_rng
from nogan.evaluation.merit import COLOR_WEIGHT
from nogan.runs.run_folder import RunFolder
from nogan.study import measuring
from nogan.study.measuring import UnseenPictures
from nogan.study.record import fingerprint
from nogan.study.rows import RealRun, TrainedRun

EXPERIMENT = "inflection"
SIZE = 32  # px
PROBE_SHARE = 0.1  # of the photographs in train/: held out for the probe
PROBE_IMAGES, ORACLE_IMAGES = 128, 512
PROBE_SCENES, ORACLE_SCENES = 20_000_003, 10_000_019  # seeds; a run draws its own scenes from its small seed
HELD_OUT_SHARE, REALS_SHARE = 0.05, 0.25  # of the photographs; the same as of scenes
SNAPSHOTS_AS_TRAINED = "nogan.inflection.average=null"  # what is measured averages them
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


def make(place: Workplace, data: str, seed: int, color_weight: float = COLOR_WEIGHT) -> RealRun:
    """A run as measured: from its file; measured, if it was trained; else trained first, or taken up where it was cut.

    Raises:
        UserError: the run failed; names its output, which says why.
    """
    made = version(place.root, data)
    kept = place.out / "real" / f"{data}-{seed}.npz"
    if (known := measuring.load(kept, _version_of_what_is_kept(made))) is not None:
        return measuring.judged(known[0], data, seed, known[1], color_weight)
    folder = place.out / "runs" / f"{data}-{seed}-{made}"
    chosen = SETS[data]
    crops = None
    if chosen.crops is not None:
        assert place.photos is not None
        crops = cut(place.photos, place.out / data, chosen.crops, chosen.size)
    if not RunFolder(folder).has_ended:
        _train(place, folder, data, seed, crops)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # it will not go on
    trained = collect(folder)
    found = measuring.measure(folder, unseen_pictures(data, seed, crops), place.threads)
    measuring.save(trained, found, kept, _version_of_what_is_kept(made))
    return measuring.judged(trained, data, seed, found, color_weight)


def as_recorded(file: Path, color_weight: float = COLOR_WEIGHT) -> RealRun:
    """A run from its file, whatever its settings and measures were then.

    Raises:
        UserError: it is no such file.
    """
    data, _, seed = file.stem.rpartition("-")
    known = measuring.load(file) if data in SETS and seed.isdigit() else None
    if known is None:
        raise UserError(f"{file}: expected DATA-SEED.npz, as a study keeps it, with DATA one of {', '.join(SETS)}.")
    return measuring.judged(known[0], data, int(seed), known[1], color_weight)


def is_trained(place: Workplace, data: str, seed: int) -> bool:
    """Whether this run has gone to its end."""
    return RunFolder(place.out / "runs" / f"{data}-{seed}-{version(place.root, data)}").has_ended


def is_measured(place: Workplace, data: str, seed: int) -> bool:
    """Whether nothing of this run is left to do."""
    made = _version_of_what_is_kept(version(place.root, data))
    return measuring.load(place.out / "real" / f"{data}-{seed}.npz", made) is not None


def _version_of_what_is_kept(made: str) -> str:
    return fingerprint([], (made, PROBE_IMAGES, ORACLE_IMAGES, PROBE_SCENES, ORACLE_SCENES))


def _train(place: Workplace, folder: Path, data: str, seed: int, crops: Path | None) -> None:
    if RunFolder(folder).config_file.is_file():
        arguments = [f"resume={folder.resolve()}"]
    else:
        settings = SETS[data].settings
        arguments = [f"experiment={EXPERIMENT}", f"seed={seed}", f"hydra.run.dir={folder.resolve()}", *settings]
        arguments += [SNAPSHOTS_AS_TRAINED]
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


# ------------------------------------------------------------------------------------------------------ pictures


def unseen_pictures(data: str, seed: int, crops: Path | None) -> UnseenPictures:
    """The probe's and the oracle's pictures of a run; ``crops`` is of :func:`cut`, None for scenes."""
    if crops is not None:
        return UnseenPictures(crops_in(crops / "probe", PROBE_IMAGES), crops_in(crops / "oracle", ORACLE_IMAGES))
    size = SETS[data].size
    return UnseenPictures(
        scenes_of(PROBE_SCENES + seed, PROBE_IMAGES, size), scenes_of(ORACLE_SCENES, ORACLE_IMAGES, size)
    )


def crops_in(folder: Path, count: int) -> Any:
    """The first ``count`` squares in a folder of :func:`cut`, RGB ``(count, 3, S, S)`` in [0, 1]."""
    from nogan.common.image_files import open_image

    files = sorted(folder.glob("*.png"))[:count]
    return _tensor([np.asarray(open_image(file).convert("RGB")) for file in files])


def scenes_of(seed: int, count: int, size: int) -> Any:
    """The first ``count`` built-in scenes of ``seed``, RGB ``(count, 3, size, size)`` in [0, 1]."""
    from nogan.data.scenes import draw_scene

    return _tensor([draw_scene(seed, index, size) for index in range(count)])


def _tensor(pictures: Sequence[np.ndarray]) -> Any:
    import torch

    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


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
