"""The addresses of the page: uploads, progress, pictures and downloads, and who may ask for them.

Each browser has an album, which its cookie names; an address leads to files of that album and to no other file of this
machine. What gradio brings for files (its own uploads, and files by their path) is closed. Requests of other websites
are refused, and, as long as the page is for this machine only, those for another host's name (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nogan.app.studio import Album, Item, NotThere, Status, Studio, Task, new_key
from nogan.common.errors import UserError

COOKIE = "nogan_album"
WEEK = 7 * 24 * 3600

STATIC = Path(__file__).parent / "static"

CLOSED = ("/gradio_api/upload", "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream", "/gradio_api/deep_link")
"""What gradio has for files and for other servers: the page needs none of it."""

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # gradio builds its page by both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "frame-ancestors 'none'",
        "form-action 'self'",
    )
)
"""By which a browser fetches nothing from any other place than this server."""

BLOCK = 1 << 20


class Guard:
    """What holds for every request, gradio's too: who may ask, the album's cookie, and what the browser may fetch.

    Args:
        app: that answers.
        studio: knows the albums.
        local: whether the server is for this machine only.
    """

    def __init__(self, app: ASGIApp, studio: Studio, local: bool) -> None:
        self._app, self._studio, self._local = app, studio, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket, which nothing here has
            return
        request = Request(scope)
        if reason := refusal(request, local=self._local):
            await JSONResponse({"error": reason}, status_code=403)(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                if scope["path"] == "/" and not _has_album(request, self._studio):
                    headers.append("Set-Cookie", _cookie())
            await send(message)

        await self._app(scope, receive, send_guarded)


def add_routes(app: FastAPI, studio: Studio, *, local: bool) -> None:
    """Add the page's addresses to ``app``, and the rules for all of its requests.

    Args:
        app: that gradio's page is mounted on later.
        studio: does the work.
        local: whether the server is for this machine only.
    """
    app.add_middleware(Guard, studio=studio, local=local)

    def album(request: Request) -> Album:
        return studio.album(request.cookies.get(COOKIE, ""))

    @app.exception_handler(NotThere)
    async def unknown(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "not in this album (any more): reload the page"}, status_code=404)

    @app.exception_handler(UserError)
    async def refused(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=422)

    @app.get("/studio/album")
    def state(request: Request, known: int = 0) -> Response:
        mine = album(request)
        version = mine.version
        items = list(mine.items.values())
        cards = {item.id: card(item) for item in items if item.version > known}
        return JSONResponse(
            {
                "version": version,
                "order": [item.id for item in items],
                "cards": cards,
                "mask": mine.mask.name if mine.mask else "",
                **_summary(mine),
            },
            headers={"Cache-Control": "no-store"},
        )

    @app.post("/studio/upload")
    async def upload(request: Request, name: str) -> Response:
        return await receive(request, name, studio.adding(album(request), name))

    @app.post("/studio/mask")
    async def mask(request: Request, name: str) -> Response:
        return await receive(request, name, studio.masking(album(request), name))

    @app.post("/studio/mask/remove")
    def no_mask(request: Request) -> Response:
        studio.set_mask(album(request), None)
        return JSONResponse({})

    async def receive(request: Request, name: str, place: AbstractContextManager[Path]) -> Response:
        length = request.headers.get("Content-Length", "")
        studio.check(name, int(length) if length.isdecimal() else None)
        with place as path, path.open("wb") as file:
            async for block in request.stream():
                if file.tell() + len(block) > studio.most_bytes:
                    studio.check(name, file.tell() + len(block))
                await asyncio.to_thread(file.write, block)
        return JSONResponse({})

    @app.post("/studio/item/{key}/remove")
    def remove(request: Request, key: str) -> Response:
        studio.remove(album(request).item(key))
        return JSONResponse({})

    @app.post("/studio/remove-all")
    def remove_all(request: Request) -> Response:
        for item in list(album(request).items.values()):
            studio.remove(item)
        return JSONResponse({})

    acts = {"cancel": studio.cancel, "resume": studio.resume, "whole": studio.color_whole}

    @app.post("/studio/task/{key}/{act}")
    def do(request: Request, key: str, act: Literal["cancel", "resume", "whole"]) -> Response:
        acts[act](album(request).task(key))
        return JSONResponse({})

    @app.get("/studio/item/{key}/shown")
    def before(request: Request, key: str) -> Response:
        return FileResponse(_there(album(request).item(key).shown))

    @app.get("/studio/task/{key}/shown")
    def after(request: Request, key: str) -> Response:
        return FileResponse(_there(album(request).task(key).shown))

    @app.get("/studio/task/{key}/result")
    def result(request: Request, key: str) -> Response:
        path = _there(album(request).task(key).result)
        return FileResponse(path, filename=path.name, content_disposition_type="attachment")

    @app.get("/studio/all.zip")
    def everything(request: Request) -> Response:
        parts = zipped(finished(album(request)))
        headers = {"Content-Disposition": 'attachment; filename="colored.zip"'}
        return StreamingResponse(parts, media_type="application/zip", headers=headers)

    @app.get("/studio/static/{name}")
    def static(name: str) -> Response:
        if name not in ("app.js", "app.css"):
            raise NotThere
        return FileResponse(STATIC / name)


def _there(path: Path | None) -> Path:
    if path is None or not path.is_file():
        raise NotThere
    return path


def _has_album(request: Request, studio: Studio) -> bool:
    try:
        studio.album(request.cookies.get(COOKIE, ""))
    except NotThere:
        return False
    return True


def refusal(request: Request, *, local: bool) -> str:
    """Why a request is not answered; empty if it is."""
    host = request.headers.get("host", "")
    if local and not _is_local(urlsplit(f"//{host}").hostname or ""):
        return f"this page is for this machine only, and {host} is another name (--host opens it to others)"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return "not from another website"
    if request.headers.get("sec-fetch-site") == "cross-site" and request.headers.get("sec-fetch-mode") != "navigate":
        return "not from another website"
    if request.url.path.startswith(CLOSED):
        return "not here"
    return ""


def _cookie() -> str:
    """A new album for a browser, which its scripts cannot read and other websites cannot send."""
    return f"{COOKIE}={new_key()}; Path=/; Max-Age={WEEK}; HttpOnly; SameSite=Strict"


def _is_local(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


# --- what is shown ----------------------------------------------------------------------------------------------------


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nogan.app", "static"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("card.html")


def card(item: Item) -> str:
    """The HTML of a file in the page, with all that is shown of it."""
    return _template().render(item=item, tasks=item.current, left=_left, Status=Status)


def _summary(album: Album) -> dict[str, Any]:
    """How far the whole album is."""
    tasks = album.tasks
    count = {status: sum(task.status is status for task in tasks) for status in Status}
    return {
        "new": sum(not item.current for item in list(album.items.values())),
        "total": len(tasks),
        "done": count[Status.DONE],
        "failed": count[Status.FAILED],
        "open": count[Status.WAITING] + count[Status.RUNNING],
        "files": sum(task.result is not None and task.kind != "preview" for task in tasks),
    }


def _left(task: Task) -> str:
    """How long a task still takes, in words."""
    seconds = task.seconds_left
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"


# --- all in one -------------------------------------------------------------------------------------------------------


def finished(album: Album) -> list[tuple[str, Path]]:
    """The results of an album with their names in a ZIP: in a folder for each recipe, if there are several."""
    tasks = [task for task in album.tasks if task.status is Status.DONE and task.result and task.kind != "preview"]
    recipes = {task.recipe: None for task in tasks}
    names = {recipe: f"{number} {_plain_name(recipe.title)}/" for number, recipe in enumerate(recipes, start=1)}
    found: dict[str, Path] = {}
    for task in tasks:
        assert task.result is not None
        folder = names[task.recipe] if len(recipes) > 1 else ""
        name = f"{folder}{task.result.name}"
        if name in found:  # old.tif.png beside old.png
            name = f"{folder}{task.id}-{task.result.name}"
        found[name] = task.result
    return list(found.items())


def _plain_name(title: str) -> str:
    return "".join(character if character.isalnum() or character in " .,-+%@" else "-" for character in title)[:80]


class _Pieces(io.RawIOBase):
    """A file to write to, from which the pieces are taken as they come."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def zipped(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    """A ZIP of ``files``, by their names in it, piece by piece: not packed, because pictures and films are already."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w") as archive:
        for name, path in files:
            info = zipfile.ZipInfo.from_file(path, name)
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                while block := source.read(BLOCK):
                    target.write(block)
                    yield pieces.taken()
    yield pieces.taken()
