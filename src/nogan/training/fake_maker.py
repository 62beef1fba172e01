"""Making the critic's fakes: the generator as it stands colorizes a share of the photographs, once a cycle.

Lightning asks for a critic phase's loader before any hook of the phase, and the loader asks for its fakes: that is when
they are made. What is made is on disk, so that a cut run goes on where it was.
"""

import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from nogan.common import color, distributed
from nogan.common.failures import naming_out_of_memory
from nogan.data.datamodule import Reader
from nogan.data.fakes import FakeStore, fingerprint
from nogan.data.sources import Source, Split, subset
from nogan.evaluation.held_out import evaluating
from nogan.plan import CriticPhase
from nogan.plan.config import RunConfig
from nogan.runs.run_folder import RunFolder
from nogan.training.modules import GeneratorModule
from nogan.training.modules.compiled import uncompiled


class FakeMaker(pl.Callback):
    """Makes the fakes of a cycle; only one cycle's are on disk at a time.

    Args:
        config: the run's configuration.
        generator: the generator.
        source: every photograph.
        split: fakes are made of the training part.
        reader: reads the photographs.
        folder: the run folder.
        report: called on every rank with (done, count) now and then; may raise to stop.
    """

    def __init__(
        self,
        config: RunConfig,
        generator: GeneratorModule,
        source: Source,
        split: Split,
        reader: Reader,
        folder: RunFolder,
        report: Callable[[int, int], None],
    ) -> None:
        self.settings, self.seed = config.nogan.critic.fakes, config.seed
        self.generator, self.source, self.split, self.reader = generator, source, split, reader
        self.folder, self.report = folder, report
        self._trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Know the trainer, whose device and precision the generator works at."""
        self._trainer = trainer

    def store(self, phase: CriticPhase) -> FakeStore:
        """Where the fakes of the cycle of ``phase`` are, or will be."""
        return FakeStore(self.folder.fakes(phase.cycle), phase.fakes, phase.fakes_size)

    def ready(self, phase: CriticPhase) -> FakeStore:
        """The fakes of the cycle of ``phase``: found on disk, or made by the generator as it stands.

        Raises:
            UserError: too little memory, too little disk, or too many photographs that cannot be read.
        """
        store = self.store(phase)
        distributed.broadcast_buffers(self.generator)
        # First, so that the disk never holds two cycles' fakes; every rank waits in ``fill`` until rank zero is there.
        self.remove(but_of=phase.cycle)
        where = f"the fakes for {phase.title}, at {phase.fakes_size} px in batches of {self.settings.batch_size}"
        instead = "lower nogan.critic.fakes.batch_size"
        with uncompiled(), evaluating(self.generator), naming_out_of_memory(where, instead):
            made_by = fingerprint(self.generator.network)
            store.fill(self._colorize(phase), made_by, self.settings.batch_size, self._report)
        return store

    def remove(self, but_of: int | None = None) -> None:
        """Remove the fakes of every cycle, except those of cycle ``but_of``."""
        if distributed.rank() > 0:
            return
        kept = self.folder.fakes(but_of) if but_of is not None else None
        for folder in self.folder.fakes_folders():
            if folder != kept:
                shutil.rmtree(folder)

    def _colorize(self, phase: CriticPhase) -> Callable[[list[np.ndarray]], Iterator[Tensor]]:
        assert self._trainer is not None
        precision, device = self._trainer.precision_plugin, self._trainer.strategy.root_device
        chosen = subset(self.split.train, self.settings.share, self.seed, "fakes", phase.cycle)
        indices = np.resize(chosen, phase.fakes)  # the first of them; where photographs have gone, some come again

        def colorize(batches: list[np.ndarray]) -> Iterator[Tensor]:
            for photographs in self.reader.squares(self.source, indices, batches, phase.fakes_size, device):
                with torch.no_grad(), precision.forward_context():
                    output = self.generator(color.normalize(color.to_gray(photographs)))
                yield color.denormalize(output.float()).clamp(0, 1)

        return colorize

    def _report(self, done: int, count: int) -> None:
        self.reader.bad_images.heed()
        self.report(done, count)
