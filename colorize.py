"""Color photographs and film: ``python colorize.py INPUT... -o OUT --checkpoint RUN_DIR``."""

import sys

from nogan.commands.colorize import main

if __name__ == "__main__":
    sys.exit(main())
