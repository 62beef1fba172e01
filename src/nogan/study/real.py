"""Every detector on real runs, where the snapshot that is best on held-out pictures is known.

Each run is trained by `train.py experiment=inflection` to its end, with the point only marked. Results are appended to
OUT/real.jsonl run by run; a second call goes on where the first was cut, within a run too, and starts anew if the
settings of the runs have changed since. Detectors are replayed from that file each time.
"""

import argparse
from pathlib import Path

from rich.progress import track

from nogan.errors import UserError
from nogan.study import runs
from nogan.study.record import append_row, read_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m nogan.study real`."""
    parser.add_argument("--out", type=Path, default=Path("outputs/study"), help="folder of results, tables and picture")
    parser.add_argument("--seeds", type=int, default=10, help="runs on the built-in scenes (default 10)")
    parser.add_argument("--photos", type=Path, help="a folder with photographs in train/ and val/: run on them, too")
    parser.add_argument("--photo-seeds", type=int, default=3, help="runs on the photographs (default 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="of the seeds, which follow one another (default 0)")
    parser.add_argument("--threads", type=int, default=1, help="of the processor, for a run (default 1)")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current folder)")
    parser.add_argument("--record", type=Path, help="a markdown document to fill in")


def run(args: argparse.Namespace) -> None:
    """Train what is missing, replay the detectors, write the tables and the picture."""
    if args.seeds < 0 or args.threads < 1:
        raise UserError(f"--seeds {args.seeds} --threads {args.threads}: expected at least 0 and 1.")
    results, version = args.out / "real.jsonl", runs.version(args.root)
    wanted = _interleaved(args)
    done = {(row["data"], row["seed"]): row for row in read_rows(results) if row["version"] == version}
    crops = runs.cut(args.photos, args.out / "photographs") if args.photos else None
    for data, seed in track([key for key in wanted if key not in done], "real runs"):
        row = runs.make(args.root, args.out / "real", data, seed, args.threads, crops)
        append_row(results, row | {"version": version})
        done[data, seed] = row


def _interleaved(args: argparse.Namespace) -> list[tuple[str, int]]:
    """(data, seed) of every run; one of the photographs after each of the scenes, so that a cut study has both."""
    count = {"scenes": args.seeds, "photographs": args.photo_seeds if args.photos else 0}
    return [
        (data, args.first_seed + turn) for turn in range(max(count.values())) for data in count if turn < count[data]
    ]
