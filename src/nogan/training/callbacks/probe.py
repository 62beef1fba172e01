"""The probe: the same held-out photographs, measured and shown at the start, at every snapshot and at every phase end.

It measures the picture that a user gets: the network's chroma with the photograph's luma. The network runs in eval
mode, and the training state does not change. The measures are for what the author of NoGAN looked for by eye:

==========================  ============================================================================================
``quality``                 all in one, as somebody sees it who looks: :func:`nogan.evaluation.eye.quality`
``merit``                   quality, and the color gained in GAN phases: :mod:`nogan.evaluation.merit`
``colorfulness_ratio``     vivid enough? Hasler–Süsstrunk colorfulness of the output to that of the truth
``chroma_fd``, ``psnr``     colors distributed as in the truth; the right ones
``a_shift``, ``b_shift``    a cast over everything (mean a* and b* against the truth)
``orange_red``              share of orange-red pixels (``_truth``: of the photographs): skin goes orange first
``change``                  mean chroma distance to the output at the last snapshot
``shift_variation``         mean chroma distance when the input moves by a few pixels, and …
``scale_variation``         … when it is colorized at another size: what flickers and glitches first
``…_v0``, ``…_v50``         the same of a generator with a vividness, at 0 and ½; the others are at 1
==========================  ============================================================================================

Chroma distances are in CIELAB units (ΔE of a* and b* alone).
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor, nn

from nogan.common import distributed
from nogan.common.errors import UserError
from nogan.common.failures import naming_out_of_memory
from nogan.common.files import write_atomically
from nogan.data.datamodule import NoGANData
from nogan.evaluation import eye
from nogan.evaluation.further import further_measure
from nogan.evaluation.held_out import STABILITY_IMAGES, Colorizes, colorize, draw_grid, evaluating, rescale, shift
from nogan.evaluation.measures import SCALE, SHIFT
from nogan.evaluation.merit import Color, merit_of_each
from nogan.evaluation.metrics import HeldOutMetrics, MetricError, chroma_distance, failing_as
from nogan.evaluation.set_color import color_of_rows
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore
from nogan.training.modules import GANModule
from nogan.training.modules.compiled import uncompiled
from nogan.training.state import RunState

log = logging.getLogger(__name__)

LEVELS = (0.0, 0.5)
"""Vividness at which a generator with that knob is measured and shown beside 1, which all other measures are of."""


class Found(NamedTuple):
    """What was measured: the metrics by name, and the merit of each picture."""

    values: dict[str, float]
    pictures: Sequence[float] = ()


class Probe(pl.Callback):
    """Measures the networks on held-out pictures and draws the grid of samples; rank zero does it for all.

    Args:
        module: generator and critic.
        data: has the held-out pictures.
        state: says where the run stands, and keeps the results in its records.
        folder: the run folder; grids go to ``samples/``, a snapshot's metrics beside the snapshot.
        report: logs metrics: ``val/…`` of the generator, ``critic/val_…`` of the critic.
        measured: told the metrics of each snapshot, by its step, and the merit of each picture.
        candidate: the generator that a snapshot is of, on rank zero; None: the one that trains.
        images: photographs measured, where so many are held out.
        size: px, square.
        grid: photographs shown.
        batch_size: of the measurement.
        color_weight: of the color gained, in ``merit``.
        objective: the metric that the run is compared by; measured, too, where the probe does not do so anyway.

    Raises:
        UserError: what the objective needs cannot be had.
    """

    def __init__(
        self,
        module: GANModule,
        data: NoGANData,
        state: RunState,
        folder: RunFolder,
        report: Callable[[pl.Trainer, Mapping[str, float]], None],
        measured: Callable[[int, Mapping[str, float], Sequence[float]], None],
        candidate: Callable[[], nn.Module] | None = None,
        *,
        images: int,
        size: int,
        grid: int,
        batch_size: int,
        color_weight: float,
        objective: str | None = None,
    ) -> None:
        self.module, self.data, self.state, self.folder = module, data, state, folder
        self.report, self.measured, self.candidate = report, measured, candidate
        self.images, self.size, self.grid, self.batch_size = images, size, grid, batch_size
        self._color_weight = color_weight
        self._further = further_measure(objective)
        self._photographs: Tensor | None = None
        self._last: Tensor | None = None  # output at the last snapshot, uint8
        self._before: Color | None = None  # of the generator before the first GAN phase

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure before the first batch of the run, and of every GAN phase: snapshot 0."""
        phase = self.state.plan[trainer.current_epoch]
        if isinstance(phase, GANPhase):
            self._measure_snapshot(trainer, phase, 0)
        elif trainer.current_epoch == 0:
            self._measure(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Measure at snapshots."""
        phase = self.state.plan[trainer.current_epoch]
        if isinstance(phase, GANPhase) and phase.is_snapshot(batch_idx + 1):
            self._measure_snapshot(trainer, phase, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the network that the phase trained; after a rollback, take the metrics of that snapshot."""
        record, phase = self.state.record, self.state.plan[trainer.current_epoch]
        match phase:
            case GeneratorPhase():
                record.metrics = self._measure(trainer).values
            case CriticPhase() if phase.held_out:
                with naming_out_of_memory(f"the critic's measurement after {phase.title}", f"lower {phase.key}.size"):
                    record.critic = self._report(
                        trainer, "critic/val_", lambda: Found(self._critic_values(trainer, phase))
                    ).values
            case GANPhase():
                assert record.chosen is not None
                # A run that only marks the point goes on with the generator as it is, whatever its snapshots are of.
                is_snapshot = record.rolled_back_to is not None or self.candidate is None
                known = self._snapshots(phase).metrics(record.chosen) if is_snapshot else {}
                record.metrics = distributed.broadcast_from_rank_zero(known) or self._measure(trainer).values

    def state_dict(self) -> dict[str, Any]:
        """What later measurements are compared with: for ``change`` the last snapshot's, for ``merit`` the first's."""
        return {"last": self._last, "before": self._before and self._before.as_list()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._last = state_dict["last"]
        before = state_dict.get("before")  # a checkpoint of an earlier version has none
        self._before = before and Color.of_list(before)

    # --- measuring ----------------------------------------------------------------------------------------------------

    def _measure_snapshot(self, trainer: pl.Trainer, phase: GANPhase, step: int) -> None:
        found = self._measure(trainer, self.candidate() if self.candidate is not None else None)
        if trainer.is_global_zero:
            self._snapshots(phase).note_metrics(step, found.values)
            self._snapshots(phase).note_pictures(step, found.pictures)
        self.measured(step, found.values, found.pictures)

    def _measure(self, trainer: pl.Trainer, network: nn.Module | None = None) -> Found:
        """Measure ``network``, the generator if that is None."""
        where = self._where(trainer)
        batches = f"the probe's pictures, at {self.size} px in batches of {self.batch_size}, {where}"
        try:
            with naming_out_of_memory(batches, "lower probe.batch_size or probe.size"):
                return self._report(
                    trainer, "val/", lambda: self._found(trainer, network or self.module.generator.network)
                )
        except MetricError as error:
            raise UserError(f"{error}; in {where}") from error

    def _where(self, trainer: pl.Trainer) -> str:
        return f"{self.state.plan[trainer.current_epoch].title}, batch {self.state.record.steps}"

    def _report(self, trainer: pl.Trainer, prefix: str, measure: Callable[[], Found]) -> Found:
        started = time.monotonic()
        found = distributed.broadcast_from_rank_zero(measure() if trainer.is_global_zero else Found({}))
        self.report(trainer, {f"{prefix}{name}": value for name, value in found.values.items()})
        self.state.count_probe(time.monotonic() - started)
        return found

    def _found(self, trainer: pl.Trainer, network: nn.Module) -> Found:
        photographs = self._load()
        with uncompiled(), evaluating(network), torch.no_grad(), trainer.precision_plugin.forward_context():
            device = trainer.strategy.root_device
            outputs = colorize(network, photographs, self.batch_size, device)
            few, few_outputs = photographs[:STABILITY_IMAGES], outputs[:STABILITY_IMAGES]
            shifted = colorize(network, shift(few, SHIFT), self.batch_size, device)
            scaled = colorize(network, rescale(few, SCALE), self.batch_size, device)
            less_vivid = self._less_vivid(network, photographs, device)
        metrics = HeldOutMetrics()
        chroma = metrics.update(outputs, photographs)
        values = metrics.compute()
        with failing_as("quality"):
            batches = zip(outputs.split(self.batch_size), photographs.split(self.batch_size), strict=True)
            qualities = torch.cat([eye.quality(*batch) for batch in batches]).tolist()
        values["quality"] = fmean(qualities)
        with failing_as("merit"):
            merits = self._merits(trainer, qualities, chroma)
        values["merit"] = fmean(merits)
        if self._further is not None:
            key, measure = self._further
            with failing_as(key):
                values[key] = measure(outputs, photographs)
        if not outputs.isfinite().all():
            log.warning("%s: the generator's held-out pictures have values that are not finite", self._where(trainer))
        with failing_as("shift_variation"):
            values["shift_variation"] = float(chroma_distance(shift(shifted, -SHIFT), few_outputs).mean())
        with failing_as("scale_variation"):
            values["scale_variation"] = float(chroma_distance(rescale(scaled, few.shape[-1]), few_outputs).mean())
        rounded = outputs.mul(255).round().to(torch.uint8)
        if self._last is not None:
            with failing_as("change"):
                values["change"] = float(chroma_distance(rounded / 255, self._last / 255).mean())
        self._last = rounded
        for level, (pictures, moved) in less_vivid.items():
            values |= _at_level(level, pictures, moved, photographs)
        rows = [*(pictures for pictures, _ in less_vivid.values()), outputs]
        self._show(trainer, draw_grid(photographs[: self.grid], *(row[: self.grid] for row in rows)))
        return Found(values, merits)

    def _merits(self, trainer: pl.Trainer, qualities: list[float], chroma: tuple[Tensor, Tensor]) -> list[float]:
        """Merit of each picture: its quality, until the first snapshot of the first GAN phase has been measured.

        ``chroma`` is what :meth:`HeldOutMetrics.update` gave of outputs and photographs.
        """
        if not isinstance(self.state.plan[trainer.current_epoch], GANPhase) and self._before is None:
            return qualities
        own = color_of_rows(*chroma)
        if self._before is None and math.isfinite(own.value):
            self._before = own
        return merit_of_each(qualities, own, self._before or own, self._color_weight)

    def _less_vivid(
        self, network: nn.Module, photographs: Tensor, device: torch.device
    ) -> dict[float, tuple[Tensor, Tensor]]:
        """Of a generator with that knob, the outputs at each of :data:`LEVELS`, and a few of those for moved inputs."""
        if getattr(network, "vividness", None) is None:
            return {}
        found = {}
        for level in LEVELS:
            at_level = _at(network, level)
            moved = colorize(at_level, shift(photographs[:STABILITY_IMAGES], SHIFT), self.batch_size, device)
            found[level] = colorize(at_level, photographs, self.batch_size, device), moved
        return found

    def _load(self) -> Tensor:
        if self._photographs is None:
            self._photographs = self.data.probe_photographs(self.images, self.size)
            self._forget_others(self._photographs)
            if (count := len(self._photographs)) < self.images:
                log.info("Pictures held out to measure on: %d, of the %d of probe.images", count, self.images)
            self._write(self._photographs[: self.grid])
        return self._photographs

    def _forget_others(self, photographs: Tensor) -> None:
        """Forget what a resumed run knows of each picture, if it now measures more or fewer (data.changed=allow)."""
        count = len(photographs)
        if self._last is not None and len(self._last) != count:
            self._last = None
        if self._before is not None and len(self._before.shares) != count:
            self._before = Color(self._before.value, (0.0,) * count)

    def _write(self, photographs: Tensor) -> None:
        """Write the pictures of the grid one by one, to colorize them as a user would."""
        try:
            self.folder.held_out.mkdir(parents=True, exist_ok=True)
            for number, rgb in enumerate(photographs, 1):
                picture = Image.fromarray(rgb.permute(1, 2, 0).mul(255).round().byte().numpy())
                write_atomically(self.folder.held_out / f"{number}.png", picture.save)
        except OSError as error:  # pictures are not worth a run
            log.warning("no held-out pictures: %s: %s", self.folder.held_out, error.strerror or error)

    def _show(self, trainer: pl.Trainer, grid: Image.Image) -> None:
        path = self.folder.sample(trainer.global_step)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, grid.save)
        except OSError as error:  # a picture is not worth a run
            log.warning("no grid of samples: %s: %s", path, error.strerror or error)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [grid], step=trainer.global_step, caption=[self._where(trainer)])

    def _critic_values(self, trainer: pl.Trainer, phase: CriticPhase) -> dict[str, float]:
        """Loss and accuracy of the critic on the pictures that it does not train on."""
        total: dict[str, float] = {}
        precision = trainer.precision_plugin.forward_context()
        with uncompiled(), evaluating(self.module.critic.network), torch.no_grad(), precision:
            for batch in self.data.critic_held_out(phase):
                _, metrics = self.module.critic.pretrain_loss(batch)
                share = len(batch.images) / (2 * phase.held_out)
                total = {name: total.get(name, 0.0) + float(value) * share for name, value in metrics.items()}
        return total

    def _snapshots(self, phase: GANPhase) -> SnapshotStore:
        return SnapshotStore(self.folder.snapshots(phase.name))


def _at(network: nn.Module, level: float) -> Colorizes:
    return lambda x: network(x, x.new_full((len(x),), level))


def _at_level(level: float, outputs: Tensor, moved: Tensor, photographs: Tensor) -> dict[str, float]:
    """The few measures of one vividness, ``NAME_v50`` for 0.5: what the knob is for."""
    metrics = HeldOutMetrics()
    metrics.update(outputs, photographs)
    values = metrics.compute()
    distance = chroma_distance(shift(moved, -SHIFT), outputs[: len(moved)])
    shown = {"psnr": values["psnr"], "colorfulness_ratio": values["colorfulness_ratio"]}
    return {f"{name}_v{100 * level:.0f}": value for name, value in shown.items()} | {
        f"shift_variation_v{100 * level:.0f}": float(distance.mean())
    }
