"""From the command line to a checked config: the only place that knows Hydra.

Hydra composes the recipes, ``conf/`` and the files of ``experiments/``; what comes out is checked by
:mod:`nogan.plan.config` and handed on as a plain :class:`~nogan.plan.config.RunConfig`.

========== =====================================================================================
recipes    where the recipes are, and how Hydra comes to know them
resolvers  ``${nogan.…}`` in the recipes: pure functions of the config, the disk and the environment
reading    the composed config of a job to a ``RunConfig``
folders    the Hydra callback that prepares run and sweep folders when a run begins
job        what is done around one job: a mistake of the user, or a failed trial of a sweep
program    the whole of a command line
messages   what Hydra finds wrong, in one line
help       what ``--help`` says
========== =====================================================================================
"""

from nogan.training.compose.folders import Folders
from nogan.training.compose.job import job
from nogan.training.compose.messages import one_line
from nogan.training.compose.program import output_folder, run_program
from nogan.training.compose.reading import chosen_groups, chosen_keys, read_config, run_config
from nogan.training.compose.recipes import register

__all__ = [
    "Folders",
    "chosen_groups",
    "chosen_keys",
    "job",
    "one_line",
    "output_folder",
    "read_config",
    "register",
    "run_config",
    "run_program",
]
