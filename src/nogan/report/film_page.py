"""The page of measured films: flicker, right colors shot by shot, and curves over time, in one file."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from nogan.colorize.film.flicker import CDC_STEPS
from nogan.common.version import __version__
from nogan.evaluation import measures
from nogan.evaluation.film import SHOWN_SHOTS, MeasuredFilm, Shot
from nogan.evaluation.measures import Measure
from nogan.report.evaluation_page import about
from nogan.report.html import thinned, write_page
from nogan.report.pictures import data_uri

_CDC = "Color distribution consistency: how far the color histograms of frames that many apart differ"
MEASURES = {
    measure.key: measure
    for measure in (
        *(Measure(f"cdc{step}", f"CDC({step})", f"{_CDC}, {step} apart.", "lower", digits=5) for step in CDC_STEPS),
        Measure(
            "warp_error",
            "warp error",
            "Squared difference to the frame before, carried along the motion, within shots.",
            "lower",
            digits=5,
        ),
        *(measures.MEASURES[key] for key in ("cf", "psnr", "ciede2000", "wrong_strong", "unexplained")),
    )
}
"""What the table, the shots and the curves show, in this order."""

POINTS = 1200  # of a curve
COLORS = ("var(--s0)", "var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)", "var(--s6)")
TRUTH_COLOR = "var(--ink)"


def write_film_page(films: Sequence[MeasuredFilm], path: Path, *, truth: bool) -> Path:
    """Write the page of ``films``; where ``truth``, the last of them is the truth. Returns ``path``."""
    heads, cells = rows(films)
    return write_page(
        path,
        "film.html",
        {
            "films": [_curves(film, _color(n, films, truth)) for n, film in enumerate(films)],
            "measures": _measures(films),
        },
        title=f"{films[0].name} measured" if len(films) < 3 else "Films measured",
        films=[_row(film, cells[n], _color(n, films, truth)) for n, film in enumerate(films)],
        heads=[(head.label, about(head)) for head in heads],
        shots=_shots(films),
        shots_left_out=max(0, max(len(film.shots) for film in films) - SHOWN_SHOTS),
        size="{} x {}".format(*films[0].size),
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def rows(films: Sequence[MeasuredFilm]) -> tuple[list[Measure], list[list[str]]]:
    """The measures that any of ``films`` has, and what the table of the whole films shows of each film."""
    values = [values_of(film.means, film.cdc, film.warp_error) for film in films]
    keys = [key for key in MEASURES if any(key in value for value in values)]
    return [MEASURES[key] for key in keys], [[MEASURES[key].show(value.get(key)) for key in keys] for value in values]


def values_of(means: dict[str, float], cdc: dict[str, float], warp_error: float | None) -> dict[str, float]:
    """The values of a film or a shot by the keys of :data:`MEASURES`."""
    found = {f"cdc{step}": value for step, value in cdc.items()} | means
    return found if warp_error is None else {**found, "warp_error": warp_error}


def _color(number: int, films: Sequence[MeasuredFilm], truth: bool) -> str:
    return TRUTH_COLOR if truth and number == len(films) - 1 else COLORS[number % len(COLORS)]


def _row(film: MeasuredFilm, cells: list[str], color: str) -> dict[str, Any]:
    return {
        "name": film.name,
        "color": color,
        "facts": f"{film.frames:,} frames, {film.frames / film.rate:.1f} s, "
        f"{len(film.shots)} shot{'s' * (len(film.shots) != 1)}",
        "remarks": film.remarks,
        "cells": cells,
    }


def _curves(film: MeasuredFilm, color: str) -> dict[str, Any]:
    starts = [shot.first / film.rate for shot in film.shots] + [film.frames / film.rate]
    series = {
        key: [_every(values[shot.first : shot.first + shot.frames], shot.first, film) for shot in film.shots]
        for key, values in film.series.items()
    }
    return {"name": film.name, "color": color, "shots": list(pairwise(starts)), "series": series}


def _every(values: list[float], first: int, film: MeasuredFilm) -> list[tuple[float, float]]:
    """The points of a curve within a shot: seconds and value."""
    most = max(20, POINTS * len(values) // film.frames)
    points = thinned(list(enumerate(values, start=first)), most)
    return [(round(frame / film.rate, 3), value) for frame, value in points]


def _measures(films: Sequence[MeasuredFilm]) -> list[dict[str, Any]]:
    present = {key for film in films for key in film.series}
    return [
        {"key": m.key, "label": m.label, "about": about(m), "percent": m.percent, "digits": m.digits}
        for m in MEASURES.values()
        if m.key in present
    ]


def _shots(films: Sequence[MeasuredFilm]) -> list[dict[str, Any]]:
    """For each shot of the first film: what it shows in every film, and its values in those with the same cuts."""
    first = films[0]
    same = [film for film in films if [s.first for s in film.shots] == [s.first for s in first.shots]]
    keys = [key for key in MEASURES if any(key in film.means or key == "warp_error" for film in same)]
    rows = []
    for number, shot in enumerate(first.shots[:SHOWN_SHOTS]):
        pictures = [
            {
                "name": film.name,
                "src": data_uri(Image.fromarray(film.thumbnails[number]), film.thumbnails[number].shape[1], 80),
                "values": [
                    (MEASURES[key].label, value) for key in keys if (value := _of(film.shots[number], key)) != "–"
                ],
            }
            for film in same
        ]
        seconds = f"{shot.first / first.rate:.1f} s to {(shot.first + shot.frames) / first.rate:.1f} s"
        rows.append(
            {
                "title": f"{shot.kind.capitalize()} {number + 1}",
                "note": f"{seconds}, {shot.frames} frames",
                "pictures": pictures,
            }
        )
    return rows


def _of(shot: Shot, key: str) -> str:
    return MEASURES[key].show(values_of(shot.means, shot.cdc, shot.warp_error).get(key))
