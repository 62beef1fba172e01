"""One file alone touches Lightning's loops and progress counters, which are not its public interface."""

import re
from pathlib import Path

import nogan

INTERNALS = re.compile(r"fit_loop|epoch_loop|batch_progress|epoch_progress|\.restarting")


def test_lightnings_loops_are_touched_in_one_file():
    sources = Path(nogan.__file__).parent
    found = {
        path.relative_to(sources).as_posix() for path in sources.rglob("*.py") if INTERNALS.search(path.read_text())
    }
    assert found == {"training/position.py"}
