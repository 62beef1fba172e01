"""`nogan export CHECKPOINT -o model.onnx`: write a generator for other programs, as ONNX or in DeOldify's format."""

from collections.abc import Sequence
from pathlib import Path

from nogan.commands import parser_of, refuse_existing
from nogan.common.errors import UserError
from nogan.common.program import command

FORMATS = {".onnx": "onnx", ".pth": "deoldify"}


def main(argv: Sequence[str]) -> None:
    """Write the file, and print what it is good for."""
    parser = parser_of("export")
    parser.add_argument("checkpoint", metavar="RUN_DIR", help="run folder, .safetensors export, or DeOldify .pth")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="model.onnx, or model.pth")
    parser.add_argument("--format", choices=tuple(FORMATS.values()), help="by default what the suffix of FILE says")
    parser.add_argument(
        "--vividness",
        type=float,
        metavar="V",
        help="0 … 1, of a model.pth; an ONNX export of a generator with that knob has it as its second input",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    args = parser.parse_args(argv)
    path: Path = args.output
    form = args.format or FORMATS.get(path.suffix)
    if form is None:
        raise UserError(f"-o {path}: expected a name that ends with {' or '.join(FORMATS)}, or --format")
    refuse_existing(path, args.overwrite)
    if form == "onnx":
        if args.vividness is not None:
            raise UserError(f"--vividness {args.vividness:g}: an ONNX export has it as an input; leave it out")
        from nogan.networks.onnx import export_onnx

        difference = export_onnx(args.checkpoint, path)
        print(f"{path}: differs from torch by {difference:.1g} at most. {command('colorize')} --checkpoint {path} …")
    else:
        from nogan.colorize.vividness import generator_at
        from nogan.networks import deoldify

        deoldify.save_generator(generator_at(args.checkpoint, args.vividness), path)
        print(f"{path}: for DeOldify's models/ folder.")
