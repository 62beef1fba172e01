"""Measures colorizers on photographs, from their files to the results, in one call."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Protocol as Interface

import numpy as np

from nogan.colorize.square import RenderFactor, network_size
from nogan.common.errors import UserError
from nogan.common.version import __version__
from nogan.data.images import is_gray
from nogan.data.sources.base import FileSource
from nogan.data.sources.opening import open_source
from nogan.evaluation.colorizers import GRAY, TRUTH, Model, Request, painter_of, requests_of
from nogan.evaluation.measures import MEASURES, Measure
from nogan.evaluation.measuring import Cells, Measuring
from nogan.evaluation.per_image import PER_IMAGE
from nogan.evaluation.protocols import Protocol, load_protocol
from nogan.evaluation.results import (
    Comparison,
    Entry,
    Estimate,
    Results,
    ResultsFolder,
    write_results,
)
from nogan.evaluation.statistics import SIGNIFICANCE, bootstrap_means, interval, sign_test
from nogan.evaluation.truths import Truths

OF_A_SET = ("colorfulness_ratio",)
"""Measures of whole sets, by their keys in the order of the tables."""

LOOKED_AT = 16
"""Photographs that are looked at for whether they have colors at all."""


class Reporter(Interface):
    """Receives progress."""

    def task(self, name: str, total: int, done: int) -> AbstractContextManager[Callable[[int], None]]:
        """Called as the work on a colorizer begins: with its name, how many images, and how many of them are done.

        What the context gives is called with the number of further images.
        """
        ...


class Silent:
    """Shows nothing."""

    def task(self, name: str, total: int, done: int) -> AbstractContextManager[Callable[[int], None]]:
        """See :class:`Reporter`."""
        return nullcontext(lambda more: None)


@dataclass(frozen=True)
class Options:
    """How colorizers are measured.

    Attributes:
        protocol: its name.
        images: how many photographs, from the first; None for as many as the protocol says.
        render_factors: of models; empty for the protocol's.
        batch_size: photographs in one pass; None for what suits the device.
        device: as in :meth:`nogan.Colorizer.load`.
        keep: of how many photographs the pictures are kept, from the first.
    """

    protocol: str = "full"
    images: int | None = None
    render_factors: Sequence[RenderFactor] = ()
    batch_size: int | None = None
    device: str | None = None
    keep: int = 500


def evaluate(
    colorizers: Sequence[str], data: str, output: Path, options: Options | None = None, reporter: Reporter | None = None
) -> Results:
    """Measure ``colorizers`` on the photographs of ``data``; called again, it does only what is missing.

    Args:
        colorizers: see :func:`nogan.evaluation.colorizers.requests_of`.
        data: a folder of photographs, the ILSVRC validation set, or a prepared copy.
        output: the folder of the results.
        options: see :class:`Options`.
        reporter: receives progress.

    Returns:
        What was also written to ``output``.

    Raises:
        UserError: in one line, for whatever is wrong with the photographs, the colorizers or the protocol.
    """
    options, reporter = options or Options(), reporter or Silent()
    changes = {} if options.images is None else {"images": options.images}
    protocol = load_protocol(options.protocol, **changes)
    factors = options.render_factors or (protocol.render_factor,)
    for factor in factors:
        if factor != "auto":
            network_size(factor)
    truths = Truths(_open(data), protocol, data)
    _check_colors(truths)
    requests = [GRAY, *requests_of(colorizers, factors), TRUTH]
    for request in requests:
        if request.kind == "pictures":  # whose mistakes are better said before anything is measured
            painter_of(request, truths, None).paint([truths.load(0)])
    folder = _folder(output)
    measured = {}
    for request in requests:
        measuring = Measuring(request, truths, folder, options.keep)
        left = [chunk for chunk in measuring.chunks if not measuring.file(chunk).is_file()]
        if left:
            painter = painter_of(request, truths, options.device)
            batch_size = options.batch_size or (painter.batch_size if isinstance(painter, Model) else 1)
            done = len(truths) - sum(len(measuring._numbers(chunk)) for chunk in left)
            with reporter.task(request.name, len(truths), done) as advance:
                measuring.measure(painter, left, batch_size, advance)
            del painter
        measured[request] = measuring
    results = _put_together(measured, truths, options.protocol)
    write_results(results, folder)
    return results


def _open(data: str) -> FileSource:
    source = open_source("folder", data, setting="--data")
    return source  # type: ignore[return-value]  # folders and prepared copies are sources of files


def _folder(path: Path) -> ResultsFolder:
    folder = ResultsFolder(path)
    if path.is_file():
        raise UserError(f"-o {path} is a file; expected a folder for the results")
    ours = folder.measured.is_dir() or folder.results.is_file()
    if path.is_dir() and any(path.iterdir()) and not ours:
        raise UserError(f"-o {path} holds other files: expected a new folder, or that of an earlier evaluation")
    try:
        folder.measured.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"-o {path}: the folder cannot be made: {error.strerror}") from error
    return folder


def _check_colors(truths: Truths) -> None:
    step = max(1, len(truths) // LOOKED_AT)
    if all(is_gray(truths.load(number).pixels) for number in range(0, len(truths), step)):
        raise UserError(f"--data {truths.label}: the photographs are gray; expected some with color, as the truth")


def _put_together(measured: dict[Request, Measuring], truths: Truths, protocol: str) -> Results:
    cells = {request: measuring.cells() for request, measuring in measured.items()}
    measures = [MEASURES[key] for key in MEASURES if key in PER_IMAGE or key in OF_A_SET]
    entries = [
        Entry(
            request.name,
            request.kind,
            request.source,
            measured[request].slug,
            render_factor=request.render_factor,
            aggregates=_aggregates(found, cells[TRUTH], measures),
        )
        for request, found in cells.items()
    ]
    published = [
        Entry(p.name, "published", p.source, note=p.note, aggregates={k: Estimate(v) for k, v in p.values.items()})
        for p in truths.protocol.published
    ]
    return Results(
        protocol=protocol,
        settings=_settings(truths.protocol, truths),
        data=truths.label,
        images=truths.names,
        measures=measures,
        entries=entries + published,
        values={
            request.name: {key: [None if np.isnan(v) else float(v) for v in column] for key, column in c.values.items()}
            for request, c in cells.items()
        },
        comparisons=_comparisons({r: c for r, c in cells.items() if r not in (GRAY, TRUTH)}, measures),
        nogan=__version__,
    )


def _settings(protocol: Protocol, truths: Truths) -> dict[str, str]:
    said = protocol.said_in_full()
    return {**said, "images": f"{len(truths)}: {said['images']}"}


def _aggregates(cells: Cells, truth: Cells, measures: Sequence[Measure]) -> dict[str, Estimate]:
    found = {}
    for measure in measures:
        if measure.key == "colorfulness_ratio":
            both = np.stack([cells.values["colorfulness"], truth.values["colorfulness"]], axis=1)
            samples = bootstrap_means(both)
            value = both[:, 0].mean() / both[:, 1].mean()
            found[measure.key] = Estimate(float(value), *interval(samples[:, 0] / samples[:, 1]), len(both))
        else:
            column = cells.values[measure.key]
            column = column[~np.isnan(column)]
            if len(column):
                ends = interval(bootstrap_means(column)[..., None].reshape(-1))
                found[measure.key] = Estimate(float(column.mean()), *ends, len(column))
    return found


def _comparisons(cells: dict[Request, Cells], measures: Sequence[Measure]) -> list[Comparison]:
    found = []
    for measure in measures:
        if measure.better is None or not measure.per_image:
            continue
        for a, b in combinations(cells, 2):
            pair = cells[a].values[measure.key], cells[b].values[measure.key]
            found.append(_compare(measure, a.name, b.name, *pair))
    return found


def _compare(measure: Measure, a: str, b: str, first: np.ndarray, second: np.ndarray) -> Comparison:
    there = ~(np.isnan(first) | np.isnan(second))
    first, second = first[there], second[there]
    badness = np.vectorize(measure.badness, otypes=[float])
    test = sign_test(badness(first), badness(second))
    difference = second - first
    low, high = interval(bootstrap_means(difference))
    if test.p < SIGNIFICANCE:
        better, worse = (a, b) if test.first > test.second else (b, a)
        verdict = f"{better} is better than {worse} on this, p = {test.p:.2g}"
    else:
        verdict = f"cannot be told apart on {len(first)} images, p = {test.p:.2g}"
    return Comparison(
        measure.key, a, b, float(difference.mean()), low, high, test.first, test.second, test.ties, test.p, verdict
    )
