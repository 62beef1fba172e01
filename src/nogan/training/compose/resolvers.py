"""``${nogan.…}`` in the recipes.

Resolvers look at the config, the disk and the environment. They make no file and no folder and open no socket, so that
reading a config changes nothing; what has to be made is made when a run begins (:mod:`nogan.training.compose.folders`).
"""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from nogan.common.lock import is_held
from nogan.evaluation.measures import direction
from nogan.runs.run_folder import RunFolder
from nogan.training.launch import launched


def register() -> None:
    """Make the resolvers known to OmegaConf. Calling it again changes nothing."""
    for resolver in (run_dir, hydra_dir, direction):
        OmegaConf.register_new_resolver(f"nogan.{resolver.__name__}", resolver, replace=True)


def run_dir(resume: str | None, fresh: str, *, _root_: DictConfig) -> str:
    """The run folder: that of the run to go on with, or ``fresh``.

    Raises:
        UserError: ``resume`` is not a run folder.
    """
    if resume == "auto":
        from nogan.training.resume import newest_unfinished

        composed = {key: value for key, value in _root_.items_ex(resolve=False) if key != "hydra"}
        config = OmegaConf.to_container(OmegaConf.create(composed), resolve=True)
        assert isinstance(config, dict)
        return str(newest_unfinished(Path(fresh).parent, {str(key): value for key, value in config.items()}) or fresh)
    if resume:
        RunFolder(Path(resume)).check_is_run()
    return resume or fresh


def hydra_dir(resume: str | None, *, _root_: DictConfig) -> str | None:
    """Where in the run folder Hydra writes what it composed; None for processes that are not the first.

    The overrides of a resumption do not replace those that the run was started with; nor do those of a start that is
    about to be refused.
    """
    if (launch := launched()) and launch.rank > 0:
        return None
    folder = OmegaConf.select(_root_, "hydra.runtime.output_dir")
    occupied = folder is not None and (RunFolder(Path(folder)).occupants() or is_held(Path(folder)))
    return ".hydra/resumed" if resume else ".hydra/refused" if occupied else ".hydra"
