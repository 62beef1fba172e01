"""Color photographs and films: what `nogan colorize` does, from a checkout.

python colorize.py old.jpg -o new.jpg --checkpoint outputs/NAME/DATE
python colorize.py --help
"""

import sys

from nogan.commands import run

if __name__ == "__main__":
    sys.exit(run("colorize", sys.argv[1:]))
