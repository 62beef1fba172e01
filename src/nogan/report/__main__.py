"""Write the reports of runs: ``nogan report RUN_DIR...``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nogan.common.errors import UserError
from nogan.report.run_page import write_report


def main(argv: Sequence[str] | None = None) -> None:
    """Write report.html into run folders; a run that is still on is shown as far as it is."""
    parser = argparse.ArgumentParser("nogan report", description=main.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="a run folder")
    try:
        for folder in parser.parse_args(argv).runs:
            print(write_report(folder))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
