"""The adaptive critic/generator switch of the GAN phase.

Each batch serves one network, the critic first. A critic batch whose raw loss is below the threshold hands over to the
generator; a generator batch always hands back (jantic/DeOldify, ``AdaptiveGANSwitcher`` of fastai v1).

The original has no bound on consecutive critic batches, so that a critic that sits at the threshold (chance is ln 2 =
0.693) starves the generator forever; ``max_critic_steps`` bounds them.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from nogan.plan import Turn


@dataclass
class AdaptiveSwitch:
    """Whose turn it is, and the tallies of the GAN phase."""

    threshold: float
    max_critic_steps: int | None = None
    turn: Turn = "critic"
    critic_run: int = 0  # critic batches since the last generator batch
    critic_steps: int = 0
    generator_steps: int = 0
    forced: int = 0  # hand-overs by the cap instead of the loss

    def restart(self) -> None:
        """Begin a GAN phase: the critic's turn, and nothing counted."""
        for field in TALLIES:
            setattr(self, field.name, field.default)

    def after_critic(self, loss: float) -> None:
        """Count a critic batch with this raw ``loss`` (the mean over all devices) and decide who is next."""
        self.critic_run += 1
        self.critic_steps += 1
        capped = self.max_critic_steps is not None and self.critic_run >= self.max_critic_steps
        below = loss < self.threshold
        if below or capped:
            self.turn = "generator"
            self.forced += not below

    def after_generator(self) -> None:
        """Count a generator batch; the critic is next."""
        self.turn = "critic"
        self.critic_run = 0
        self.generator_steps += 1

    @property
    def burden(self) -> float:
        """Critic batches for each generator batch, so far in this phase."""
        return self.critic_steps / max(self.generator_steps, 1)

    def state_dict(self) -> dict[str, Any]:
        """Settings and tallies, as plain values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the tallies of :meth:`state_dict`; the settings stay those of the config."""
        for field in TALLIES:
            setattr(self, field.name, state[field.name])


TALLIES = [field for field in fields(AdaptiveSwitch) if field.name not in ("threshold", "max_critic_steps")]
