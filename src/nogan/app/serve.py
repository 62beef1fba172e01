"""Starts the server of the page, and ends it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from nogan.common.errors import Interrupted, UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from nogan.app.studio import Studio


def serve(
    files: Sequence[str],
    *,
    outputs: Path,
    host: str,
    port: int,
    device: str | None,
    most_bytes: int,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until a signal ends it; uploads and results are in a temporary folder, which goes with it.

    Args:
        files: further checkpoints to choose from.
        outputs: where runs are looked for.
        host: address to serve on.
        port: 0 takes a free one.
        device: that the networks run on.
        most_bytes: largest file that is taken.
        ready: called with the page's address when it can be opened.

    Raises:
        UserError: a checkpoint or the device is not there, or the address cannot be used.
    """
    import uvicorn

    from nogan.app.models import Models, check_files
    from nogan.app.studio import Studio
    from nogan.colorize.backends import pick_device

    check_files(files)
    pick_device(device)
    with _bound(host, port) as listening, tempfile.TemporaryDirectory(prefix="nogan-app-") as folder:
        models = Models(outputs, files, Path(folder) / "snapshots")
        studio = Studio(Path(folder), models, device=device, most_bytes=most_bytes)
        try:
            app = build_app(studio, local=_is_loopback(host))
            config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
            ready(f"http://{_shown(host)}:{listening.getsockname()[1]}/")
            with _terminating():
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            studio.close()


def build_app(studio: Studio, *, local: bool) -> FastAPI:
    """The server: the page's own addresses, and gradio's page.

    Args:
        studio: does the work.
        local: whether it is for this machine only.
    """
    # Before gradio is imported: it counts its users, unless it is told not to.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio as gr
    from fastapi import FastAPI

    from nogan.app.page import HEAD, build_page
    from nogan.app.server import add_routes

    unseen: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    app = FastAPI(**unseen)
    add_routes(app, studio, local=local)
    fonts = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    theme = gr.themes.Default(primary_hue="slate", neutral_hue="slate", font=fonts[0], font_mono=fonts[1])
    page = build_page(studio, local=local)
    gr.mount_gradio_app(app, page, path="/", app_kwargs=unseen, theme=theme, head=HEAD, footer_links=[], ssr_mode=False)
    return app


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens already, so that a browser that comes early waits."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or error
        free = "; another page may be open there, and --port 0 takes a free one"
        raise UserError(f"--host {host} --port {port}: {reason}{free}") from error
    with listening:
        yield listening


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """A signal to terminate ends the server as Ctrl-C does, with what it has in the disk removed."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    """The host as an address in a browser has it."""
    if host in ("0.0.0.0", "::", ""):
        return "localhost"
    return f"[{host}]" if ":" in host else host
