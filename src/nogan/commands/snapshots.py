"""`nogan snapshots RUN_DIR`: list the snapshots of a run with their metrics, or export one as a generator."""

from collections.abc import Sequence
from pathlib import Path

from nogan.commands import parser_of
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import pick, tables


def main(argv: Sequence[str]) -> None:
    """Print a table for each GAN phase, or the file that ``--pick`` wrote."""
    parser = parser_of("snapshots")
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a run folder")
    parser.add_argument("--pick", type=int, metavar="STEP", help="export the snapshot after this many GAN batches")
    parser.add_argument("--cycle", type=int, help="of this critic/GAN cycle (default: all; of --pick, the last)")
    parser.add_argument("-o", "--output", type=Path, help="the .safetensors file to write")
    args = parser.parse_args(argv)
    run = RunFolder(args.run)
    if args.pick is not None:
        print(pick(run, args.pick, args.cycle, args.output))
        return
    from rich.console import Console

    for table in tables(run, args.cycle):
        Console().print(table)
