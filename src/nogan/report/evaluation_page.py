"""The page of an evaluation: the table, a scatter of any two measures, the pictures behind it, in one file."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from nogan.common.errors import UserError
from nogan.common.image_files import open_image
from nogan.common.version import __version__
from nogan.evaluation.measures import Measure
from nogan.evaluation.results import Comparison, Entry, Estimate, Results, ResultsFolder, read_results
from nogan.report import compare_page
from nogan.report.html import FOR_PICTURES, write_page
from nogan.report.pictures import data_uri

SIZES = ((384, 80), (320, 78), (256, 76), (192, 74), (128, 70))  # (px, WebP quality), the largest that fits
LEADING = (
    "fid",
    "cf",
    "delta_cf",
    "psnr",
    "lpips",
    "ciede2000",
    "chroma_fd",
    "wrong_strong",
    "false_variation",
    "quality",
)
"""Measures of the first table, which fits a screen; the others have a table of their own."""
RANKS = 4  # best and worst pictures of each measure and colorizer that are shown, where there is room
TRIED = 6  # photographs from which the size of all is estimated
POINTS = 2000  # pictures of the scatter


def write_evaluation_page(folder: Path) -> Path:
    """Write ``evaluation.html`` from what else is in ``folder``.

    Returns:
        The page.

    Raises:
        UserError: there is no evaluation in ``folder``, or the page cannot be written.
    """
    results, files = read_results(folder), ResultsFolder(folder)
    measures = [m for m in results.measures if any(m.key in entry.aggregates for entry in results.entries)]
    leading = [measure for measure in measures if measure.key in LEADING] or measures
    shown = _Shown(results, files, measures)
    models = sum(entry.kind in ("model", "pictures") for entry in results.entries)
    try:
        return write_page(
            files.page,
            "evaluation.html",
            _data(results, measures, shown),
            title=f"{models} colorizer{'s' * (models != 1)} on {len(results.images):,} "
            f"photograph{'s' * (len(results.images) != 1)}",
            results=results,
            measures=measures,
            leading=leading,
            further=[measure for measure in measures if measure not in leading],
            about={measure.key: about(measure) for measure in measures},
            rows=[
                _row(number, entry, _color(results, entry), measures) for number, entry in enumerate(results.entries)
            ],
            groups=[_group(group.name, group.members, group.aggregates, measures) for group in results.groups],
            ranks=RANKS,
            pictures=bool(shown.pictures),
            left_out=shown.left_out,
            version=__version__,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    except OSError as error:
        raise UserError(f"{files.page}: {error.strerror or error}; expected a folder that can be written to") from error


def about(measure: Measure) -> str:
    """What a measure means and which values are better."""
    goal = f"{measure.goal[:1].upper()}{measure.goal[1:]}." if measure.goal else "Neither lower nor higher is better."
    text = measure.definition or f"{measure.meaning[:1].upper()}{measure.meaning[1:]}."
    return f"{text} {goal}"


def _color(results: Results, entry: Entry) -> str:
    """A CSS color: gray and the truth are neutral, so that the colorizers stand out."""
    if entry.kind in ("gray", "truth"):
        return "var(--soft)" if entry.kind == "gray" else "var(--ink)"
    return compare_page.color([e.name for e in results.entries if e.kind not in ("gray", "truth")].index(entry.name))


def _row(number: int, entry: Entry, color: str, measures: list[Measure]) -> dict[str, Any]:
    facts = [f"factor {entry.render_factor}"] if entry.render_factor is not None else []
    return {
        "number": number,
        "name": entry.name,
        "kind": entry.kind,
        "color": color,
        "facts": [*facts, *filter(None, [entry.source if entry.kind == "published" else "", entry.note])],
        "cells": {measure.key: _cell(measure, entry.aggregates.get(measure.key)) for measure in measures},
    }


def _cell(measure: Measure, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None or estimate.value is None:
        return {"text": "–", "interval": "", "badness": ""}
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{_bare(measure, estimate.low)} … {_bare(measure, estimate.high)}"
    return {
        "text": measure.show(estimate.value),
        "interval": interval,
        "badness": measure.badness(estimate.value),
    }


def _bare(measure: Measure, value: float) -> str:
    """``value`` without its unit."""
    return measure.show(value).removesuffix(f" {measure.unit}").removesuffix(" %")


def _group(name: str, members: list[str], aggregates: dict[str, Any], measures: list[Measure]) -> dict[str, Any]:
    cells = []
    for measure in measures:
        found = aggregates.get(measure.key)
        deviation = "" if found is None or found.deviation is None else f" ± {_bare(measure, found.deviation)}"
        cells.append("–" if found is None else f"{_bare(measure, found.mean)}{deviation}")
    return {"name": name, "members": ", ".join(members), "cells": cells}


# --- what the script reads --------------------------------------------------------------------------------------------


def _data(results: Results, measures: list[Measure], shown: "_Shown") -> dict[str, Any]:
    every = -(-len(results.images) // POINTS)  # so many that at most POINTS are left
    numbers = sorted({*range(0, len(results.images), max(1, every)), *shown.pictures})
    keys = [m.key for m in measures if any(m.key in values for values in results.values.values())]
    return {
        "measures": [_measure(measure) for measure in measures],
        "entries": [
            {
                "name": entry.name,
                "kind": entry.kind,
                "color": _color(results, entry),
                "aggregates": {
                    key: [estimate.value, estimate.low, estimate.high]
                    for key, estimate in entry.aggregates.items()
                    if estimate.value is not None
                },
                "values": {
                    key: [values[key][image] for image in numbers]
                    for values in (results.values.get(entry.name, {}),)
                    for key in keys
                    if key in values
                },
            }
            for entry in results.entries
        ],
        "images": [results.images[number] for number in numbers],
        "pictures": {str(numbers.index(image)): uris for image, uris in shown.pictures.items()},
        "depth": shown.depth,
        "comparisons": [_comparison(comparison) for comparison in results.comparisons],
    }


def _measure(measure: Measure) -> dict[str, Any]:
    return {
        "key": measure.key,
        "label": measure.label,
        "about": about(measure),
        "better": measure.better,
        "unit": measure.unit,
        "digits": measure.digits,
        "percent": measure.percent,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "measure": comparison.measure,
        "a": comparison.a,
        "b": comparison.b,
        "difference": [comparison.difference, comparison.low, comparison.high],
        "counts": [comparison.a_better, comparison.b_better, comparison.ties],
        "p": comparison.p,
        "verdict": comparison.verdict,
    }


# --- pictures ---------------------------------------------------------------------------------------------------------


class _Shown:
    """The pictures that are packed into the page.

    Attributes:
        pictures: for each photograph, by its number, a ``data:`` URI for each entry; None where it has no pictures.
        depth: how many of the best and of the worst pictures of each measure and colorizer are among them.
        left_out: photographs among the best or worst that did not fit.
    """

    def __init__(self, results: Results, files: ResultsFolder, measures: list[Measure]) -> None:
        self._results, self._files = results, files
        with_pictures = [entry for entry in results.measured if entry.folder is not None]
        numbers = range(len(results.images)) if with_pictures else ()
        kept = [number for number in numbers if all(self._file(entry, number) for entry in with_pictures)]
        wanted = _by_rank(results, measures, kept)
        px, quality, room = self._fitting(wanted)
        chosen = [number for _, number in wanted[:room]]
        self.left_out = len(wanted) - len(chosen)
        self.depth = wanted[room][0] or 1 if self.left_out else RANKS
        with ThreadPoolExecutor() as pool:  # Pillow releases the interpreter lock while it encodes
            packed = pool.map(lambda number: self._uris(number, px, quality), chosen)
            self.pictures = dict(zip(chosen, packed, strict=True))

    def _fitting(self, wanted: list[tuple[int, int]]) -> tuple[int, int, int]:
        """Size in px and quality at which the best two and the worst two fit, and how many photographs fit then."""
        tried = [number for _, number in wanted[:: max(1, len(wanted) // TRIED)]]
        needed = sum(rank < 2 for rank, _ in wanted)
        for px, quality in SIZES if tried else SIZES[:1]:
            each = sum(len(uri) for number in tried for uri in self._uris(number, px, quality) if uri)
            room = int(FOR_PICTURES * len(tried) / (1.05 * each)) if each else 0
            if room >= needed:
                break
        return px, quality, room

    def _uris(self, number: int, px: int, quality: int) -> list[str | None]:
        return [
            None if (file := self._file(entry, number)) is None else picture_uri(file, px, quality)
            for entry in self._results.entries
        ]

    def _file(self, entry: Entry, number: int) -> Path | None:
        file = self._files.picture(entry, self._results.images[number])
        return file if file is not None and file.is_file() else None


def picture_uri(file: Path, px: int, quality: int) -> str:
    """The picture in ``file`` as a ``data:`` URI, its longer side at most ``px``."""
    with open_image(file) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((px, px), Image.Resampling.LANCZOS)
    return data_uri(picture, px, quality)


def _by_rank(results: Results, measures: list[Measure], kept: list[int]) -> list[tuple[int, int]]:
    """Rank and number of each photograph that is among the best or worst by some measure, the extreme ones first."""
    orders = []
    for entry in results.measured:
        for measure in measures:
            values = results.values.get(entry.name, {}).get(measure.key)
            if entry.kind in ("gray", "truth") or measure.better is None or values is None:
                continue
            known = [(measure.badness(value), n) for n in kept if (value := values[n]) is not None]
            orders.append([number for _, number in sorted(known)])
    ranks: dict[int, int] = {}
    for rank in range(RANKS):
        for order in orders:
            for number in (order[-1 - rank], order[rank]) if rank < len(order) else ():
                ranks.setdefault(number, rank)
    return [(rank, number) for number, rank in ranks.items()]
