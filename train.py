"""Train a colorizer with NoGAN: what `nogan train` does, from a checkout.

    python train.py experiment=quickstart             # a small one on built-in data, in minutes
    python train.py model=artistic nogan.repeats=5    # the artistic model on ImageNet
    python train.py model=artistic dry_run=true       # what that would do, phase by phase
    python train.py resume=outputs/…                  # go on with an interrupted run

Every key is in conf/; `python train.py --help` lists the groups.
"""

import sys

from nogan.commands import run

if __name__ == "__main__":
    sys.exit(run("train", sys.argv[1:]))
