"""`nogan study PART`: run one part of the study, or go on with it where it was cut."""

import argparse
import sys

from nogan.common.errors import UserError
from nogan.study import real, simulated

PARTS = {"simulated": simulated, "real": real}


def main(argv: list[str] | None = None) -> int:
    """Run the part named on the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="nogan study", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        part.add_arguments(parts.add_parser(name, help=part.__doc__.splitlines()[0], description=part.__doc__))
    args = parser.parse_args(argv)
    try:
        PARTS[args.part].run(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cut; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
