"""The networks of the study of the vividness: trained with one seed, measured on pictures that none of them has seen.

Of one seed there are five networks: the *pretrained* one; three that go on from it, each with settings of its own; and
the *unified* one, which goes on from it, too. So they differ in their GAN phase alone, and what each would have cost
apart is what its GAN phase took, and the pretraining.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nogan.common.errors import UserError
from nogan.common.files import write_atomically
from nogan.common.recipes import recipes
from nogan.plan import GANPhase
from nogan.runs.run_folder import RunFolder
from nogan.study import panned, runs
from nogan.study.record import fingerprint

if TYPE_CHECKING:
    from torch import Tensor

    from nogan.networks import UNet

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the vividness and of both blends."""
ENDS = {"C": ("pretrained", "artistic"), "D": ("video", "artistic")}
"""The networks that the blends are at 0 and 1."""

SMALL = (
    *("model.width=0.5", "model.critic.width=16"),
    *("nogan.repeats=0", "nogan.pretrain.g2=null", "nogan.critic.phases.c2=null", "nogan.critic.val_share=0"),
    "nogan.pretrain.g1={size:32,batch_size:16,share:0.65,epochs:1,lr:2e-3}",
    "nogan.critic.fakes={size:32,batch_size:16,share:0.16}",
    "nogan.critic.phases.c1={size:32,batch_size:16,epochs:1}",
    "nogan.gan={size:32,batch_size:16,epochs:1,lr:2e-4}",
    "nogan.gan.vividness={at_zero:0.25,at_one:0.5,critic_sees:all}",
    *("nogan.inflection.action=mark", "nogan.ema=0.95", "nogan.snapshot_every=0.3"),
    *("probe={images:16,size:32,grid:8,batch_size:16}", "logger=csv"),
)
"""The experiment at 32 px, in one cycle whose GAN phase goes to its end. What is measured is the average of the last
twenty or so generator batches: single ones differ by more than the settings do."""

APART = ("model.vividness=null", "nogan.consistency.weight=0", "nogan.gan.share=0.32")
NETWORKS: dict[str, tuple[str, ...]] = {
    "artistic": (*APART, "nogan.gan.weights.adversarial=1"),
    "stable": (*APART, "nogan.gan.weights.adversarial=0.5"),
    "video": (*APART, "nogan.gan.weights.adversarial=0.25", "nogan.gan.noise=true"),
    "unified": ("nogan.gan.share=0.48", "nogan.gan.weights.adversarial=1"),
}
"""What each is trained with. The unified one has half as many GAN batches again, a share of which is fully vivid."""

FIRST = "artistic"
"""The run that pretrains; the others begin before its GAN phase."""

SIZE = 32
"""In px, of all networks' pictures but for films."""
PICTURES, FEW, FILMS = 256, 64, 3
"""Pictures that are measured, those of them whose stability is, and films."""
CRITERIA = ("colorfulness_ratio", "psnr", "chroma_fd", "ciede2000", "shift_variation")
"""What is measured of pictures; :func:`nogan.study.panned.flicker_of` says what is of films."""


class Subject(NamedTuple):
    """What the networks train on.

    Attributes:
        name: "scenes" or "photographs".
        images: how many, in the whole set; all phases are shares of it.
        photos: a folder with photographs in ``train/`` and ``val/``.
        more: further settings for every network.
    """

    name: str
    images: int
    photos: Path | None = None
    more: tuple[str, ...] = ()

    @property
    def experiment(self) -> str:
        """The experiment whose settings hold where the study does not set them."""
        return f"unified-{self.name}"

    @property
    def settings(self) -> tuple[str, ...]:
        """Of every network, but for seeds and paths."""
        data = runs.PHOTOGRAPHS if self.photos else ()
        return (f"experiment={self.experiment}", *data, *SMALL, f"data.images={self.images}", *self.more)

    @property
    def version(self) -> str:
        """A hash of what the trained networks depend on."""
        overlay = recipes() / "experiments" / f"{self.experiment}.yaml"
        return fingerprint([overlay], (self.settings, NETWORKS))


def measured_by() -> str:
    """A hash of what the figures depend on, beside the networks."""
    from nogan.evaluation import metrics

    sources = [Path(str(module.__file__)) for module in (metrics, panned)]
    return fingerprint(sources, (LEVELS, SIZE, PICTURES, FEW, FILMS, runs.ORACLE_SCENES))


# ------------------------------------------------------------------------------------------------------------ training


def train_all(subject: Subject, seed: int, folder: Path, crops: Path | None) -> dict[str, float]:
    """Train the networks of one seed that are missing, each into a run folder below ``folder``.

    A run that was interrupted goes on. What is left of each are its weights and records.

    Returns:
        Processor seconds of each network, as if it had been trained apart: pretraining included.
    """
    for name in NETWORKS:
        run = RunFolder(folder / name)
        if not run.generator("ema").is_file() or not run.has_ended:
            _train(subject, seed, run, crops)
        if name != FIRST:
            shutil.rmtree(run.path / "snapshots", ignore_errors=True)
    shutil.rmtree(folder / FIRST / "snapshots", ignore_errors=True)
    costs = {name: _seconds(folder / name) for name in NETWORKS}
    records = RunFolder(folder / FIRST).records()
    before = sum(record.seconds for record in records if record.kind != GANPhase.kind)
    pretraining = costs[FIRST] * before / sum(record.seconds for record in records)
    return {name: seconds + (name != FIRST) * pretraining for name, seconds in costs.items()}


def _train(subject: Subject, seed: int, run: RunFolder, crops: Path | None) -> None:
    from rich.console import Console

    from nogan.training.compose import read_config
    from nogan.training.run import train

    settings = [*subject.settings, *NETWORKS[run.path.name], f"seed={seed}", f"data.seed={seed}"]
    if crops is not None:
        # A folder is held out, so no part of `train` has to be: the critic has that part as well.
        reals = runs.HELD_OUT_SHARE + runs.REALS_SHARE
        settings += [f"data.path={crops / 'train'}", f"data.val_path={crops / 'probe'}", f"data.reals_share={reals}"]
    if run.path.name != FIRST:
        settings += ["start=gan", f"model.init={run.path.with_name(FIRST)}"]
    if run.config_file.is_file():
        settings.append(f"resume={run.path}")
    run.path.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    try:
        with (run.path.parent / f"{run.path.name}.log").open("a") as log:
            train(read_config(*settings), run.path, console=Console(file=log))
    except UserError as error:
        raise UserError(f"{subject.name}, seed {seed}, {run.path.name}: {error}") from error
    finally:
        spent = _seconds(run.path) + time.process_time() - began
        write_atomically(_clock(run.path), lambda path: path.write_text(json.dumps(spent)))
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)  # it will not go on


def _clock(run: Path) -> Path:
    return run.with_name(f"{run.name}.seconds.json")


def _seconds(run: Path) -> float:
    """Processor seconds that the run has taken so far."""
    return float(json.loads(_clock(run).read_text())) if _clock(run).is_file() else 0.0


# ----------------------------------------------------------------------------------------------------------- measuring

Paint = Callable[["Tensor"], "Tensor"]
"""Gray to color, model space ``(B, 3, H, W)``."""


class Setting(NamedTuple):
    """One way to color.

    Attributes:
        family: A, networks trained apart, and the pretrained one; B, the unified one; C, blends of the weights of two
            of A; D, blends of the pictures of two: see :data:`ENDS`.
        at: the network's name, or the place on the curve, from 0 to 1.
    """

    family: str
    at: str


def painters(folder: Path) -> Iterator[tuple[Setting, Paint]]:
    """Every way to color of the networks in ``folder``, one after the other; the ends of blends are networks."""
    from nogan.networks import at_vividness
    from nogan.networks.blend import blend
    from nogan.networks.generator_file import load_generator

    networks = {name: load_generator(RunFolder(folder / name).generator("ema")) for name in NETWORKS}
    networks["pretrained"] = load_generator(RunFolder(folder / FIRST).generator("pretrained"))
    unified = networks.pop("unified")
    for name, network in networks.items():
        yield Setting("A", name), network
    for level in LEVELS:
        yield Setting("B", f"{level:g}"), at_vividness(unified, level)
    for level in LEVELS[1:-1]:
        for family, mix in (("C", blend), ("D", _mix)):
            steady, vivid = (networks[name] for name in ENDS[family])
            yield Setting(family, f"{level:g}"), mix(steady, vivid, level)


def _mix(steady: UNet, vivid: UNet, level: float) -> Paint:
    return lambda gray: (1 - level) * steady(gray) + level * vivid(gray)


def pictures_of(crops: Path | None) -> Tensor:
    """RGB ``(N, 3, SIZE, SIZE)`` in [0, 1] that no run has seen: squares of photographs, else scenes."""
    import torch

    if crops is None:
        from nogan.data.scenes import draw_scene

        pictures = [draw_scene(runs.ORACLE_SCENES, index, SIZE) for index in range(PICTURES)]
    else:
        from nogan.common.image_files import open_image

        files = sorted((crops / "oracle").glob("*.png"))[:PICTURES]
        pictures = [np.asarray(open_image(file).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def films_of(subject: Subject) -> list[panned.Panned]:
    """Films of held-out scenes, or of held-out photographs."""
    import cv2

    side = panned.PICTURE
    if subject.photos is None:
        from nogan.data.scenes import draw_scene

        stills = [draw_scene(runs.ORACLE_SCENES, index, side) for index in range(FILMS)]
    else:
        files = sorted(file for file in (subject.photos / "val").glob("**/*") if file.is_file())
        stills = [_square(file, side) for file in files[:FILMS]]
    return [panned.film_of(cv2.cvtColor(still, cv2.COLOR_RGB2GRAY), number) for number, still in enumerate(stills)]


def _square(file: Path, side: int) -> np.ndarray:
    """The middle of a photograph as RGB ``(side, side, 3)`` uint8."""
    from PIL import ImageOps

    from nogan.common.image_files import open_image

    with open_image(file) as opened:
        return np.asarray(ImageOps.fit(opened.convert("RGB"), (side, side)))


def measure(paint: Paint, pictures: Tensor, films: Sequence[panned.Panned]) -> dict[str, float]:
    """:data:`CRITERIA` on ``pictures``, and the flicker in ``films``."""
    import torch

    from nogan.common import color
    from nogan.evaluation.held_out import colorize, shift
    from nogan.evaluation.measures import SHIFT
    from nogan.evaluation.metrics import HeldOutMetrics, chroma_distance
    from nogan.evaluation.per_image import PER_IMAGE, Pair

    def predict(gray: np.ndarray) -> np.ndarray:
        x = (torch.from_numpy(gray).float() / 255)[:, None].expand(-1, 3, -1, -1)
        return color.denormalize(paint(color.normalize(x))).clamp(0, 1).permute(0, 2, 3, 1).numpy()

    few, cpu = pictures[:FEW], torch.device("cpu")
    with torch.inference_mode():
        outputs = colorize(paint, pictures, 64, cpu)
        shifted = colorize(paint, shift(few, SHIFT), 64, cpu)
        metrics = HeldOutMetrics()
        metrics.update(outputs, pictures)
        values = metrics.compute()
        values["ciede2000"] = float(PER_IMAGE["ciede2000"](Pair(outputs, pictures)).mean())
        values["shift_variation"] = float(chroma_distance(shift(shifted, -SHIFT), outputs[: len(few)]).mean())
        found = {key: values[key] for key in CRITERIA} | panned.flicker_of(predict, films)
    return {key: round(value, 6) for key, value in found.items()}


def draw_row(folder: Path, pictures: Tensor, path: Path, count: int = 12) -> None:
    """Draw held-out pictures: gray, the unified network at each of :data:`LEVELS`, and the truth; a row each."""
    import torch

    from nogan.evaluation.held_out import colorize, draw_grid

    shown = pictures[:count]
    with torch.inference_mode():
        rows = [
            colorize(paint, shown, count, torch.device("cpu"))
            for setting, paint in painters(folder)
            if setting.family == "B"
        ]
    grid = draw_grid(shown, *rows)
    grid = grid.resize((2 * grid.width, 2 * grid.height), resample=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: grid.save(temporary, format="PNG"))


def measure_all(subject: Subject, folder: Path, crops: Path | None, sample: Path) -> list[dict[str, Any]]:
    """Every :class:`Setting` of the networks in ``folder`` with its ``measures``; a grid of pictures in ``sample``."""
    pictures, films = pictures_of(crops), films_of(subject)
    found = [{**setting._asdict(), "measures": measure(paint, pictures, films)} for setting, paint in painters(folder)]
    draw_row(folder, pictures, sample)
    return found
