"""`nogan compare RUN_DIR... -o compare.html`: runs, or all trials of a sweep's folder, side by side in one page."""

from collections.abc import Sequence
from pathlib import Path

from nogan.commands import parser_of
from nogan.common.errors import UserError


def main(argv: Sequence[str]) -> None:
    """Write the page, which needs no network, and print where it is."""
    parser = parser_of("compare")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="a run folder, or a folder of them")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("compare.html"), help="the page (default: compare.html)"
    )
    parser.add_argument("--objective", help="the held-out metric that says which is best, e.g. val/psnr")
    args = parser.parse_args(argv)
    from nogan.evaluation.measures import MEASURES
    from nogan.report.compare_page import write_comparison

    if args.objective is not None and args.objective.removeprefix("val/") not in MEASURES:
        known = ", ".join(f"val/{key}" for key in MEASURES)
        raise UserError(f"--objective {args.objective}: expected one of {known}")
    print(write_comparison(args.runs, args.output, args.objective))
