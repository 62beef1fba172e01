"""`nogan report RUN_DIR...`: write the report pages of runs again, also of one that is still on."""

from collections.abc import Sequence
from pathlib import Path

from nogan.commands import parser_of


def main(argv: Sequence[str]) -> None:
    """Write ``report.html`` into each run folder, and print where it is."""
    parser = parser_of("report", description="Write report.html into run folders, also of runs that have not ended.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="a run folder")
    runs = parser.parse_args(argv).runs
    from nogan.report.run_page import write_report

    for folder in runs:
        print(write_report(folder))
