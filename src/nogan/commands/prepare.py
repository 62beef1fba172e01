"""`nogan prepare SRC DEST`: a copy of ImageNet, or of any photographs, that loads fast."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.commands import parser_of
from nogan.common.image_files import printable
from nogan.common.terminal import plain, say

if TYPE_CHECKING:
    from rich.console import Console

    from nogan.data.prepare import Report

RANGES = {"size": (16, 4096), "quality": (1, 100), "shard": (1, 1 << 20), "workers": (1, 1024)}
SHOWN = 10  # names of what was left out, for each reason


def main(argv: Sequence[str]) -> None:
    """Prepare the copy, with a progress bar; print how much it is and what was left out."""
    from rich.console import Console

    from nogan.data.prepare import Settings, find_source, prepare

    defaults = Settings()
    parser = parser_of("prepare", description=__doc__.partition(": ")[2].capitalize())
    add = parser.add_argument
    add("src", metavar="SRC", help="folder of photographs, ILSVRC download, or hub (ILSVRC/imagenet-1k)")
    add("dest", metavar="DEST", nargs="?", help="new folder for the copy, or one to go on with, or to repair")
    add("--check", action="store_true", help="only compare a copy with its checksums: nogan prepare --check DEST")
    add("--size", type=int, default=defaults.size, help="shorter side in pixels (%(default)s)")
    add("--quality", type=int, default=defaults.quality, help="JPEG quality, 1 to 100 (%(default)s)")
    add("--shard", type=int, default=defaults.shard, help="photographs to a shard (%(default)s)")
    add("--workers", type=int, default=None, help="processes (one for each core)")
    args = parser.parse_args(argv)
    for flag, (low, high) in RANGES.items():
        value = getattr(args, flag)
        if value is not None and not low <= value <= high:
            parser.error(f"--{flag} {value} is out of range; expected {low} to {high}")
    console = Console()
    if args.check:
        _check(console, args.dest or args.src)
        return
    if args.dest is None:
        parser.error("the following arguments are required: DEST")
    with console.status(plain(f"looking through {args.src}")):
        source = find_source(args.src)
    began = time.monotonic()
    with _Bar(console, len(source)) as bar:
        settings = Settings(args.size, args.quality, args.shard)
        report = prepare(source, args.dest, settings, args.workers, bar.show)
    _print_report(console, report, len(source), args.dest, time.monotonic() - began)


def _check(console: "Console", dest: str) -> None:
    from nogan.data.prepare import check

    with console.status(plain(f"reading {dest}")):
        report = check(dest)
    found = f"{dest} is whole: {report.kept} photographs, {report.bytes / 1e9:.2f} GB"
    say(console, found, highlight=False)


class _Bar:
    """A progress bar that appears only with the first progress, so that no bar precedes a mistake found at once."""

    def __init__(self, console: "Console", total: int) -> None:
        from rich import progress as rich

        self._bar = rich.Progress(
            rich.TextColumn("preparing"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[rate]}"),
            rich.TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("", total=total, rate="")
        self._first: int | None = None  # how many an earlier, interrupted call had done
        self._began = time.monotonic()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._first is not None:
            self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """``done`` of ``total`` photographs are in the copy."""
        if self._first is None:
            self._first = done
            self._bar.start()
        rate = (done - self._first) / max(time.monotonic() - self._began, 1e-3)
        self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.0f} images/s")


def _print_report(console: "Console", report: "Report", total: int, dest: str, seconds: float) -> None:
    tell = partial(say, console, highlight=False)
    tell(f"{report.kept} of {total} photographs prepared in {seconds:.0f} s: {report.bytes / 1e9:.2f} GB in {dest}")
    if report.repaired:
        tell(f"damaged shards made again: {report.repaired}")
    for reason, count in report.reasons().most_common():
        tell(f"left out, {reason}: {count}")
        names = [name for name, why in report.left_out if why == reason]
        for name in names[:SHOWN]:
            tell(f"    {printable(name)}")
        if count > SHOWN:
            tell(f"    … all of them in {Path(dest) / 'left_out.tsv'}")
    tell(f"to train on it: data.path={dest}")
