"""Writes pages: a template with its style, its script, and the data as JSON, in one file."""

import json
import math
from pathlib import Path
from typing import Any

from nogan.common.files import write_atomically
from nogan.common.smoothing import DebiasedEMA

FOR_PICTURES = 8e6  # bytes of a page that its pictures may take


def write_page(path: Path, template: str, data: Any, **values: Any) -> Path:
    """Fill a template and write the page, atomically.

    Args:
        path: the page.
        template: the name of a file in ``page/``.
        data: what the page's script reads; numbers that are not finite become ``null``.
        **values: what the template reads; text is escaped.

    Returns:
        ``path``.

    Raises:
        OSError: the page cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("nogan.report", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # A script element ends at "</script>", so "<" is escaped.
    text = json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = environment.get_template(template).render(data=Markup(text), **values)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def finite(value: Any) -> Any:
    """``value`` with None in place of NaN and infinities, which JSON does not have; floats keep six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def smoothed(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """``points`` smoothed by the moving average that ``metrics.csv`` uses."""
    average = DebiasedEMA()
    return [(x, average.update(y)) for x, y in points]


def thinned(points: list[tuple[int, float]], most: int = 500) -> list[tuple[int, float]]:
    """At most about ``most`` of ``points``: the lowest and the highest of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return points
    length = math.ceil(len(points) / (most / 2))
    kept = [points[0]]
    for start in range(1, len(points) - 1, length):
        stretch = points[start : min(start + length, len(points) - 1)]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]
