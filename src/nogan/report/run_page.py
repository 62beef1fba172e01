"""The report of a run: what it did, in one file."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from nogan.common.program import command, setting
from nogan.common.version import __version__
from nogan.evaluation.measures import MEASURES, Measure
from nogan.plan import Phase
from nogan.report.html import FOR_PICTURES, smoothed, thinned, write_page
from nogan.report.pictures import Packed, pack
from nogan.report.run_data import RunData, Snapshot, Span, repeat_command
from nogan.report.terms import TERMS, about, about_detector, subject
from nogan.runs.summary import clock, learning_rate, trains

GENERATOR_LOSSES = (  # metric, name, color, hidden at first
    ("generator/loss", "feature loss, alone", "var(--generator)", False),
    ("gan/generator_loss", "GAN: both losses", "var(--gan)", False),
    ("gan/feature_loss", "GAN: feature loss", "var(--s2)", True),
    ("gan/adversarial_loss", "GAN: adversarial loss", "var(--s1)", True),
)
CRITIC_LOSSES = (
    ("critic/loss", "alone", "var(--critic)", False),
    ("gan/critic_loss", "GAN: each batch", "var(--gan)", False),
    ("gan/critic_loss_smooth", "GAN: smoothed", "var(--gan)", False),
)
BURDEN = (("gan/critic_steps_per_generator_step", "critic batches per generator batch", "var(--gan)", False),)
SMOOTHED = ("generator/loss", "critic/loss", "gan/generator_loss", "gan/feature_loss", "gan/adversarial_loss")
NOISY = 150  # points of a curve beyond which it is drawn faint, with a smoothed one over it
ENDS = {"complete": "all batches", "budget": "all batches; no inflection found", "inflection": "inflection"}
MARK = "merit"  # in what detectors say: the measure that the page explains


def write_report(folder: Path) -> Path:
    """Write the report of the run in ``folder``, which need not have ended.

    Returns:
        The file.

    Raises:
        UserError: there is no run in ``folder``.
    """
    run = RunData(folder)
    packed = pack(_pictures(run), FOR_PICTURES)
    stages = _stages(run, packed)
    return write_page(
        run.files.report_file,
        "run.html",
        _data(run, packed, stages),
        title=f"{run.config['name']}: {folder.resolve().name}",
        run=_header(run),
        tiles=_tiles(run),
        stages=bool(stages),
        subject=subject(run.config["data"]),
        terms=TERMS,
        measures={key: about(measure) for key, measure in MEASURES.items()},
        verdicts=_verdicts(run),
        plan_note=_plan_note(run),
        shares=_shares(run),
        phases=_phase_rows(run),
        probe=run.config["probe"],
        measured_on=_measured_on(run),
        averages=run.config["nogan"]["inflection"].get("average"),
        versions=_versions(run),
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
    )


def _measured_on(run: RunData) -> str:
    """How many pictures snapshots are measured on: ``64 photographs``."""
    count = run.pictures_measured
    most = run.config["probe"]["images"]
    return f"{count or f'up to {most}'} {subject(run.config['data'], count or most)}"


# --- the header -------------------------------------------------------------------------------------------------------


def _header(run: RunData) -> dict[str, Any]:
    config, environment = run.config, run.environment
    facts = [f"{config['model']['name']} model", f"{config['data']['kind']}", f"seed {config['seed']}"]
    if started := environment.get("started"):
        facts.append(f"started {started.replace('T', ' ').replace('+00:00', ' UTC')}")
    if run.seconds:
        facts.append(f"{clock(run.seconds)} of training and measuring")
    if resumed := environment.get("resumed"):
        facts.append(f"resumed {len(resumed)} time{'s' if len(resumed) > 1 else ''}")
    if skipped := run.files.skipped():
        counts = f"{len(skipped['unreadable']):,} unreadable and {len(skipped['gray']):,} gray photographs"
        facts.append(f"{counts} skipped ({run.files.skipped_file.name})")
    return {
        "name": f"{config['name']} / {run.folder.resolve().name}",
        "status": run.status,
        "failure": run.failure,
        "facts": facts,
        "command": repeat_command(run.folder),
        "progress": run.progress if run.status == "unfinished" else "",
        "resume": f"{command('train')} {setting('resume', from_here(run.folder))}",
        "version": __version__,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def from_here(path: Path) -> str:
    """``path`` as one would type it: relative if it lies below the working directory, else absolute."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else relative


def _tiles(run: RunData) -> list[dict[str, str]]:
    """The figures at the head of the page."""
    tiles = []
    before, final = run.before_gan, run.final
    for key in ("colorfulness_ratio", "psnr", "chroma_fd"):
        measure = MEASURES[key]
        if key in final:
            note = f"before the GAN: {measure.show(before[key])}" if key in before else measure.meaning
            tiles.append(_tile(measure.label, measure.show(final[key]), note, about=about(measure)))
    gan = run.gan_spans
    if found := [span for span in gan if span.inflection is not None]:
        last = found[-1]
        detector = last.record.verdict.detector if last.record and last.record.verdict else ""
        value, note = f"batch {last.inflection:,}", f"found by {detector}"
        if not last.inflection:
            value, note = "no gain", f"{'kept the' if last.chosen == 0 else 'best is the'} generator before the phase"
        label = f"inflection, cycle {last.phase.cycle}"
        tiles.append(_tile(label, value, note, about=TERMS["inflection"], note_about=about_detector(detector)))
    elif gan and run.complete:
        note = "all GAN phases ran to their end"
        tiles.append(_tile("inflection", "none found", note, about=TERMS["inflection"]))
    if run.seconds:
        in_gan = sum(_seconds(span) for span in gan)
        note = f"{_percent(in_gan / run.seconds)} of it in GAN phases" if gan else "of training and measuring"
        tiles.append(_tile("time", clock(run.seconds), note))
    return tiles


def _tile(label: str, value: str, note: str, about: str = "", note_about: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "note": note, "about": about, "note_about": note_about}


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _versions(run: RunData) -> list[tuple[str, str]]:
    environment = run.environment
    packages = {name: version for name, version in environment.get("packages", {}).items() if version}
    facts = {
        "git commit": environment.get("git") or "outside a checkout",
        "python": environment.get("python"),
        "platform": environment.get("platform"),
        **packages,
    }
    return [(name, value) for name, value in facts.items() if value]


# --- the plan and its cost --------------------------------------------------------------------------------------------


def _plan_note(run: RunData) -> str:
    batches = sum(span.steps for span in run.spans)
    planned = sum(phase.steps for phase in run.plan)
    probing = sum(record.probe_seconds for record in run.records)
    note = f"{len(run.plan)} phase{'s' if len(run.plan) > 1 else ''}, {planned:,} batches planned, {batches:,} run."
    if run.seconds:
        note += (
            f" Measuring on held-out {subject(run.config['data'])} took {_percent(probing / run.seconds)} of the time."
        )
    return note


def _shares(run: RunData) -> list[dict[str, Any]]:
    return [
        {
            "kind": span.phase.kind,
            "title": span.phase.title,
            "seconds": round(_seconds(span), 3),
            "clock": clock(_seconds(span)),
        }
        for span in run.spans
        if span.record
    ]


def _seconds(span: Span) -> float:
    return span.record.total_seconds if span.record else 0.0


def _phase_rows(run: RunData) -> list[dict[str, Any]]:
    spans = {span.phase.name: span for span in run.spans}
    cycle, rows = 0, []
    for phase in run.plan:
        rows.append({**_planned(phase, opens_cycle=phase.cycle != cycle), **_spent(run, phase, spans.get(phase.name))})
        cycle = phase.cycle
    return rows


def _planned(phase: Phase, opens_cycle: bool) -> dict[str, Any]:
    return {
        "name": phase.name,
        "kind": phase.kind,
        "opens_cycle": opens_cycle,
        "size": phase.size,
        "batch": phase.batch_size,
        "images": f"{phase.images:,}" + (f" × {phase.epochs}" if phase.epochs > 1 else ""),
        "lr": learning_rate(phase),
        "trains": trains(phase),
    }


def _spent(run: RunData, phase: Phase, span: Span | None) -> dict[str, str]:
    record = span.record if span else None
    metrics = record.metrics if record else None
    spent = {
        key: MEASURES[key].show(metrics[key]) if metrics else "" for key in ("colorfulness_ratio", "psnr", "chroma_fd")
    }
    done = span.steps if span else 0
    critic = record.critic if record else None
    spent["critic"] = _percent(critic["accuracy"]) if critic else ""
    spent["steps"] = f"{done:,}" if done == phase.steps else f"{done:,} of {phase.steps:,}"
    spent |= dict.fromkeys(("time", "share", "rate", "end"), "")
    if span and record:
        spent["time"] = clock(_seconds(span))
        spent["share"] = _percent(_seconds(span) / run.seconds) if run.seconds else ""
        spent["rate"] = f"{done * phase.batch_size / max(record.seconds, 1e-9):,.0f}"
    if span:
        spent["end"] = _end(span)
    elif run.complete:
        spent["end"] = "not run: the last cycle gained too little"
    return spent


def _end(span: Span) -> str:
    end = span.record.end if span.record else None
    if end is None:
        return "…"
    if end == "inflection":
        return f"inflection at {span.inflection}, back to {span.chosen}" if span.inflection else "no gain, back to 0"
    if span.inflection is not None:
        return f"all batches; {f'inflection at {span.inflection}' if span.inflection else 'no gain'} marked"
    return ENDS.get(end, end)


def _verdicts(run: RunData) -> list[dict[str, str]]:
    """The detector's reason for each verdict, split at the measure that the page explains."""
    verdicts = []
    for span in run.gan_spans:
        if span.record and (verdict := span.record.verdict):
            before, measure, after = verdict.reason.partition(MARK)
            name = verdict.detector
            words = {
                "before": before,
                "measure": measure,
                "after": after,
                "detector": name,
                "about": about_detector(name),
            }
            verdicts.append({"phase": span.phase.name, **words})
    return verdicts


# --- what the script reads --------------------------------------------------------------------------------------------


def _data(run: RunData, packed: Packed, stages: list[dict[str, Any]]) -> dict[str, Any]:
    spans = run.spans
    present = {name for span in spans for snapshot in span.snapshots for name in snapshot.metrics}
    threshold = _of(run.config, "nogan", "gan", "critic_threshold")
    levels: dict[str, list[dict[str, Any]]] = {
        "colorfulness_ratio": [{"y": 1.0, "text": "truth"}],
        "a_shift": [{"y": 0.0}],
    }
    levels["b_shift"] = levels["a_shift"]
    if "orange_red_truth" in run.final:
        levels["orange_red"] = [{"y": run.final["orange_red_truth"], "text": "truth"}]
    return {
        "folder": shlex.quote(from_here(run.folder)),
        "phases": [_phase(span) for span in spans],
        "losses": {
            "generator-loss": {
                "label": "The generator's losses",
                "series": _series(spans, GENERATOR_LOSSES),
                "levels": [],
            },
            "critic-loss": {
                "label": "The critic's losses",
                "series": _series(spans, CRITIC_LOSSES, faint={"gan/critic_loss"}),
                "levels": [{"y": threshold, "text": "generator's turn below"}] if threshold else [],
            },
            "burden": {
                "label": "Critic batches for each generator batch",
                "series": _series(spans, BURDEN),
                "levels": [],
            },
        },
        "measures": [measure_for_script(m) for key, m in MEASURES.items() if key in present],
        "measured": _measured(spans),
        "levels": levels,
        "stages": stages,
        "subject": subject(run.config["data"], count=1),
        "gray": packed.gray,
        "truth": packed.truth,
    }


def _of(config: Mapping[str, Any], *keys: str) -> Any:
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _phase(span: Span) -> dict[str, Any]:
    return {
        "name": span.phase.name,
        "title": span.phase.title,
        "kind": span.phase.kind,
        "start": span.start,
        "steps": span.steps,
        "inflection": span.inflection,
    }


def _series(
    spans: list[Span], named: Iterable[tuple[str, str, str, bool]], faint: Iterable[str] = ()
) -> list[dict[str, Any]]:
    series = []
    for metric, name, color, hidden in named:
        lines = [
            _line(index, points, smooth=metric in SMOOTHED)
            for index, span in enumerate(spans)
            if (points := span.series(metric))
        ]
        if lines:
            series.append({"name": name, "color": color, "lines": lines, "hidden": hidden, "faint": metric in faint})
    return series


def _line(band: int, points: list[tuple[int, float]], smooth: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"band": band, "points": thinned(points)}
    if smooth and len(points) > NOISY:
        line["smooth"] = thinned(smoothed(points), 300)
    return line


def _measured(spans: list[Span]) -> list[dict[str, Any]]:
    """The held-out measures of each phase that was measured."""
    measured: list[dict[str, Any]] = []
    before: list[Snapshot] = []
    for index, span in enumerate(spans):
        snapshots = span.snapshots
        if snapshots and span.phase.kind == "generator" and before and before[-1].at == span.start:
            snapshots = [before[-1], *snapshots]  # pretraining is measured at ends of phases: one curve through them
        points = {key: [(s.at, s.metrics[key]) for s in snapshots if key in s.metrics] for key in MEASURES}
        if snapshots:
            measured.append({"phase": index, "points": {key: values for key, values in points.items() if values}})
        before = span.snapshots
    return measured


def measure_for_script(measure: Measure) -> dict[str, Any]:
    """``measure`` with its explanation, as the pages' scripts read it."""
    return {**asdict(measure), "goal": measure.goal, "about": about(measure)}


def _stages(run: RunData, packed: Packed) -> list[dict[str, Any]]:
    """The stages of the snapshot browser: pretraining, and each GAN phase."""
    indexed = list(enumerate(run.spans))
    pretraining = [(index, span) for index, span in indexed if span.phase.kind == "generator"]
    stages = [_pretraining(pretraining, packed)] if pretraining else []
    stages += [_gan_stage(run, index, span, packed) for index, span in indexed if span.phase.kind == "gan"]
    return [stage for stage in stages if stage["snapshots"]]


def _pretraining(spans: list[tuple[int, Span]], packed: Packed) -> dict[str, Any]:
    def note(span: Span, snapshot: Snapshot) -> str:
        return f"after {span.phase.name}" if snapshot.step else "before training" if not snapshot.at else ""

    start = spans[0][1].start
    points = [point for _, span in spans for point in span.series("generator/loss")]
    return {
        "title": "Pretraining",
        "number": None,
        "phases": [index for index, _ in spans],
        "start": start,
        "inflection": None,
        "chosen": None,
        "rolledBack": False,
        "threshold": None,
        "snapshots": [
            _shown(index, snapshot, packed, step=snapshot.at - start, note=note(span, snapshot))
            for index, span in spans
            for snapshot in span.snapshots
            if snapshot.picture in packed.outputs
        ],
        "curve": {
            "title": "Generator's loss",
            "axis": "batches of pretraining",
            "color": "var(--generator)",
            "raw": thinned(points),
            "smooth": thinned(smoothed(points)) if len(points) > NOISY else [],
        },
    }


def _gan_stage(run: RunData, index: int, span: Span, packed: Packed) -> dict[str, Any]:
    return {
        "title": f"Cycle {span.phase.cycle}",
        "number": span.phase.cycle,
        "phases": [index],
        "start": span.start,
        "inflection": span.inflection,
        "chosen": span.chosen,
        "rolledBack": span.record is not None and span.record.rolled_back_to is not None,
        "threshold": _of(run.config, "nogan", "gan", "critic_threshold"),
        "snapshots": [
            _shown(index, snapshot, packed, step=snapshot.step)
            for snapshot in span.snapshots
            if snapshot.picture in packed.outputs
        ],
        "curve": {
            "title": "Critic's loss",
            "axis": "batches of the GAN phase",
            "color": "var(--gan)",
            "raw": thinned(span.series("gan/critic_loss")),
            "smooth": thinned(span.series("gan/critic_loss_smooth")),
        },
    }


def _shown(phase: int, snapshot: Snapshot, packed: Packed, step: int, note: str = "") -> dict[str, Any]:
    return {
        "phase": phase,
        "step": step,
        "note": note,
        "kept": snapshot.kept,
        "metrics": {key: snapshot.metrics[key] for key in MEASURES if key in snapshot.metrics},
        "pictures": packed.outputs[snapshot.picture] if snapshot.picture else [],
    }


def _pictures(run: RunData) -> list[Path]:
    return [s.picture for span in run.spans for s in span.snapshots if s.picture is not None]
