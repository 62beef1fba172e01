"""The root module of a run: generator and critic, each phase training what the plan says.

Optimization is manual, and every ``training_step`` takes exactly one optimizer step, since each batch serves one
network: so Lightning's ``global_step`` is the number of batches trained on.
"""

from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn

from nogan.common import distributed
from nogan.common.failures import naming_out_of_memory
from nogan.common.rng import derive_seed
from nogan.data.batches import Labeled, Pair
from nogan.networks import trainable_parameters
from nogan.networks.losses import critic_loss, generator_adversarial_loss
from nogan.networks.vividness import VIVID, VIVIDNESS
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, Phase, Turn
from nogan.plan.schedule import Hyper
from nogan.training.modules.compiled import uncompiled
from nogan.training.modules.critic import CriticModule
from nogan.training.modules.generator import GeneratorModule, Metrics
from nogan.training.modules.step import Safeguard, SkippedBatch, TooManySkippedBatches, accumulate

USUAL_OVERFLOWS = 20  # in a row: more halvings than bring a gradient scaler's first scale of 65,536 below one


class Service(NamedTuple):
    """What a batch for one network needs, which is looked up once a phase."""

    turn: Turn
    network: nn.Module
    optimizer: LightningOptimizer
    training: list[nn.Parameter]
    resting: list[nn.Parameter]  # of both networks
    safeguard: Safeguard


class GANModule(pl.LightningModule):
    """Generator and critic under one roof.

    The scheduler callback tells it which phase is on (:meth:`enter_phase`) and, batch by batch, whose turn it is and
    with which rates (:meth:`prepare_batch`).

    Args:
        generator: trained in generator phases and on its turns of a GAN phase.
        critic: trained in critic phases and on its turns of a GAN phase.
        adversarial_weight: of the critic's judgment in the generator's GAN loss.
        feature_weight: of the feature loss in the generator's GAN loss.
        seed: of what the networks draw themselves (dropout), with the rank, phase and step.
        accumulate: parts that each batch is split into, to save memory.
        max_bad_batches: batches in a row that may be skipped because their loss or gradient is not finite.
        critic_sees: of a generator with a vividness, "vivid" pictures at 1 alone; "all" those that it trains on; or
            them all, and it is "told" the vividness of each.
        gradient_clip: norm that a batch's gradient is scaled down to where it is larger; None leaves it as it is.
    """

    def __init__(
        self,
        generator: GeneratorModule,
        critic: CriticModule,
        *,
        adversarial_weight: float = 1.0,
        feature_weight: float = 1.0,
        seed: int = 0,
        accumulate: int = 1,
        max_bad_batches: int = 10,
        gradient_clip: float | None = None,
        critic_sees: Literal["vivid", "all", "told"] = "vivid",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = generator
        self.critic = critic
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight
        self.seed = seed
        self.accumulate = accumulate
        self.max_bad_batches = max_bad_batches
        self.gradient_clip = gradient_clip
        self.critic_sees = critic_sees
        self.skipped_batches = 0
        self.skipped_in_a_row: list[SkippedBatch] = []
        self.overflows_in_a_row = 0  # steps that a gradient scaler skipped
        self.phase: Phase | None = None
        self.skipped = False  # whether the last batch changed nothing, because its loss or gradient was not finite
        self.phase_over = False  # set by the scheduler: no further batch in this phase
        self._service: Service | None = None  # what the batch that is on needs
        self._services: dict[Turn, Service] = {}  # in this phase

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The generator's optimizer and the critic's."""
        return [self.generator.configure_optimizers(), self.critic.configure_optimizers()]

    @property
    def generator_optimizer(self) -> LightningOptimizer:
        """The generator's own Adam, as Lightning wrapped it."""
        return self._optimizers[0]

    @property
    def critic_optimizer(self) -> LightningOptimizer:
        """The critic's own Adam, as Lightning wrapped it."""
        return self._optimizers[1]

    @property
    def _optimizers(self) -> list[LightningOptimizer]:
        both = self.optimizers()
        assert isinstance(both, list)
        return both

    def enter_phase(self, phase: Phase) -> None:
        """Make ready for ``phase``; calling it again changes nothing."""
        self.phase = phase
        self.phase_over = False
        self._service = None
        self._services = {}

    def start_optimizers_afresh(self) -> None:
        """Forget both optimizers' moments: every phase starts without any."""
        for optimizer in self._optimizers:
            optimizer.optimizer.state.clear()

    def prepare_batch(self, turn: Turn, hyper: Hyper) -> None:
        """Set modes, trainable parameters and rates for a batch that serves the network whose ``turn`` it is."""
        service = self._serve(turn)
        groups = service.optimizer.param_groups
        rates = hyper.lr if len(hyper.lr) == len(groups) else hyper.lr * len(groups)
        for group, lr in zip(groups, rates, strict=True):
            group["lr"] = lr
            group["betas"] = hyper.betas

    def _serve(self, turn: Turn) -> Service:
        """Set modes and trainable parameters, unless the last batch served the same network."""
        if self._service is not None and self._service.turn == turn:
            return self._service
        if turn not in self._services:
            self._services[turn] = self._look_up(turn)
        service = self._service = self._services[turn]
        # The other network is in eval mode: no dropout, running statistics, no power iteration.
        self.generator.train(turn == "generator")
        self.critic.train(turn == "critic")
        for parameter in service.resting:
            parameter.requires_grad_(False)
        for parameter in service.training:
            parameter.requires_grad_(True)
        return service

    def _look_up(self, turn: Turn) -> Service:
        assert self.phase is not None
        if turn == "critic":
            network, optimizer = self.critic.network, self.critic_optimizer
            named = dict(network.named_parameters())
        else:
            network, optimizer = self.generator.network, self.generator_optimizer
            named = trainable_parameters(network, self.phase.trained_part)
        # The vividness means something in the GAN phase alone; until then it changes nothing.
        knows = isinstance(self.phase, GANPhase)
        training = [parameter for name, parameter in named.items() if knows or not name.startswith(VIVIDNESS)]
        trained = set(map(id, training))
        both = (*self.generator.network.parameters(), *self.critic.network.parameters())
        resting = [parameter for parameter in both if id(parameter) not in trained]
        return Service(turn, network, optimizer, training, resting, Safeguard(network))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """End the epoch once the scheduler has called the phase over (Lightning's convention: -1)."""
        return -1 if self.phase_over else None

    def training_step(self, batch: Pair | Labeled, batch_idx: int) -> Metrics:
        """One batch for one network: the loss, and one optimizer step, unless loss or gradient is not finite.

        Returns:
            Detached metrics on the CPU, ``loss`` among them; the same on every rank.

        Raises:
            UserError: too little memory.
            TooManySkippedBatches: too many batches in a row were skipped.
        """
        assert self.phase is not None and self._service is not None
        service = self._service
        torch.manual_seed(derive_seed("step", self.seed, self.global_rank, self.phase.number, batch_idx))
        # Batches are global: a rank's mean counts by its share of the images, and all ranks see the same losses.
        weight = distributed.weight(len(batch[0]), self.phase.batch_size)
        service.safeguard.remember()
        service.optimizer.zero_grad()
        with naming_out_of_memory(*self._too_much(self.phase)):
            metrics = accumulate(
                batch,
                self.accumulate,
                service.network,
                self._loss,
                lambda loss: self.manual_backward(loss * weight),
            )
            metrics = distributed.mean_over_ranks(metrics, weight)
            went_well, metrics = service.safeguard.fetch(metrics, check_gradients=not self._scales_gradients)
            if not went_well:  # the optimizer's step that follows then changes nothing
                service.safeguard.undo(drop_gradients=not self._scales_gradients)
            elif self.gradient_clip is not None:
                self._clip(service.training, self.gradient_clip)
            self.skipped = not self._step(service.optimizer) or not went_well
        if went_well and self.overflows_in_a_row <= USUAL_OVERFLOWS:
            self.skipped_in_a_row.clear()
        else:
            self._count(SkippedBatch(batch_idx, float(metrics["loss"])), self.phase)
        return metrics

    def _clip(self, training: list[nn.Parameter], norm: float) -> None:
        """Scale the gradient down to ``norm``, multiplied by the factor of a gradient scaler where there is one."""
        scale = self._scaler.get_scale() if self._scales_gradients else 1.0
        nn.utils.clip_grad_norm_(training, norm * scale)

    def _step(self, optimizer: LightningOptimizer) -> bool:
        """Take the optimizer's step; False where a gradient scaler found the gradients too large, and skipped it."""
        if not self._scales_gradients:
            optimizer.step()
            return True
        before = self._scaler.get_scale()
        optimizer.step()
        taken = self._scaler.get_scale() >= before
        self.overflows_in_a_row = 0 if taken else self.overflows_in_a_row + 1
        return taken

    def _loss(self, batch: Pair | Labeled) -> tuple[Tensor, Metrics]:
        assert self._service is not None
        match self.phase, batch:
            case GeneratorPhase(), Pair():
                return self.generator.pretrain_loss(batch)
            case CriticPhase(), Labeled():
                return self.critic.pretrain_loss(batch)
            case GANPhase(), Pair() if self._service.turn == "critic":
                return self.critic_batch(batch)
            case GANPhase(), Pair():
                return self.generator_batch(batch)
            case _:
                raise TypeError(f"a batch of {type(batch).__name__} in a phase of {type(self.phase).__name__}")

    @property
    def _scales_gradients(self) -> bool:
        """Whether there is a gradient scaler, which expects infinite gradients now and then."""
        return self.trainer.precision == "16-mixed"

    @property
    def _scaler(self) -> torch.amp.GradScaler:
        precision = self.trainer.precision_plugin
        assert isinstance(precision, MixedPrecision) and isinstance(precision.scaler, torch.amp.GradScaler)
        return precision.scaler

    def _count(self, batch: SkippedBatch, phase: Phase) -> None:
        """Count a skipped batch, and give up after too many in a row."""
        self.skipped_batches += 1
        self.skipped_in_a_row.append(batch)
        if len(self.skipped_in_a_row) > self.max_bad_batches:
            raise TooManySkippedBatches(phase.title, self.skipped_in_a_row)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the count of skipped batches: it is logged, and decides when to give up."""
        checkpoint["bad_batches"] = {
            "count": self.skipped_batches,
            "in_a_row": [list(bad) for bad in self.skipped_in_a_row],
            "overflows_in_a_row": self.overflows_in_a_row,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Inverse of :meth:`on_save_checkpoint`."""
        saved = checkpoint["bad_batches"]
        self.skipped_batches, self.overflows_in_a_row = saved["count"], saved["overflows_in_a_row"]
        self.skipped_in_a_row = [SkippedBatch(*bad) for bad in saved["in_a_row"]]

    def _too_much(self, phase: Phase) -> tuple[str, str]:
        """What to say of a batch of ``phase`` that does not fit into memory, and what to do instead."""
        return (
            f"{phase.title}, at {phase.size} px with batches of {phase.batch_size} in {self.accumulate} part(s)",
            f"lower {phase.key}.batch_size, or split each batch further with trainer.accumulate={2 * self.accumulate}",
        )

    def critic_batch(self, batch: Pair) -> tuple[Tensor, Metrics]:
        """The critic's loss in the GAN phase: photographs against the generator's colors for the same photographs.

        A critic that is told the vividness is told the same of both, so that it says nothing of which is which.
        """
        vividness = batch.vividness
        if vividness is not None and self.critic_sees == "vivid":
            vividness = torch.full_like(vividness, VIVID)
        with torch.no_grad():
            fake = self.generator(batch.gray, vividness)
        # Not compiled: the second pass moves the vectors of spectral norm in place, which the compiled way back through
        # the first one still needs; the plain one has copies.
        with uncompiled():
            told = self._told(batch)
            loss = critic_loss(self.critic(batch.color, told), self.critic(fake, told))
        return loss, {"loss": loss.detach(), "critic_loss": loss.detach()}

    def generator_batch(self, batch: Pair) -> tuple[Tensor, Metrics]:
        """The generator's loss in the GAN phase: the critic's judgment and the feature loss.

        Where the generator is told a vividness, the critic's judgment of each picture counts by it, and the loss of
        consistency by what it lacks to 1.
        """
        fake, consistency, more = self.generator.colorize(batch)
        adversarial = generator_adversarial_loss(self.critic(fake, self._told(batch)), batch.vividness)
        feature, parts = self.generator.feature_loss(fake, batch.color)
        loss = self.adversarial_weight * adversarial + self.feature_weight * feature
        if more:
            loss = loss + consistency
        return loss, {
            "loss": loss.detach(),
            "adversarial_loss": adversarial.detach(),
            "feature_loss": feature.detach(),
            **parts,
            **more,
        }

    def _told(self, batch: Pair) -> Tensor | None:
        """The vividness that the critic is told of each picture, if it is told any."""
        return batch.vividness if self.critic_sees == "told" else None

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The plain networks by name."""
        return {"generator": self.generator.network, "critic": self.critic.network}
