"""Finds runs in folders, the settings in which they differ, and a name for each."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nogan.common.errors import UserError
from nogan.evaluation.measures import measure_of
from nogan.report.run_data import RunData, overrides_of
from nogan.runs.run_folder import RunFolder, plain_yaml

# Settings that say how a run is watched, not what it computes.
ASIDE = ("sweep", "name", "objective", "resume", "dry_run", "logger", "trainer.log_every_n_steps")

NAMING = 3  # settings in a run's name, at most


@dataclass
class Entry:
    """One of the runs that are compared: a run, or a trial that failed before it began."""

    folder: Path
    run: RunData | None
    place: str = ""  # the shortest ending of its path that no other run has
    label: str = ""  # its settings, where they tell it from the runs beside it; else its place
    settings: dict[str, Any] = field(default_factory=dict)  # of those in which the runs differ

    @property
    def status(self) -> str:
        """``complete``, ``failed`` or ``unfinished``."""
        return self.run.status if self.run else "failed"

    @property
    def failure(self) -> str | None:
        """Why the run failed, in one line; None if it did not."""
        return self.run.failure if self.run else RunFolder(self.folder).failure

    @property
    def overrides(self) -> list[str]:
        """The overrides of the command line."""
        return overrides_of(self.folder)

    def value(self, name: str) -> float | None:
        """The final held-out metric ``val/NAME`` or ``NAME``; None without it."""
        return self.run.final.get(measure_of(name).key) if self.run else None


def collect(paths: Iterable[Path]) -> list[Entry]:
    """The runs in ``paths``, which are run folders or folders of them, such as a sweep's; in natural order.

    Raises:
        UserError: a path holds no run.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        found = list(_runs_in(path))
        if not found:
            raise UserError(
                f"{path}: expected a run folder, or a folder of them such as multirun/NAME/DATE; found no run"
            )
        folders.update(dict.fromkeys(found))
    entries = [Entry(folder, RunData(folder) if RunFolder(folder).has_begun else None) for folder in folders]
    places = _places([entry.folder for entry in entries])
    labels = _labels(entries, places)
    differing = differing_settings(entries)
    for entry, place, label in zip(entries, places, labels, strict=True):
        entry.place, entry.label = place, label
        entry.settings = {key: values.get(entry.folder) for key, values in differing.items()}
    return entries


def _runs_in(path: Path) -> Iterator[Path]:
    run = RunFolder(path)
    if run.has_begun or run.failure is not None:
        yield path
    elif path.is_dir():
        for child in sorted(
            (child for child in path.iterdir() if child.is_dir()), key=lambda child: natural(child.name)
        ):
            if not child.name.startswith("."):
                yield from _runs_in(child)


def natural(name: str) -> list[Any]:
    """A sort key by which ``2`` comes before ``10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.replace("-", "_").split("_")]


def _labels(entries: list[Entry], places: list[str]) -> list[str]:
    """Name runs that lie in one folder, such as a sweep's, by the settings in which their command lines differ.

    A run that is alone in its folder, or differs in more than ``NAMING`` settings, is named by its place.
    """
    named: dict[Path, str] = {}
    for parent in dict.fromkeys(entry.folder.parent for entry in entries):
        named |= _named_by_settings([entry for entry in entries if entry.folder.parent == parent])
    count = Counter(named.values())
    labels = []
    for entry, place in zip(entries, places, strict=True):
        name = named.get(entry.folder)
        labels.append(place if name is None else name if count[name] == 1 else f"{name} ({place})")
    return labels


def _named_by_settings(entries: list[Entry]) -> dict[Path, str]:
    said = {entry.folder: _said(entry.overrides) for entry in entries}
    keys = [key for key in dict.fromkeys(k for s in said.values() for k in s) if not key.startswith(ASIDE)]
    keys = [key for key in keys if len({str(s.get(key)) for s in said.values()}) > 1]
    if not 1 <= len(keys) <= NAMING:
        return {}
    names = {}
    for entry in entries:
        config = dict(flat(entry.run.config)) if entry.run else {}
        values = {key: said[entry.folder].get(key, config.get(key)) for key in keys}
        parts = [f"{short_key(key)}={show(value)}" for key, value in values.items() if value is not None]
        if parts:
            names[entry.folder] = ", ".join(parts)
    return names


def short_key(key: str) -> str:
    """A config key as pages show it: without ``nogan.``, the section that most keys are in."""
    return key.removeprefix("nogan.")


def show(value: Any) -> str:
    """A setting as pages show it: ``1e-4``, ``0.03``, the end of a long path."""
    if value is None:
        return "–"
    text = number(value) if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else f"…{text[-23:]}"  # of a path, the end tells more


def number(value: float) -> str:
    """``value`` with up to four digits; small numbers as ``1e-4`` or ``2.5e-5``."""
    if not 0 < abs(value) < 1e-3:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _places(folders: list[Path]) -> list[str]:
    """For each folder the end of its path, as long as is needed to tell all folders apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-length:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [str(folder) for folder in folders]


def differing_settings(entries: list[Entry]) -> dict[str, dict[Path, Any]]:
    """The settings in which the runs differ, each with its values by run folder; those of command lines come first."""
    said = {e.folder: _said(e.overrides) for e in entries}
    # A trial that failed before it began has no config: only its command line is known.
    configs = {e.folder: dict(flat(e.run.config)) if e.run else said[e.folder] for e in entries}
    whole = [configs[e.folder] for e in entries if e.run] or list(configs.values())

    def differs(key: str) -> bool:
        everywhere = all(key in config for config in whole)
        return not everywhere or len({str(config[key]) for config in configs.values() if key in config}) > 1

    keys = [key for key in dict.fromkeys(k for config in whole for k in config) if not key.startswith(ASIDE)]
    named = {key for settings in said.values() for key in settings}
    differing = sorted(filter(differs, keys), key=lambda key: key not in named)
    return {key: {folder: config[key] for folder, config in configs.items() if key in config} for key in differing}


def _said(overrides: Iterable[str]) -> dict[str, Any]:
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: _value(text) for key, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return float(text) if "." in text or "e" in text.lower() else int(text)
    except ValueError:
        pass
    try:
        return plain_yaml(text.encode()) if text else None
    except (ValueError, RecursionError, yaml.YAMLError):  # Hydra's grammar is another
        return text


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a nested config, by its dotted key."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def best(entries: Iterable[Entry], objective: str) -> Entry | None:
    """The finished run with the best ``objective``; None if none has a finite one."""
    measure = measure_of(objective)
    found = [e for e in entries if e.status == "complete" and math.isfinite(_number(e.value(objective)))]
    return min(found, key=lambda e: measure.badness(_number(e.value(objective))), default=None)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
