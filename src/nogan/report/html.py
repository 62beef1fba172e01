"""Pages that hold everything they need: a template, its style and script, and the data as JSON."""

import json
import math
from pathlib import Path
from typing import Any

from nogan.common.files import write_atomically
from nogan.common.smoothing import DebiasedEMA

FOR_PICTURES = 8e6  # bytes of a page that its pictures may take


def write_page(path: Path, template: str, data: Any, **values: Any) -> Path:
    """Fill ``template`` (of ``page/``) and write it, atomically.

    Args:
        path: the file.
        template: its file name.
        data: what the script reads; numbers that are not finite become ``null``.
        **values: what the template reads; text is escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("nogan.report", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # In a script element only "<" could end it.
    text = json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = environment.get_template(template).render(data=Markup(text), **values)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def finite(value: Any) -> Any:
    """``value`` with ``None`` for every number that JSON does not know."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def smoothed(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """``points`` under the average that the log is smoothed by."""
    average = DebiasedEMA()
    return [(x, average.update(y)) for x, y in points]


def thinned(points: list[tuple[int, float]], most: int = 500) -> list[tuple[int, float]]:
    """At most about ``most`` of ``points``, the lowest and the highest of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return points
    length = math.ceil(len(points) / (most / 2))
    kept = [points[0]]
    for start in range(1, len(points) - 1, length):
        stretch = points[start : min(start + length, len(points) - 1)]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]
