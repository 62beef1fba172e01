"""`nogan blend A B --alpha 0.5 -o C`: interpolate between the weights of two checkpoints."""

from collections.abc import Sequence
from pathlib import Path

from nogan.commands import parser_of, refuse_existing
from nogan.common.program import command


def main(argv: Sequence[str]) -> None:
    """Write the blend, and print how to colorize with it."""
    parser = parser_of("blend")
    parser.add_argument("a", metavar="A", help="run folder, .safetensors export, DeOldify .pth, or a name")
    parser.add_argument("b", metavar="B", help="another of the same architecture")
    parser.add_argument("--alpha", type=float, default=0.5, help="0 gives A, 1 gives B (default 0.5)")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="C", help="folder, .safetensors or .pth")
    parser.add_argument("--overwrite", action="store_true", help="replace C if it is there")
    args = parser.parse_args(argv)
    path: Path = args.output
    from nogan.networks.generator_file import weights_path

    written = path if path.suffix == ".pth" else weights_path(path)
    refuse_existing(written, args.overwrite)
    from nogan.networks.blend import blend_checkpoints

    blend_checkpoints(args.a, args.b, args.alpha, path)
    print(f"{written}: {command('colorize')} PHOTO -o OUT --checkpoint {path}")
