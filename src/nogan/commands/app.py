"""`nogan app`: a page in the browser to colorize photographs and film."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from nogan.commands import parser_of
from nogan.common.errors import UserError

HOST, PORT = "127.0.0.1", 7860


def main(argv: Sequence[str]) -> None:
    """Serve the page until Ctrl-C."""
    arguments = parse_arguments(argv)
    if find_spec("gradio") is None:  # not imported here: it has to be told first that it counts nobody
        raise UserError('the page needs gradio: pip install -e ".[app]"')
    from nogan.app.serve import serve

    serve(
        arguments.checkpoints,
        outputs=arguments.outputs,
        host=arguments.host,
        port=arguments.port,
        device=arguments.device,
        most_bytes=round(arguments.max_upload * 1e9),
        ready=lambda address: announce(address, browse=not arguments.no_browser),
    )


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = parser_of(
        "app",
        description="Open a page in the browser to colorize photographs and film. Nothing leaves this machine.",
    )
    add = parser.add_argument
    add("checkpoints", nargs="*", metavar="CHECKPOINT", help="further models to choose from: run folders or files")
    add(
        "--outputs",
        type=Path,
        default=Path("outputs"),
        metavar="DIR",
        help="where runs are looked for (default outputs)",
    )
    add("--device", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)")
    add("--max-upload", type=_gigabytes, default=8.0, metavar="GB", help="largest file that is taken (default 8)")
    net = parser.add_argument_group("the page")
    net.add_argument(
        "--host",
        default=HOST,
        help="address to serve on (default 127.0.0.1: this machine only; 0.0.0.0 opens it to your whole network, "
        "without a password)",
    )
    net.add_argument("--port", type=_port, default=PORT, help=f"(default {PORT}; 0 takes a free one)")
    net.add_argument("--no-browser", action="store_true", help="do not open the browser")
    return parser.parse_args(argv)


def announce(address: str, *, browse: bool) -> None:
    """Say where the page is, and open it where there is a screen."""
    print(f"{address} (Ctrl-C ends it)", flush=True)
    if browse and (
        sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        import webbrowser

        webbrowser.open(address)


def _gigabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of GB above 0")
    return value


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)
