"""The augmentation of the recipe, as the config has it."""

import yaml

from nogan.data.augment import NONE, AugmentConfig
from tests.conftest import ROOT

RECIPE = yaml.safe_load((ROOT / "conf" / "nogan" / "artistic.yaml").read_text())["nogan"]["augment"]
GENERATOR, CRITIC = (AugmentConfig(**RECIPE[network]) for network in ("generator", "critic"))
STYLES = {"none": NONE, "generator": GENERATOR, "critic": CRITIC}
