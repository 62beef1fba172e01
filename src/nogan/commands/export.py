"""`nogan export CHECKPOINT -o FILE`: a generator for other programs (ONNX, DeOldify's format), or at half the size."""

from collections.abc import Sequence
from pathlib import Path

from nogan.commands import parser_of, refuse_existing
from nogan.common.errors import UserError
from nogan.common.files import in_words
from nogan.common.program import command

FORMATS = {".onnx": "onnx", ".pth": "deoldify", ".safetensors": "half"}


def main(argv: Sequence[str]) -> None:
    """Write the file, and print what it is good for."""
    parser = parser_of("export")
    parser.add_argument(
        "checkpoint", metavar="RUN_DIR", help="run folder, .safetensors export, DeOldify .pth, or a name"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="model.onnx, model.pth, or model.safetensors, which is half as large as a run's",
    )
    parser.add_argument("--format", choices=tuple(FORMATS.values()), help="by default what the suffix of FILE says")
    parser.add_argument(
        "--vividness",
        type=float,
        metavar="V",
        help="0 … 1, of a model.pth; an ONNX export of a generator with that knob has it as its second input",
    )
    parser.add_argument(
        "--render-factor", type=int, metavar="N", help="of a .safetensors: the one to take where none is asked for"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        default="fp32",
        help="of a model.onnx: fp16 is half as large, and refused where it would change colors (default: fp32)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    args = parser.parse_args(argv)
    path: Path = args.output
    form = args.format or FORMATS.get(path.suffix)
    if form is None:
        raise UserError(f"-o {path}: expected a name that ends with {' or '.join(FORMATS)}, or --format")
    if args.render_factor is not None and form != "half":
        raise UserError(f"--render-factor {args.render_factor}: only a .safetensors file can say it; leave it out")
    if args.render_factor is not None:
        from nogan.colorize.square import network_size

        network_size(args.render_factor)  # refuses one that is out of range
    if args.precision == "fp16" and form != "onnx":
        also = "a .safetensors export has half precision as it is; " if form == "half" else ""
        raise UserError(f"--precision fp16: only an ONNX export can have it; {also}leave it out")
    refuse_existing(path, args.overwrite)
    if form == "onnx":
        if args.vividness is not None:
            raise UserError(f"--vividness {args.vividness:g}: an ONNX export has it as an input; leave it out")
        written = _write_onnx(args.checkpoint, path, args.precision)
        print(f"{path}: {written}. {command('colorize')} --checkpoint {path} …")
    elif form == "half":
        if args.vividness is not None:
            raise UserError(
                f"--vividness {args.vividness:g}: a .safetensors file keeps the knob; leave it out ({command('blend')} "
                "writes what lies between two checkpoints)"
            )
        from nogan.networks.generator_file import save_half

        save_half(args.checkpoint, path, args.render_factor)
        print(f"{path}: {in_words(path.stat().st_size)}. {command('colorize')} --checkpoint {path} …")
    else:
        from nogan.colorize.vividness import generator_at
        from nogan.networks import deoldify

        deoldify.save_generator(generator_at(args.checkpoint, args.vividness), path)
        print(f"{path}: for DeOldify's models/ folder.")


def _write_onnx(checkpoint: str, path: Path, precision: str) -> str:
    """Write the export; returns what is to be said of it."""
    if precision == "fp16":
        from nogan.colorize.onnx_half import export_half_onnx

        mean, high = export_half_onnx(checkpoint, path)
        levels = f"{mean:.2g} levels of 255 in the mean, {high:.2g} at the 99.9th percentile"
        return f"{in_words(path.stat().st_size)}; chroma differs by {levels}"
    from nogan.networks.onnx import export_onnx

    return f"differs from torch by {export_onnx(checkpoint, path):.1g} at most"
