"""Generators by name: what is fetched, gone on with, refused and said."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from nogan.cli import main
from nogan.commands import models
from nogan.common.errors import UserError
from nogan.networks import named
from nogan.networks.named import DEOLDIFY, Published, obtain, resolve

CONTENT = bytes(range(256)) * 2000


class Server(ThreadingHTTPServer):
    """Publishes :data:`CONTENT`; ``behavior`` says how, and ``asked`` is the Range of each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked, self.content, self.ranges, self.breaks_after = [], CONTENT, True, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        rest = server.content[start:]
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.breaks_after.pop(0)] if server.breaks_after else rest)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NOGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(named, "BLOCK", 1000)
    checksum = hashlib.sha256(CONTENT).hexdigest()
    return Published("deoldify-artistic", "Weights_gen.pth", server.url, len(CONTENT), checksum, "a test's")


def test_it_is_fetched_once_and_found_from_then_on(published, server, monkeypatch, capsys):
    monkeypatch.setattr(named, "DEOLDIFY", (published,))
    assert resolve("deoldify-artistic").read_bytes() == CONTENT
    assert "fetching deoldify-artistic" in capsys.readouterr().err
    assert resolve("deoldify-artistic") == published.path and server.asked == [None]
    assert [path.name for path in published.path.parent.iterdir()] == ["Weights_gen.pth"]


def test_a_lost_connection_is_taken_up_where_it_was(published, server):
    server.breaks_after = [100_000, 50_000]
    assert obtain(published).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_an_interrupted_download_goes_on_in_the_next_process(published, server):
    def interrupt(done):
        if done >= 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        named.fetch(published, interrupt)
    assert not published.path.exists()
    assert obtain(published).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=200000-"]


def test_a_server_without_ranges_begins_again(published, server):
    server.ranges, server.breaks_after = False, [100_000]
    assert obtain(published).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the server answers 404"),
        (CONTENT[:-1], f"gives {len(CONTENT) - 1:,} bytes, and {len(CONTENT):,} were expected"),
        (CONTENT + b"x", f"gives {len(CONTENT) + 1:,} bytes"),
        (CONTENT[::-1], "SHA-256"),
    ],
)
def test_what_is_not_the_file_is_refused_and_the_way_by_hand_is_said(published, server, content, reason):
    server.content = content
    with pytest.raises(UserError) as error:
        obtain(published)
    assert reason in str(error.value) and server.url in str(error.value) and str(published.path) in str(error.value)
    assert not published.path.exists() and "\n" not in str(error.value)
    server.content = CONTENT  # and nothing of it is left that a later try would go on with
    assert obtain(published).read_bytes() == CONTENT


def test_without_a_network_and_with_a_damaged_file_the_way_is_said(published, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"cannot be had: .*refused.* put it at"):
        obtain(published)
    published.path.parent.mkdir(parents=True, exist_ok=True)
    published.path.write_bytes(CONTENT[:5000])
    with pytest.raises(UserError, match=r"has 5,000 bytes, and 512,000 were expected: remove it"):
        obtain(published)
    published.path.write_bytes(CONTENT)  # put there by hand
    assert obtain(published).read_bytes() == CONTENT


def test_a_missing_file_of_deoldify_says_where_it_is_published(tmp_path, capsys):
    for published in DEOLDIFY:
        with pytest.raises(UserError, match=published.name) as error:
            resolve(tmp_path / published.file)
        assert published.url in str(error.value)
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    files = [str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--checkpoint", "models/ColorizeArtistic_gen.pth"]
    assert main(["colorize", *files]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "nogan colorize: No checkpoint at models/ColorizeArtistic_gen.pth: download it from https://"
    )


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starter").mkdir()
    assert str(resolve("starter")) == "starter" and not named.is_name("starter")


def test_the_list_says_which_are_here_and_a_name_fetches_one(published, server, monkeypatch, capsys):
    monkeypatch.setattr(named, "DEOLDIFY", (published,))
    monkeypatch.setattr(models, "DEOLDIFY", (published,))

    def listed():
        assert main(["models"]) == 0
        return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}

    before = listed()
    assert " here " in before["starter"] and "not here" in before["deoldify-artistic"]
    assert main(["models", "deoldify-artistic"]) == 0
    assert capsys.readouterr().out.strip() == str(published.path)
    assert "not here" not in listed()["deoldify-artistic"]
    assert main(["models", "colorful"]) == 1
    assert "expected one of starter, deoldify-artistic" in capsys.readouterr().err
