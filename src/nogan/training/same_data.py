"""Whether a resumed run finds the photographs that it began with."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from nogan.common.errors import UserError
from nogan.data.sources import Source, fingerprint
from nogan.plan.config import Data
from nogan.runs.run_folder import RunFolder

BY_NAME = "by name"
"""How photographs are divided; older versions did it by their number in the listing."""


@dataclass(frozen=True)
class DataRecord:
    """What a run keeps of its data: ``data.json``."""

    planned_for: int
    """Photographs that the plan was made for."""
    train: dict[str, Any]
    held_out: dict[str, Any] | None
    divided: str = BY_NAME

    def write(self, folder: RunFolder) -> None:
        """Keep it in the run folder."""
        folder.write_note(folder.data_file, asdict(self))


def record_of(data: Data, train: Source, held_out: Source | None) -> DataRecord:
    """What a run that begins keeps of its data. Built-in scenes follow from the config, and are only counted."""
    counted = {"photographs": len(train)}
    scenes = data.source is None and data.kind == "scenes"
    return DataRecord(
        planned_for=len(train),
        train=counted if scenes else fingerprint(train),
        held_out=fingerprint(held_out) if held_out is not None else None,
    )


def check_same_data(folder: RunFolder, data: Data, now: DataRecord) -> DataRecord:
    """Refuse photographs that are not those that the run in ``folder`` began with.

    Returns:
        ``now``, but planned for as many photographs as when the run began: the plan of a run that goes on stays.

    Raises:
        UserError: says what changed, unless ``data.changed=allow``.
    """
    scenes = data.source is None and data.kind == "scenes"
    try:
        before = DataRecord(**json.loads(folder.checksums.check(folder.data_file, folder.data_file.read_bytes())))
        assert before.planned_for > 0 and isinstance(before.train, dict)
    except FileNotFoundError:
        if scenes:
            return now
        before, changed = now, "it began with an older version, which held other photographs out (it has no data.json)"
    except (ValueError, TypeError, AssertionError, RecursionError):
        before, changed = now, "its data.json cannot be read, so it is not known which photographs it began with"
    else:
        if scenes:  # resume.check_changes() names the key
            return now
        changed = _change(data, before, now)
    if changed and data.changed != "allow":
        raise UserError(
            f"resume={folder}: {changed}: bring back what was there, start a new run, or go on with these by "
            "data.changed=allow (what was held out may then be trained on)"
        )
    return DataRecord(before.planned_for, now.train, now.held_out)


def _change(data: Data, before: DataRecord, now: DataRecord) -> str:
    """What of the data is not as it was; empty if all is."""
    path = f"data.path={data.path}" if data.source is None else "data.source"
    parts = ((path, before.train, now.train), (f"data.val_path={data.val_path}", before.held_out, now.held_out))
    for key, was, found in parts:
        if was is None or found is None:
            continue  # val_path was not set, or is not now: resume.check_changes() says so
        if was.get("photographs") != found["photographs"]:
            return f"{key} holds {found['photographs']} photographs, and held {was.get('photographs')} when it began"
        if len(was) > 1 and (
            aspects := [aspect for aspect in {**was, **found} if was.get(aspect) != found.get(aspect)]
        ):
            return f"the photographs at {key} are as many as when it began, but others ({aspects[0]} differ)"
    return ""
