"""Color photographs and films: what `nogan colorize` does, from a checkout.

python colorize.py old.jpg -o new.jpg --checkpoint outputs/NAME/DATE
python colorize.py --help
"""

import sys

from nogan.cli import main

if __name__ == "__main__":
    sys.exit(main(["colorize", *sys.argv[1:]]))
