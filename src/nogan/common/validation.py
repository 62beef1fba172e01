"""Reports each wrong setting in one line: those of the config, and those of the parts built from it.

pydantic finds what is wrong; this module words it as on the command line: ``nogan.gan.lr=-1: expected greater than
0``.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from nogan.common.errors import shown

KeysAt = Callable[[Sequence[str]], list[str]]
"""The keys that are known below a path, e.g. ``("nogan", "gan")``; none for a path that leads nowhere."""

UNSAID_TYPES = ("float_type", "int_type", "literal_error")
"""Errors that say nothing useful about a list, because it was checked against an alternative that takes no list."""


class Line(ValueError):
    """A mistake whose message is the whole line, its key included; for validators to raise."""


def no_booleans(value: Any) -> Any:
    """Refuse a truth value, which pydantic would read as 0 or 1, where a number is expected.

    Raises:
        ValueError: it is one.
    """
    if isinstance(value, bool):
        raise ValueError("expected a number, not a truth value")
    return value


def one_line_a_key(errors: Iterable[ErrorDetails], keys_at: KeysAt, prefix: str = "") -> list[str]:
    """A line for each key that has an error.

    Args:
        errors: as pydantic lists them.
        keys_at: the known keys, for the hints.
        prefix: the key of the section that was validated.
    """
    # A value that fits no alternative of a union has an error for each. Usually the first is shown; for a list, that of
    # the alternative that takes lists, best of all an error in one of its entries.
    errors = list(errors)
    keys = [_key(error, prefix) for error in errors]
    lines: dict[str, str] = {}
    for key, error in zip(keys, errors, strict=True):
        if any(other.startswith(f"{key}.") for other in keys):
            continue
        line = _one_line(key, error, keys_at)
        if isinstance(error["input"], list) and error["type"] not in UNSAID_TYPES:
            lines[key] = line
        else:
            lines.setdefault(key, line)
    return list(lines.values())


def _key(error: ErrorDetails, prefix: str) -> str:
    path = [str(part) for part in error["loc"] if not _is_union_branch(str(part))]
    return ".".join([prefix, *path] if prefix else path)


def _is_union_branch(part: str) -> bool:
    # pydantic adds the tried alternative of a union to the location: "float", "tuple[...]", "literal[...]", …
    return part in {"int", "float", "str"} or "[" in part


def _one_line(key: str, error: ErrorDetails, keys_at: KeysAt) -> str:
    parent, _, name = key.rpartition(".")
    found = f"{key}={shown(error['input'])}"
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return unknown_key(key, keys_at)
        case "missing" if isinstance(error["loc"][-1], int):
            values = f"{name} value{'s' if name != '1' else ''}"
            return f"{parent}={shown(list(error['input']))}: expected more than {values}"
        case "missing":
            return f"{key} is missing: expected next to {', '.join(keys_at(parent.split('.')))}"
        case "value_error":
            said = context["error"]
            return f"{key}: {said}" if key and not isinstance(said, Line) else str(said)
        case "model_type" | "dict_type":
            keys = ", ".join(keys_at(key.split("."))) or "names, each with keys of its own"
            return f"{found}: expected {keys} below it"
        case "tuple_type":
            return f"{found}: expected a list"
        case "too_long":
            return f"{found}: expected at most {context['max_length']} values"
    expected = error["msg"].replace("Input should be", "expected").replace("a valid ", "a ")
    return f"{found}: {expected.replace('a integer', 'an integer').split(', unable')[0].split(', got')[0]}"


def unknown_key(key: str, keys_at: KeysAt, beside: Iterable[str] = ()) -> str:
    """The line for an unknown key: the nearest known one, and all that are allowed in its place.

    Args:
        key: the unknown one.
        keys_at: the known ones.
        beside: further known ones at the top level.
    """
    *parents, name = key.split(".")
    allowed = sorted({*keys_at(parents), *(() if parents else beside)})
    deeper = [f"{section}.{name}" for section in allowed if name in keys_at([*parents, section])]
    close = difflib.get_close_matches(name, allowed, n=1) or deeper[:1]
    close = [found for found in close if ".".join([*parents, found]) != key]  # known, but not here: +KEY=… of Hydra
    hint = f"did you mean {'.'.join([*parents, close[0]])}? " if close else ""
    where = ".".join(parents) or "the top level"
    return f"unknown key {key}: {hint}allowed in {where}: {', '.join(allowed)}"


def one_of(values: Iterable[str]) -> str:
    """``'a', 'b' or 'c'``."""
    *most, last = [f"'{value}'" for value in values]
    return f"{', '.join(most)} or {last}" if most else last
