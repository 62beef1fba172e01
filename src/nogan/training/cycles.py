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

    Not after a cycle without a gain; but after one that was not measured (NaN), which may have had one. Earlier ones
    that were not measured do not count.
    """
    *before, last = gained
    if math.isnan(last):
        return True
    return last > 0 and last >= worth * sum(gain for gain in before if not math.isnan(gain))
