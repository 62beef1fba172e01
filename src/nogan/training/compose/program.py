"""The whole of a command line: Hydra composes its config, runs its job or jobs, and a sweep is summed up."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Hydra's public entry, hydra.main, reads sys.argv, which here begins with the name of the command.
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.version import setbase
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from nogan.common.errors import UserError
from nogan.common.program import Parser, program
from nogan.common.recipes import recipes
from nogan.training.compose.folders import Folders
from nogan.training.compose.help import help_text
from nogan.training.compose.job import Task
from nogan.training.compose.messages import Refusal, one_line
from nogan.training.compose.reading import check_choices, check_dashes, check_pairs, with_quoted_paths
from nogan.training.compose.recipes import register

NO_TRIALS = "No trials are completed yet."  # Optuna's words
GRID_IS_DONE = "`Study.stop` is supposed"  # … from its grid sampler after the last trial, for which Hydra is not made


def run_program(task: Task, arguments: Sequence[str], conclude: Callable[[Path, Console], bool]) -> int:
    """Run ``task``, decorated by :func:`~nogan.training.compose.job.job`, for each job that ``arguments`` ask for.

    Args:
        task: called with the composed config.
        arguments: the command line: overrides, and Hydra's flags such as ``-m``.
        conclude: sums up the sweep in a folder; says whether a trial was completed.

    Returns:
        The exit code: 1 after a sweep without a completed trial.

    Raises:
        UserError: anything that the user can mend, whoever noticed it.
    """
    _set_environment()
    register()
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return 0
    try:
        with _users_mistakes():
            check_dashes(arguments)
            arguments = with_quoted_paths(arguments)
            check_choices(arguments)
            _compose_and_run(task, arguments)
    finally:
        succeeded = Folders.conclude_sweep(conclude)
    return 0 if succeeded else 1


def output_folder() -> Path:
    """The folder of the job that runs."""
    return Path(HydraConfig.get().runtime.output_dir)


def _set_environment() -> None:
    # An OpenMP thread that spins while it waits takes a core that another program needs: beside other load, training
    # on few cores is then several times slower. With this limit a thread spins for a moment and then sleeps. The limit
    # is read when torch is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors in many lines and exits by itself


def _compose_and_run(task: Task, arguments: Sequence[str]) -> None:
    setbase("1.3")
    # Hydra's own would take --experiment for the beginning of --experimental-rerun, and complain in 20 lines.
    parser = Parser(program("train"), parents=[get_args_parser()], add_help=False, allow_abbrev=False)
    parsed = parser.parse_args(arguments)
    check_pairs(parsed.overrides)
    _run_hydra(
        args=parsed,
        args_parser=parser,
        task_function=task,
        config_path=str(recipes() / "conf"),
        config_name="config",
    )


@contextmanager
def _users_mistakes() -> Iterator[None]:
    """Raise a ``UserError`` for a mistake that Hydra, its sweeper or this program noticed."""
    try:
        yield
    except Refusal as refusal:
        raise refusal.error from refusal.__cause__
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        # Not a job's, which explains its own, but Hydra's when it made the folder for the job.
        raise UserError(
            f"{error.filename}: {error.strerror}; expected hydra.run.dir (of a sweep, hydra.sweep.dir) to be a "
            "folder that can be made and written to"
        ) from error
    except ValueError as error:
        # Not a trial's, which is written down in its folder, but the sweeper's. If it only says that no trial was
        # completed, the sweep's table gives the reasons.
        if Folders.sweep is None:
            raise
        if str(error) != NO_TRIALS:
            raise UserError(f"hydra.sweeper: {error}") from error
    except RuntimeError as error:
        if Folders.sweep is None or GRID_IS_DONE not in str(error):
            raise
