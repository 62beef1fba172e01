"""The plan of a run: a flat, immutable tuple of phases, computed from the config before anything heavy is touched.

A phase is one Lightning epoch. Where a run stands is a pure function of (plan, current epoch, batch index), which is
what lets it be printed before it starts, cut anywhere and resumed. This package does not need torch.
"""

from nogan.plan.build import SplitSizes, build_plan, split_sizes
from nogan.plan.phases import (
    CriticPhase,
    GANPhase,
    GeneratorPhase,
    OneCyclePhase,
    Phase,
    PhaseKind,
    Plan,
    TrainedPart,
    Turn,
    as_rows,
    fakes_bytes,
    from_rows,
)

__all__ = [
    "CriticPhase",
    "GANPhase",
    "GeneratorPhase",
    "OneCyclePhase",
    "Phase",
    "PhaseKind",
    "Plan",
    "SplitSizes",
    "TrainedPart",
    "Turn",
    "as_rows",
    "build_plan",
    "fakes_bytes",
    "from_rows",
    "split_sizes",
]
