"""`nogan study PART`: run one part of the study of the inflection detectors, or go on with it where it was cut."""

from collections.abc import Sequence

from nogan.commands import parser_of


def main(argv: Sequence[str]) -> None:
    """Run the part that is named."""
    from nogan.study import real, simulated

    parser = parser_of("study")
    parts = parser.add_subparsers(dest="part", required=True)
    for part in (simulated, real):
        name, about = part.__name__.rpartition(".")[2], part.__doc__ or ""
        added = parts.add_parser(name, help=about.splitlines()[0], description=about)
        part.add_arguments(added)
        added.set_defaults(run=part.run)
    args = parser.parse_args(argv)
    args.run(args)
