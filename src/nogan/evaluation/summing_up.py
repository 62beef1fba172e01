"""From what was measured of each picture to the results: means, distances of sets, comparisons, groups."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import torch

from nogan.common.version import __version__
from nogan.evaluation.colorizers import TRUTH, Request
from nogan.evaluation.deep import InceptionFrechet
from nogan.evaluation.measures import MEASURES, TABLE, Measure
from nogan.evaluation.measuring import Measuring
from nogan.evaluation.metrics import ChromaFrechet
from nogan.evaluation.per_image import OF_MEANS, OF_SHARES, needed_for
from nogan.evaluation.results import Comparison, Entry, Estimate, Group, GroupEstimate, Missing, Results
from nogan.evaluation.statistics import SIGNIFICANCE, bootstrap_means, interval, sign_test
from nogan.evaluation.truths import Truths

Columns = Mapping[str, np.ndarray]
"""Values of single images, ``(N,)``, by the key of the measure."""


def put_together(
    measured: Mapping[Request, Measuring],
    truths: Truths,
    protocol: tuple[str, dict[str, str]],
    groups: Mapping[Request, str | None],
    missing: Sequence[Missing],
) -> Results:
    """The results of what has been measured.

    Args:
        measured: every row of the table.
        truths: the photographs.
        protocol: its name, and its conditions in words.
        groups: of the runs that belong together.
        missing: measures that were not taken.
    """
    columns = {request: measuring.values() for request, measuring in measured.items()}
    sets = _distances(measured)
    skipped = {entry.measure for entry in missing}
    measures = [
        MEASURES[key]
        for key in TABLE
        if key not in skipped and (key in sets[TRUTH] or (needed_for([key]) or {key}) <= set(columns[TRUTH]))
    ]
    entries = [
        Entry(
            request.name,
            request.kind,
            request.source,
            measured[request].folder,
            groups.get(request),
            request.render_factor,
            aggregates={
                measure.key: value
                for measure in measures
                if (value := estimate(measure.key, found, columns[TRUTH], sets[request], len(truths))) is not None
            },
        )
        for request, found in columns.items()
    ]
    published = [
        Entry(p.name, "published", p.source, note=p.note, aggregates={k: Estimate(v) for k, v in p.values.items()})
        for p in truths.protocol.published
    ]
    compared = {request: found for request, found in columns.items() if request is not TRUTH}
    return Results(
        protocol=protocol[0],
        settings=protocol[1],
        data=truths.label,
        images=truths.names,
        measures=measures,
        entries=entries + published,
        values={
            request.name: {
                measure.key: [None if np.isnan(value) else float(value) for value in found[measure.key]]
                for measure in measures
                if measure.key in found
            }
            for request, found in columns.items()
        },
        comparisons=_comparisons(compared, measures),
        groups=_groups(entries, measures),
        missing=list(missing),
        nogan=__version__,
    )


# --- one colorizer ----------------------------------------------------------------------------------------------------


def _distances(measured: Mapping[Request, Measuring]) -> dict[Request, dict[str, float]]:
    """Chroma FD and FID of each row to the truth, chunk by chunk, so that memory does not grow with the images."""
    truth = _SetSums(measured[TRUTH])
    return {r: (truth if r is TRUTH else _SetSums(measuring)).distances(truth) for r, measuring in measured.items()}


class _SetSums:
    """Sums over the pictures of one row, that distances of sets are made of."""

    def __init__(self, measuring: Measuring) -> None:
        self.images, self.chroma_sum, self.chroma_outer = 0, 0.0, 0.0
        self.inception = InceptionFrechet()
        for part in measuring.read():
            self.images += len(part["chroma_sum"])
            self.chroma_sum = self.chroma_sum + part["chroma_sum"].sum(axis=0)
            self.chroma_outer = self.chroma_outer + part["chroma_outer"].sum(axis=0)
            if "inception" in part:
                self.inception.update(part["inception"])

    def distances(self, truth: "_SetSums") -> dict[str, float]:
        """By the key of the measure."""
        chroma = ChromaFrechet()
        for of, sums in (("output", self), ("target", truth)):
            chroma.sums[f"{of}_count"] += sums.images * ChromaFrechet.ROWS
            chroma.sums[f"{of}_sum"] += torch.as_tensor(sums.chroma_sum)
            chroma.sums[f"{of}_outer"] += torch.as_tensor(sums.chroma_outer)
        found = {"chroma_fd": chroma.compute()}
        if self.inception.count:
            found["fid"] = 0.0 if self is truth else self.inception.distance(truth.inception)
        return found


def estimate(key: str, found: Columns, truth: Columns, sets: Mapping[str, float], images: int) -> Estimate | None:
    """A measure's value over all images, and its interval if it is one of means; None where nothing was measured."""
    if key in sets:
        return Estimate(sets[key], images=images)
    if key in OF_MEANS:
        of = OF_MEANS[key]
        both = np.stack([found[of.key], truth[of.key]], axis=1)
        ends = interval(of.combine(*bootstrap_means(both).T))
        return Estimate(float(of.combine(*both.mean(axis=0))), *ends, len(both))
    if key in OF_SHARES:
        of_what, limit = OF_SHARES[key]
        column = (found[of_what] > limit).astype(float)
    else:
        column = found[key][~np.isnan(found[key])]
    if not len(column):
        return None
    return Estimate(float(column.mean()), *interval(bootstrap_means(column)), len(column))


# --- two colorizers, and several runs ---------------------------------------------------------------------------------


def _comparisons(columns: Mapping[Request, Columns], measures: Sequence[Measure]) -> list[Comparison]:
    return [
        _compare(measure, a.name, b.name, columns[a][measure.key], columns[b][measure.key])
        for measure in measures
        if measure.better is not None and measure.per_image
        for a, b in combinations(columns, 2)
        if not np.isnan(columns[a][measure.key] + columns[b][measure.key]).all()
    ]


def _compare(measure: Measure, a: str, b: str, first: np.ndarray, second: np.ndarray) -> Comparison:
    there = ~np.isnan(first + second)
    first, second = first[there], second[there]
    badness = np.vectorize(measure.badness, otypes=[float])
    test = sign_test(badness(first), badness(second))
    low, high = interval(bootstrap_means(second - first))
    if test.p < SIGNIFICANCE:
        better, worse = (a, b) if test.first > test.second else (b, a)
        verdict = f"{better} is better than {worse} on this, p = {test.p:.2g}"
    else:
        verdict = f"cannot be told apart on {len(first)} images, p = {test.p:.2g}"
    counts = (test.first, test.second, test.ties)
    return Comparison(measure.key, a, b, float((second - first).mean()), low, high, *counts, test.p, verdict)


def _groups(entries: Sequence[Entry], measures: Sequence[Measure]) -> list[Group]:
    names = list(dict.fromkeys(entry.group for entry in entries if entry.group is not None))
    return [_group(name, [entry for entry in entries if entry.group == name], measures) for name in names]


def _group(name: str, members: Sequence[Entry], measures: Sequence[Measure]) -> Group:
    aggregates = {}
    for measure in measures:
        estimates = (entry.aggregates.get(measure.key) for entry in members)
        values = [estimate.value for estimate in estimates if estimate is not None and estimate.value is not None]
        if values:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            aggregates[measure.key] = GroupEstimate(float(np.mean(values)), deviation, len(values))
    return Group(name, [entry.name for entry in members], aggregates)
