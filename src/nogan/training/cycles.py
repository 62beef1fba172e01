"""Whether a further cycle of critic and GAN is worth its work, by what the cycles so far have gained."""

import math
from collections.abc import Sequence

from nogan.inflection.merit import merit
from nogan.runs.records import PhaseRecord
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore


def gains(folder: RunFolder, records: Sequence[PhaseRecord]) -> list[float]:
    """What each GAN phase gained in held-out merit, over the generator before it; NaN where it was not measured."""
    found = []
    for record in records:
        if record.kind == "gan" and record.chosen is not None:
            store = SnapshotStore(folder.snapshots(record.name))
            found.append(merit(store.metrics(record.chosen)) - merit(store.metrics(0)))
    return found


def pays(gained: Sequence[float], worth: float) -> bool:
    """Whether another cycle is worth it: the last one gained at least ``worth`` of what all before it gained.

    So is a cycle that was not measured, and not one without a gain.
    """
    *before, last = gained
    if not all(map(math.isfinite, gained)):
        return True
    return last > 0 and last >= worth * sum(before)
