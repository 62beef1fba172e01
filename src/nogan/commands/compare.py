"""Compare runs in one page: settings that differ, metrics, curves over each other, the same pictures side by side.

nogan compare RUN_DIR... -o compare.html
nogan compare multirun/NAME/DATE            # every run of a sweep
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nogan.common.errors import UserError
from nogan.evaluation.measures import MEASURES
from nogan.report.compare_page import write_comparison

__all__ = ["main", "write_comparison"]


def main(argv: Sequence[str] | None = None) -> None:
    """Compare runs in one page, which needs no network."""
    parser = argparse.ArgumentParser("nogan compare", description=main.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="a run folder, or a folder of them")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("compare.html"), help="the page (default: compare.html)"
    )
    parser.add_argument("--objective", help="the held-out metric that says which is best, e.g. val/psnr")
    args = parser.parse_args(argv)
    try:
        if args.objective is not None and args.objective.removeprefix("val/") not in MEASURES:
            known = ", ".join(f"val/{key}" for key in MEASURES)
            raise UserError(f"--objective {args.objective}: expected one of {known}")
        print(write_comparison(args.runs, args.output, args.objective))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
