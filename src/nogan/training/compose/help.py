"""What ``nogan train --help`` says. Hydra's own help takes seconds, and prints the whole config."""

import re

from hydra.core.config_store import ConfigStore

from nogan.common.program import command, program
from nogan.common.recipes import recipes
from nogan.training.compose.recipes import groups

HELP = """usage: {program} [KEY=VALUE ...] [-m] [--cfg job]

Train a colorizer with NoGAN, or go on with an interrupted run.

examples:
  {command} experiment=quickstart                a small model on built-in pictures, in minutes
  {command} model=artistic data.path=IMAGENET    DeOldify's artistic model
  {command} model=artistic dry_run=true          what that would do, phase by phase
  {command} -m experiment=quickstart seed=0,1,2  a sweep: one run for each value
  {command} resume=RUN_DIR                       go on with an interrupted run; or resume=auto

chosen by name:
{groups}

Every key of the recipes, {recipes}/conf and {recipes}/experiments, can be set.

flags:
  -m, --multirun     a run for each combination of settings with commas
  --cfg job          print the whole config that results, and stop
  --config-dir DIR   choose from the folders of DIR, too, such as DIR/model/mine.yaml
  --hydra-help       the other flags of Hydra"""


def help_text() -> str:
    """Examples, everything that is chosen by name, and the flags that matter; :func:`register` has been called."""
    width = max(map(len, groups())) + 2
    lines = (f"  {group + '=':<{width}}{' | '.join(choices(group))}" for group in groups())
    return HELP.format(program=program("train"), command=command("train"), groups="\n".join(lines), recipes=recipes())


def choices(group: str) -> list[str]:
    """The names that ``group`` can be set to."""
    files = [path.name for path in (recipes() / "conf" / group).glob("*.yaml")]
    registered = ConfigStore.instance().repo.get(group, {})
    names = {name.removesuffix(".yaml") for name in (*files, *registered)}
    return sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )
