"""The work behind the page, without a page: the files are those of the command, to the byte."""

import io
import threading
import time
import zipfile
from pathlib import Path

import av
import pytest
from PIL import Image

from nogan.app.models import Loaded, Models
from nogan.app.server import finished, zipped
from nogan.app.settings import Settings, WrongValue
from nogan.app.studio import NotThere, Status, Studio, Task, new_key, safe_name
from nogan.colorize import batch
from nogan.colorize.batch import BatchOptions
from nogan.common.errors import UserError
from nogan.networks import build_generator
from nogan.networks.generator_file import save_generator
from nogan.plan.build import build_plan
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore


@pytest.fixture
def studio(tmp_path, outputs):
    made = Studio(tmp_path / "work", Models(outputs, [], tmp_path / "picked"), device="cpu")
    yield made
    made.close()


@pytest.fixture
def album(studio):
    return studio.album(new_key())


def add(studio, album, path, name=None):
    with studio.adding(album, name or path.name) as place:
        place.write_bytes(path.read_bytes())
    return list(album.items.values())[-1]


def wait(album):
    """Until nothing is left to do."""
    end = time.monotonic() + 200
    while any(task.is_open for task in album.tasks):
        assert time.monotonic() < end, [(task.status, task.message) for task in album.tasks]
        time.sleep(0.02)


def settings(outputs, *names, **others):
    return Settings(tuple(str(outputs / name / "1") for name in names or ["a"]), **{"render_factor": 4, **others})


def test_photographs_come_out_as_by_the_command(studio, album, outputs, media, by_command):
    items = [add(studio, album, media / name) for name in ("old.jpg", "scan.tif")]
    taste = {"saturation": 1.4, "tint_hue": 220, "tint_amount": 12, "render_factor": "auto"}
    for chosen in (settings(outputs, **taste), settings(outputs, "a", "b", blend=0.7, **taste)):
        studio.color(album, chosen)
        wait(album)
        for item in items:
            (task,) = item.current
            assert task.status is Status.DONE and task.result.read_bytes() == by_command(task.command, item.path)
    assert Image.open(items[0].current[0].result).getexif()[0x010E] == "Grandmother, 1931"
    assert Image.open(items[1].shown).format == Image.open(items[1].current[0].shown).format == "JPEG"


def test_what_is_written_into_further_controls_is_what_the_command_does(
    studio, album, outputs, media, tmp_path, by_command
):
    item = add(studio, album, media / "old.jpg")
    colors = {"hue-limit": "270-330:0.3  0-40:0.5", "shadows": "0.2", "gamut": "clip", "audio": "none", "quality": "80"}
    Image.linear_gradient("L").save(tmp_path / "ramp.png")
    results = []
    for mask, more in ((False, colors), (False, {**colors, "blend-luma": "64-192"}), (True, {"blend-limit": "9"})):
        if mask:
            with studio.masking(album, "ramp.png") as place:
                place.write_bytes((tmp_path / "ramp.png").read_bytes())
        studio.color(album, settings(outputs, "a", "b", blend=0.3, more=more))
        wait(album)
        (task,) = item.current
        assert task.status is Status.DONE, task.message
        results.append(task.result.read_bytes())
        assert results[-1] == by_command(task.command, item.path, tmp_path / "ramp.png")
        assert "--audio" not in task.command and ("--blend-mask ramp.png" in task.command) is mask
    assert len(set(results)) == 3
    with pytest.raises(UserError, match=r"^letter\.jpg: not an image"), studio.masking(album, "letter.jpg") as place:
        place.write_text("Dear Sir")
    assert album.mask.name == "ramp.png"


def test_several_models_are_side_by_side_and_what_is_done_is_not_done_again(studio, album, outputs, media):
    items = [add(studio, album, media / "old.jpg"), add(studio, album, media / "old.jpg")]
    assert [item.name for item in items] == ["old.jpg", "old (2).jpg"]
    studio.color(album, settings(outputs, "a", "b"))
    wait(album)
    first = items[0].current
    assert len(first) == 2 and first[0].result.read_bytes() != first[1].result.read_bytes()
    with zipfile.ZipFile(io.BytesIO(b"".join(zipped(finished(album))))) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 4
        by_model = {name.partition("/")[0] for name in archive.namelist()}
        assert len(by_model) == 2
        assert archive.read(finished(album)[0][0]) == first[0].result.read_bytes()
    written = first[1].result.stat().st_mtime_ns
    studio.color(album, settings(outputs, "b"))
    assert items[0].current == [first[1]] and first[1].status is Status.DONE
    assert [name for name, _ in finished(album)] == ["old.jpg", "old (2).jpg"]
    assert first[1].result.stat().st_mtime_ns == written


def test_a_model_is_loaded_once_and_again_when_its_file_has_changed(monkeypatch, tmp_path):
    loads = []
    load = batch.load_colorizer
    monkeypatch.setattr("nogan.app.models.load_colorizer", lambda *given: loads.append(given) or load(*given))
    file = save_generator(build_generator("tiny", "wide", 0.1), tmp_path / "a.safetensors")
    loaded, options = Loaded(), BatchOptions(device="cpu")
    first = loaded({str(file): 1.0}, options, 1.0)
    assert loaded({str(file): 1.0}, options, 1.0).predict is not None and len(loads) == 1
    save_generator(build_generator("tiny", "wide", 0.1, seed=1), file)
    assert loaded({str(file): 1.0}, options, 1.0) is not first and len(loads) == 2


def test_a_bad_file_is_one_line_and_the_others_are_done(studio, album, outputs, media, tmp_path):
    bad, good = (add(studio, album, media / name) for name in ("letter.jpg", "old.jpg"))
    studio.color(album, settings(outputs))
    wait(album)
    (task,) = bad.current
    assert task.status is Status.FAILED and good.current[0].status is Status.DONE
    assert task.message.startswith("letter.jpg: ") and "\n" not in task.message and str(tmp_path) not in task.message
    for name, reason in (("notes.txt", "neither a photograph nor a film"), ("big.jpg", "at most")):
        with pytest.raises(UserError, match=reason):
            studio.check(name, 9 * 10**9)
    assert len(album.items) == 2


def test_names_from_browsers_stay_in_their_folder(studio, album, media):
    for given, name in (
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\scans\\a b.jpg", "a b.jpg"),
        ("..jpg", "jpg"),
        ("Großmutter\n1931.jpg", "Großmutter1931.jpg"),
    ):
        assert safe_name(given) == name
    item = add(studio, album, media / "old.jpg", "../../up.jpg")
    assert item.path.is_relative_to(album.folder) and item.name == "up.jpg"
    folder = item.path.parents[1]
    studio.remove(item)
    assert not folder.exists() and not album.items
    for key in ("", "..", "../" * 10 + "etc", "0" * 31):
        with pytest.raises(NotThere):
            studio.album(key)


def test_values_out_of_range_are_refused(studio, outputs):
    for wrong in ({"saturation": -1}, {"render_factor": 3}, {"blend": 2}, {"preview_seconds": 0}, {"stabilize": 5}):
        with pytest.raises(UserError):
            settings(outputs, **wrong).recipes(studio.models, None, "film")
    for control, text in (
        ("hue-limit", "270"), ("hue-limit", "270-400:1"), ("shadows", "-1"), ("shadows", "dark"), ("gamut", "wide"),
        ("quality", "101"), ("start", "1:75"), ("shot-threshold", "0"), ("codec", "h264x"), ("crf", "99"),
        ("preset", "slowest"), ("pix-fmt", "yuv999p"), ("encoder-option", "tune=noise"), ("blend-luma", "192-64"),
        ("blend-limit", "x"),
    ):  # fmt: skip
        with pytest.raises(WrongValue) as wrong:
            settings(outputs, "a", "b", blend=0.5, more={"crf": "20", control: text}).recipes(
                studio.models, None, "film"
            )
        assert wrong.value.control == control and "\n" not in wrong.value.reason
    settings(outputs, more={"blend-limit": "x"}).recipes(studio.models, None, "film")  # of one model there is no blend
    for more, control in (({"start": "2", "end": "1"}, "end"), ({"blend-luma": "64-192"}, "blend-luma")):
        with pytest.raises(WrongValue) as wrong:
            settings(outputs, "a", "b", blend=0.5, more=more).recipes(studio.models, None, "film", Path("mask.png"))
        assert wrong.value.control == control
    with pytest.raises(UserError, match="no models"):
        Settings(()).recipes(studio.models, None, "photograph")
    with pytest.raises(UserError, match="not there"):
        Settings(("/etc/passwd",)).recipes(studio.models, None, "photograph")


@pytest.fixture(scope="module")
def run_with_snapshots(tmp_path_factory, smallest):
    run = RunFolder(tmp_path_factory.mktemp("app") / "outputs" / "c" / "1")
    config = smallest()
    run.describe(config, build_plan(config, 200))
    save_generator(build_generator("tiny", "wide", 0.1), run.path)
    save_generator(build_generator("tiny", "wide", 0.1, seed=1), run.generator("pretrained"))
    SnapshotStore(run.snapshots("gan@1")).save(3, build_generator("tiny", "wide", 0.1, seed=2))
    return run


def test_runs_and_their_snapshots_are_found_and_compared(tmp_path, run_with_snapshots, media, by_command):
    run = run_with_snapshots
    models = Models(run.path.parents[1], [], tmp_path / "picked")
    offered = {model.key: model for model in models.offered()}
    assert list(offered)[:4] == ["starter", "deoldify-artistic", "deoldify-stable", "deoldify-video"]
    assert offered[str(run)].has_vividness and not offered["starter"].has_vividness
    assert str(run.generator("pretrained")) in offered
    (snapshot,) = models.snapshots()
    studio = Studio(tmp_path / "work", models, device="cpu")
    album = studio.album(new_key())
    item = add(studio, album, media / "old.jpg")
    studio.color(album, Settings((str(run), snapshot.key), render_factor=4))
    wait(album)
    results = [task.result.read_bytes() for task in item.current]
    assert results[0] != results[1] == by_command(item.current[1].command, item.path)
    studio.color(album, Settings((str(run),), render_factor=4, vividness=0.5))
    wait(album)
    (task,) = item.current
    assert task.result.read_bytes() == by_command(task.command, item.path) not in results
    studio.close()


def test_canceled_photographs_do_not_begin(studio, album, outputs, media, monkeypatch):
    item = add(studio, album, media / "old.jpg")
    studio.close()  # so that nothing begins
    studio.color(album, settings(outputs))
    studio.cancel(item.current[0])
    assert item.current[0].status is Status.CANCELED
    assert isinstance(item.current[0], Task) and item.current[0].result is None


def test_photographs_do_not_wait_for_previews_and_films(studio, album, outputs, media, monkeypatch):
    film, go_on = add(studio, album, media / "film.mkv"), threading.Event()
    advance = Task.advance

    def held(task, done, total):
        assert not task.item.is_film or go_on.wait(timeout=60)
        advance(task, done, total)

    monkeypatch.setattr(Task, "advance", held)
    studio.color(album, settings(outputs))
    (preview,) = film.current
    studio.color_whole(preview)
    photograph = add(studio, album, media / "old.jpg")
    studio.color(album, settings(outputs))
    end = time.monotonic() + 60
    while photograph.current[0].is_open:
        assert time.monotonic() < end, photograph.current[0].status
        time.sleep(0.02)
    assert photograph.current[0].status is Status.DONE and preview.is_open
    go_on.set()
    wait(album)


def test_a_film_is_looked_at_canceled_and_gone_on_with(studio, album, outputs, media, monkeypatch, by_command):
    item = add(studio, album, media / "film.mkv")
    more = {"start": "0:00.2", "codec": "mpeg4", "crf": "4", "encoder-option": "g=9 bf=0", "audio": "none"}
    studio.color(album, settings(outputs, stabilize=1, preview_at=0.5, preview_seconds=1, more=more))
    wait(album)
    (preview,) = item.current
    assert preview.status is Status.DONE, preview.message
    with av.open(preview.shown) as shown:
        assert shown.streams.video[0].width == 2 * 96 and 20 <= sum(1 for _ in shown.decode(video=0)) <= 30
    advance = Task.advance

    def cancel(task, done, total):
        if done >= 20:
            studio.cancel(task)
        advance(task, done, total)

    monkeypatch.setattr(Task, "advance", cancel)
    studio.color_whole(preview)
    wait(album)
    whole = item.current[0]
    assert whole.status is Status.CANCELED and whole.total == 35 and whole.result is None
    monkeypatch.setattr(Task, "advance", advance)
    studio.resume(whole)
    wait(album)
    assert whole.status is Status.DONE, whole.message
    assert whole.result.read_bytes() == by_command(whole.command, item.path)
    with av.open(whole.result) as colored:
        assert colored.streams.video[0].codec_context.name == "mpeg4" and not colored.streams.audio
