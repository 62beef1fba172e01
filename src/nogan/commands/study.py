"""`nogan study PART`: run one of the studies, or go on with an interrupted one."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nogan.commands import parser_of
from nogan.evaluation.merit import COLOR_WEIGHT


def main(argv: Sequence[str]) -> None:
    """Run the part that is named."""
    parser = parser_of("study")
    parts = parser.add_subparsers(dest="part", required=True)
    _add_simulated(parts.add_parser("simulated", help="every detector on simulated curves whose point is known"))
    _add_joint(parts.add_parser("joint", help="rules that hear pictures, on simulated phases whose quality is known"))
    _add_real(parts.add_parser("real", help="every detector on real runs, trained for it"))
    _add_unified(parts.add_parser("unified", help="one network with a knob against three trained apart, and blends"))
    arguments = vars(parser.parse_args(argv))
    match arguments.pop("part"):
        case "simulated":
            from nogan.study import simulated

            simulated.run(**arguments)
        case "joint":
            from nogan.study import joint

            joint.run(**arguments)
        case "real":
            from nogan.study import real

            real.run(**arguments)
        case _:
            from nogan.study import unified

            unified.run(**arguments)


def _add_simulated(parser: argparse.ArgumentParser) -> None:
    _add_joint(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")


def _add_joint(parser: argparse.ArgumentParser) -> None:
    _add_places(parser)
    parser.add_argument(
        "--curves", dest="per_family", type=int, default=200, help="curves of each family (default 200)"
    )
    parser.add_argument(
        "--split", choices=("test", "tune"), default="test", help="test: held out from tuning (default)"
    )


def _add_real(parser: argparse.ArgumentParser) -> None:
    _add_places(parser)
    parser.add_argument("--seeds", type=int, default=10, help="runs on the built-in scenes (default 10)")
    parser.add_argument("--photos", type=Path, help="a folder with photographs in train/ and val/: runs on them, too")
    parser.add_argument("--photo-seeds", type=int, default=5, help="runs on the photographs (default 5)")
    parser.add_argument("--long-seeds", type=int, default=5, help="runs on each with a longer GAN phase (default 5)")
    parser.add_argument("--large-seeds", type=int, default=3, help="runs on the photographs at 64 px (default 3)")
    parser.add_argument("--first-seed", type=int, default=200, help="seed of the first run of each set (default 200)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so many, begin no further run")
    parser.add_argument(
        "--no-train", dest="train", action="store_false", help="measure the runs that are trained, begin no others"
    )
    parser.add_argument("--encoder-weights", type=Path, help="a file, for the runs at 64 px (default: fetched)")
    parser.add_argument(
        "--recorded", type=Path, metavar="DIR", help="the runs that files in DIR hold, as they are: trains none"
    )
    parser.add_argument(
        "--color-weight", type=float, default=COLOR_WEIGHT, help="of the color gained (default %(default)g)"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads of a run (default 1)")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current folder)")


def _add_unified(parser: argparse.ArgumentParser) -> None:
    _add_places(parser)
    parser.add_argument(
        "--set", choices=("scenes", "photographs"), default="scenes", help="the pictures (default scenes)"
    )
    parser.add_argument(
        "--photos", type=Path, help="a folder with photographs in train/ and val/, for --set photographs"
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument(
        "--images", type=int, default=20_000, help="pictures that all phases are shares of: the budget (default 20000)"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so many, begin no further seed")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument(
        "--override",
        dest="overrides",
        nargs="+",
        default=(),
        metavar="KEY=VALUE",
        help="for every network, as in train",
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("outputs/study"), help="folder of results, tables and picture")
    parser.add_argument("--record", type=Path, help="a markdown document to fill in; the picture goes beside it")
