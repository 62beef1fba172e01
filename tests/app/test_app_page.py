"""`nogan app` in a browser: dropped files come back colored, as by the command, to the byte."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
import zipfile
from importlib.util import find_spec

import pytest

from tests.conftest import ROOT

# Not imported here, where it would begin to work in the process of all tests.
pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason='needs gradio: pip install -e ".[app]"')

PATIENCE = 120_000  # ms


@contextlib.contextmanager
def serving(folder, *arguments):
    """The command, in ``folder``; gives the page's address, and ends it by a signal."""
    temporary = folder / "temporary"
    temporary.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(temporary),
    }
    command = [sys.executable, "-m", "nogan.cli", "app", "--port", "0", "--no-browser", "--device", "cpu", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = threading.Timer(500, process.kill)
    deadline.start()
    try:
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+)/ ", line)
        assert found, (line, process.stderr.read() if not line else "")
        yield found[1]
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert not complaints.strip()
        assert not list(temporary.glob("nogan-app-*"))
    finally:
        deadline.cancel()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory, outputs):
    arguments = ("--outputs", str(outputs), str(outputs / "a" / "1"), "--max-upload", "0.002")
    with serving(tmp_path_factory.mktemp("serving"), *arguments) as found:
        yield found


@pytest.fixture
def visit(chromium, address):
    """``visit(**options)``: the page in a browser of its own; nothing may be asked of any other place."""
    contexts, asked, complaints = [], [], []

    def visited(**options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.locator("#again").wait_for()
        return page

    yield visited
    for context in contexts:
        context.close()
    places = {urllib.parse.urlsplit(url)[:2] for url in asked if not url.startswith(("data:", "blob:"))}
    assert {f"{scheme}://{place}" for scheme, place in places} == {address}
    assert not complaints


def drop(page, *files):
    page.set_input_files("#files", [str(file) for file in files])


def card(page, name):
    return page.locator("#cards article").filter(has=page.get_by_role("heading", name=name, exact=True))


def download(page, link, folder):
    with page.expect_download() as waiting:
        link.click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_a_photograph_is_colored_compared_and_downloaded(visit, media, tmp_path, by_command):
    page = visit()
    drop(page, media / "old.jpg")
    old = card(page, "old.jpg")
    file = download(page, old.get_by_role("link", name="Download"), tmp_path)
    assert file.name == "old.jpg"
    assert file.read_bytes() == by_command(old.locator("code").text_content(), media / "old.jpg")
    page.wait_for_function("[...document.querySelectorAll('.compare img')].every((i) => i.complete && i.naturalWidth)")
    slider = old.get_by_role("slider")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert old.locator(".compare").evaluate("e => e.style.getPropertyValue('--cut')") == "52%"
    page.locator("#advanced").get_by_text("Advanced", exact=True).click()
    for name, text in (("shadows", "dark"), ("codec", "h264x"), ("hue-limit", "270-330:0.3")):
        page.locator(f"#flag-{name} :is(input, textarea)").fill(text)
    page.locator("#again").click()
    page.get_by_text("'dark' is not a number").wait_for()
    page.get_by_text("--codec h264x: this ffmpeg has no such encoder").wait_for()
    page.locator("#flag-codec :is(input, textarea)").fill("")
    page.locator("#flag-shadows :is(input, textarea)").fill("0.5")
    page.locator("#again").click()
    command = old.locator("code").filter(has_text="--hue-limit 270-330:0.3 --shadows 0.5")
    file = download(page, old.get_by_role("link", name="Download"), tmp_path)
    assert file.read_bytes() == by_command(command.text_content(), media / "old.jpg")
    assert not page.locator(".wrong:visible").count()


def test_several_photographs_and_models_survive_a_reload_and_come_in_one_zip(visit, media, tmp_path, outputs):
    page = visit()
    choose(page, str(outputs / "b" / "1"))
    drop(page, media / "old.jpg", media / "scan.tif", media / "letter.jpg")
    card(page, "letter.jpg").wait_for()
    page.reload()  # in the middle
    page.get_by_text("4 done, 2 failed").wait_for()
    old = card(page, "old.jpg")
    assert old.locator(".compare").count() == 2 and old.get_by_role("link", name="Download").count() == 2
    letter = card(page, "letter.jpg")
    reason = letter.get_by_role("alert").first.text_content()
    assert reason.startswith("letter.jpg: ") and "/" not in reason and "Traceback" not in page.content()
    with zipfile.ZipFile(download(page, page.get_by_role("link", name="Download all (ZIP)"), tmp_path)) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 4
    assert str(outputs / "b" / "1") in page.locator("#models").inner_text() + page.locator("#models").inner_html()
    letter.get_by_role("button", name="Remove letter.jpg").click()
    letter.wait_for(state="detached")


def choose(page, *titles):
    """Choose further models, by the keyboard."""
    field = page.locator("#models input")
    for title in titles:
        field.click()
        field.fill(title)
        field.press("Enter")


def test_what_cannot_be_taken_is_one_line(visit, address, tmp_path):
    page = visit()
    (tmp_path / "notes.txt").write_text("who is who")
    drop(page, tmp_path / "notes.txt")
    page.get_by_text("notes.txt: neither a photograph nor a film that can be read").wait_for()
    (tmp_path / "large.jpg").write_bytes(bytes(3_000_000))
    drop(page, tmp_path / "large.jpg")
    page.get_by_text("large.jpg: 3.0 MB, and at most 2.0 MB are taken").wait_for()
    answer = page.request.post(f"{address}/studio/upload?name=large.jpg", data=bytes(3_000_000))
    assert answer.status == 422 and "at most 2.0 MB" in answer.json()["error"]
    assert page.locator("#cards article").count() == 0


def test_a_film_is_looked_at_chosen_and_colored(visit, media, tmp_path, by_command):
    page = visit()
    drop(page, media / "film.mkv")
    film = card(page, "film.mkv")
    film.get_by_role("button", name="Color the whole film like this").click()
    file = download(page, film.get_by_role("link", name="Download"), tmp_path)
    assert file.name == "film.mkv"
    assert file.read_bytes() == by_command(film.locator("code").first.text_content(), media / "film.mkv")
    video = film.locator("video").first
    video.evaluate("v => v.readyState >= 1 || new Promise((on) => v.addEventListener('loadedmetadata', on))")
    assert video.evaluate("v => [v.videoWidth, v.videoHeight, v.error]") == [192, 64, None]


def test_two_browsers_have_albums_of_their_own(visit, media, address):
    first, second = visit(), visit()
    drop(first, media / "old.jpg")
    drop(second, media / "old.jpg")
    links = [card(page, "old.jpg").get_by_role("link", name="Download") for page in (first, second)]
    for link in links:
        link.wait_for()
    mine, other = (link.get_attribute("href") for link in links)
    assert mine != other
    assert first.request.get(address + mine).status == 200
    assert first.request.get(address + other).status == 404


def test_nothing_else_of_the_machine_can_be_reached(visit, address, outputs, media):
    page = visit()
    secret = outputs / "a" / "1" / "generator.json"
    for path in (
        f"/gradio_api/file={secret}", f"/file={secret}", "/gradio_api/file/etc/passwd", "/gradio_api/upload",
        f"/studio/static/{urllib.parse.quote('../app/page.py', safe='')}", "/studio/static/../page.py",
        f"/static/{secret}", f"/assets/{secret}", f"/theme.css/../../{secret}", "/studio/task/x/result",
        "/docs", "/openapi.json",
    ):  # fmt: skip
        answer = page.request.get(address + path)
        assert answer.status in (403, 404, 405), path
        assert "nogan-generator" not in answer.text() and "def build_page" not in answer.text()
    for headers, path in (
        ({"Host": "evil.example"}, "/"),
        ({"Origin": "http://evil.example"}, "/studio/album"),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, "/studio/album"),
    ):
        assert page.request.get(address + path, headers=headers).status == 403, headers


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_used_by_the_keyboard(visit, media, scheme):
    page = visit(viewport={"width": 375, "height": 740}, color_scheme=scheme)
    drop(page, media / "old.jpg")
    card(page, "old.jpg").get_by_role("link", name="Download").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    lights = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)")
    assert (sum(lights) > 384) is (scheme == "light")
    page.locator("body").press("Tab")
    reached = set()
    for _ in range(40):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        page.keyboard.press("Tab")
    assert {"files", "Download", "Remove", "again"} <= reached
