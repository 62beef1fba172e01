"""What a run logged, without what differs from run to run: speed and memory."""

import csv
from pathlib import Path


def computed(folder: Path) -> list[dict[str, str]]:
    """The rows of ``metrics.csv`` in a run's ``folder``, without the columns ``system/…``."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("system/")} for row in csv.DictReader(file)]
