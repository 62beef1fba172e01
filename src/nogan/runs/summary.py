"""The tables that a run prints: the plan before it starts, and each phase's result at the end."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Table

from nogan.common.terminal import plain
from nogan.plan import CriticPhase, GANPhase, GeneratorPhase, OneCyclePhase, Phase, Plan, fakes_bytes
from nogan.runs.records import PhaseRecord


def plan_table(plan: Plan) -> Table:
    """Every phase with its size, batch, share, images, steps, learning rate and what trains."""
    images = sum(phase.steps * phase.batch_size for phase in plan)
    fakes = max((phase.fakes for phase in plan if isinstance(phase, CriticPhase)), default=0)
    table = Table(
        title=f"Plan: {len(plan)} phases, {sum(p.steps for p in plan):,} batches, {images:,} images",
        caption="lr: encoder … decoder, after the warm-up; GAN: generator ⇄ critic\n"
        "decoder: and the encoder's normalization layers; by turns: decoder, critic\n"
        f"fakes of a cycle: {fakes:,} pictures, {fakes_bytes(plan) / 1e9:.2f} GB of disk",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in ("phase", "px", "batch", "share", "images", "steps"):
        table.add_column(column, justify="left" if column == "phase" else "right", no_wrap=True)
    for column in ("lr", "warm-up", "trains"):
        table.add_column(column, no_wrap=True)
    for number, phase in enumerate(plan, 1):
        table.add_row(
            plain(phase.name),
            str(phase.size),
            str(phase.batch_size),
            f"{phase.share:.3g}",
            f"{phase.images:,}" + (f" ×{phase.epochs}" if phase.epochs > 1 else ""),
            f"{phase.steps:,}",
            learning_rate(phase),
            warm_up(phase),
            trains(phase),
            end_section=number < len(plan) and plan[number].cycle != phase.cycle,
        )
    return table


def learning_rate(phase: Phase) -> str:
    """The maximum rate of the parameter groups: encoder … decoder, the critic's, or generator ⇄ critic."""
    if isinstance(phase, GANPhase):
        return f"{short(phase.generator_lr)} ⇄ {short(phase.critic_lr)}"
    lowest, highest = phase.lr[0], phase.lr[-1]
    return short(highest) if lowest == highest else f"{short(lowest)} … {short(highest)}"


def short(number: float) -> str:
    """A rate as people write it: ``1e-3``, ``3.2e-7``."""
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def warm_up(phase: Phase) -> str:
    """The share of the steps in which the rate rises; a dash where it does not."""
    if isinstance(phase, OneCyclePhase) and phase.pct_start * phase.steps >= 1:
        return f"{phase.pct_start:.0%}"
    return "–"


def trains(phase: Phase) -> str:
    """What trains in ``phase``, in words."""
    what = "by turns" if isinstance(phase, GANPhase) else phase.trained_part
    noisy = isinstance(phase, GeneratorPhase | GANPhase) and phase.noise
    return what + (", noisy input" if noisy else "")


def summary_table(plan: Plan, records: Iterable[PhaseRecord]) -> Table:
    """Each phase with its time, images/s, how it ended, and the held-out metrics after it (of a critic, accuracy)."""
    table = Table(
        title="What became of it", box=box.SIMPLE_HEAD, title_justify="left", show_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("phase")
    for column in ("time", "images/s", "steps"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("inflection", no_wrap=True)
    for column in ("critic", "color", "PSNR", "chroma FD"):
        table.add_column(column, justify="right", no_wrap=True)
    phases = {phase.name: phase for phase in plan}
    for record in records:
        phase = phases[record.name]
        rate = record.steps * phase.batch_size / max(record.seconds, 1e-9)
        table.add_row(
            plain(phase.name),
            clock(record.total_seconds),
            f"{rate:.0f}",
            f"{record.steps}/{phase.steps}" if record.steps != phase.steps else str(phase.steps),
            inflection(record),
            f"{record.critic['accuracy']:.0%}" if record.critic else "",
            *_metrics(record.metrics),
        )
    return table


def inflection(record: PhaseRecord) -> str:
    """Where a GAN phase had its inflection point, in words; empty for other phases."""
    if record.kind != "gan":
        return ""
    if record.verdict is None:
        return "none"
    point, back_to = record.verdict.inflection, record.rolled_back_to
    if not point:
        return "no gain (marked)" if back_to is None else "no gain → 0"
    return f"{point} (marked)" if back_to is None else f"{point} → {back_to}"


def _metrics(metrics: Mapping[str, float] | None) -> tuple[str, str, str]:
    if not metrics:
        return "", "", ""
    return (
        f"{metrics['colorfulness_ratio']:.0%}",
        f"{metrics['psnr']:.1f} dB",
        f"{metrics['chroma_fd']:.1f}",
    )


def clock(seconds: float | None) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
