"""Scripts in processes of their own that begin with everything imported: most of a start is imports, seconds of them.

A server that has imported everything forks for each script. Where imports are the point, start Python itself.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parent.parent
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "nogan.commands.train",
        "nogan.report",
        "nogan.training.preview",
        "nogan.training.run",
        "nogan.training.build",
        "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper",
    ]
)


def start(script: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in ``folder`` with further environment ``variables``, as ``python SCRIPT ARGUMENT...`` would.

    Variables that a library reads as it is imported have no effect.
    """
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **variables}
    with tempfile.TemporaryDirectory() as said:
        streams = [Path(said) / name for name in ("stdout", "stderr")]
        process = SERVER.Process(target=_become, args=(script, folder, arguments, environment, streams))
        with mock.patch.dict(os.environ, environment):  # the server's, which the first call starts
            process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([str(script), *arguments], 300, *(path.read_bytes() for path in streams))
        out, err = (path.read_text() for path in streams)
        return subprocess.CompletedProcess([str(script), *arguments], process.exitcode, out, err)


def _become(
    script: Path, folder: Path, arguments: tuple[str, ...], environment: dict[str, str], streams: list[Path]
) -> None:
    for number, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.fsync = lambda number: None  # as in conftest.py
    sys.argv = [str(script), *arguments]
    here = Path(__file__).parent
    sys.path[:] = [str(script.parent), *(path for path in sys.path if not Path(path).is_relative_to(here))]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a forked process would leave out
