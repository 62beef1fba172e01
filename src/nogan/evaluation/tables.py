"""The results as tables: Markdown and LaTeX for papers, and W&B's."""

from collections.abc import Iterable, Sequence

from nogan.evaluation.measures import Measure
from nogan.evaluation.results import Entry, Estimate, Group, Results

ARROWS = {"lower": "↓", "higher": "↑"}


def heading(measure: Measure) -> str:
    """A measure's name with an arrow that says which values are better: ``PSNR ↑``, ``colorfulness → 100 %``."""
    if measure.better is None:
        return measure.label
    arrow = ARROWS.get(str(measure.better)) or f"→ {measure.show(float(measure.better))}"
    return f"{measure.label} {arrow}"


def shown(measure: Measure, estimate: Estimate | None, *, interval: bool = True) -> str:
    """``21.40 dB [20.90, 21.95]``; without the interval where there is none, or where it is not asked for."""
    if estimate is None or estimate.value is None:
        return "–"
    value = measure.show(estimate.value)
    if not interval or estimate.low is None or estimate.high is None:
        return value
    low, high = (_bare(measure, end) for end in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _bare(measure: Measure, value: float) -> str:
    return f"{100 * value if measure.percent else value:.{measure.digits}f}".replace("-", "−")


def markdown(results: Results) -> str:
    """Everything that a reader of a paper needs: conditions, table, groups, comparisons, and what is missing."""
    parts = [
        f"# {len(results.images)} photographs, protocol {results.protocol}",
        "\n".join(f"- {key.replace('_', ' ')}: {said}" for key, said in results.settings.items()),
        _table(
            ["", *map(heading, results.measures)],
            (
                [_name(entry), *(shown(m, entry.aggregates.get(m.key)) for m in results.measures)]
                for entry in results.entries
            ),
        ),
        "In brackets: 95 % bootstrap intervals over the images. Distances of sets (FID, chroma FD) have none.",
        *_published(results.entries),
    ]
    if results.groups:
        parts += ["## Means ± deviations over runs", _groups(results)]
    if results.comparisons:
        labels = {measure.key: measure.label for measure in results.measures}
        rows = (
            [
                *(labels[c.measure], c.a, c.b, f"{c.difference:+.4g} [{c.low:+.4g}, {c.high:+.4g}]"),
                *(f"{c.a_better} : {c.b_better}", c.verdict),
            ]
            for c in results.comparisons
        )
        header = ["", "A", "B", "B − A, mean over the images", "images where A : B is better", "sign test"]
        parts += ["## Paired comparisons", _table(header, rows)]
    if results.missing:
        parts += ["## Not measured", "\n".join(f"- {m.measure}: {m.reason}" for m in results.missing)]
    return "\n\n".join(parts) + "\n"


def _name(entry: Entry) -> str:
    return f"{entry.name} (published)" if entry.kind == "published" else entry.name


def _published(entries: Iterable[Entry]) -> list[str]:
    lines = [f"- {e.name}: {e.source}{f'; {e.note}' if e.note else ''}" for e in entries if e.kind == "published"]
    return ["Published figures are those of others, as they stand in:\n\n" + "\n".join(lines)] if lines else []


def _groups(results: Results) -> str:
    def text(group: Group, measure: Measure) -> str:
        found = group.aggregates.get(measure.key)
        if found is None:
            return "–"
        spread = "" if found.deviation is None else f" ± {_bare(measure, found.deviation)}"
        return measure.show(found.mean) + spread

    rows = (
        [f"{group.name} ({len(group.members)} runs)", *(text(group, measure) for measure in results.measures)]
        for group in results.groups
    )
    return _table(["", *map(heading, results.measures)], rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def latex(results: Results) -> str:
    """A ``tabular`` for the package booktabs: a row for each colorizer, the best value of each measure bold."""
    measures = results.measures
    best = {measure.key: _best(results, measure) for measure in measures}

    def cell(entry: Entry, measure: Measure) -> str:
        text = _escaped(shown(measure, entry.aggregates.get(measure.key), interval=False))
        return rf"\textbf{{{text}}}" if entry.name == best[measure.key] else text

    lines = [
        rf"% {len(results.images)} photographs, protocol {results.protocol}",
        rf"\begin{{tabular}}{{l{'r' * len(measures)}}}",
        r"\toprule",
        _row(["", *(_escaped(heading(measure)) for measure in measures)]),
        r"\midrule",
        *(_row([_escaped(_name(e)), *(cell(e, measure) for measure in measures)]) for e in results.entries),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _best(results: Results, measure: Measure) -> str | None:
    """The colorizer that is best by ``measure``; of those that were measured here, without gray and truth."""
    values = {
        entry.name: estimate.value
        for entry in results.entries
        if entry.kind in ("model", "pictures") and (estimate := entry.aggregates.get(measure.key)) is not None
    }
    known = {name: measure.badness(value) for name, value in values.items() if value is not None}
    return min(known, key=lambda name: known[name]) if len(known) > 1 and measure.better is not None else None


def _row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


_LATEX: dict[str, str] = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\to$", "−": "$-$", "Δ": r"$\Delta$", "–": "--"},
}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def log_to_wandb(results: Results, project: str) -> None:
    """Log the table, and that of the images, as a run of W&B's ``project``."""
    import wandb

    config = {"protocol": results.protocol, "data": results.data, "images": len(results.images), **results.settings}
    with wandb.init(project=project, job_type="evaluate", config=config) as run:
        keys = [measure.key for measure in results.measures]
        rows = [
            [e.name, e.kind, *(found.value if (found := e.aggregates.get(key)) else None for key in keys)]
            for e in results.entries
        ]
        run.log({"evaluation": wandb.Table(columns=["colorizer", "kind", *keys], data=rows)})
        per_image = [measure.key for measure in results.measures if measure.per_image]
        lines = [
            [image, name, *(values[key][number] if key in values else None for key in per_image)]
            for name, values in results.values.items()
            for number, image in enumerate(results.images)
        ]
        run.log({"images": wandb.Table(columns=["image", "colorizer", *per_image], data=lines)})
