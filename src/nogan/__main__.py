"""`python -m nogan COMMAND`: what the console script ``nogan`` does, for torchrun and the like."""

import sys

from nogan.cli import main

if __name__ == "__main__":
    sys.exit(main())
