import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nogan.cli import main
from nogan.common.errors import UserError
from nogan.common.lock import only_one
from nogan.data import prepare as module
from nogan.data.prepare import GRAY, Settings, convert, find_source, prepare
from nogan.data.sources import FolderSource, PreparedSource, open_source


def picture(width: int, height: int, key: int = 0) -> Image.Image:
    """Soft colored blobs under a little grain, as a photograph would have."""
    rng = np.random.default_rng(key)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 6, (height, width, 1))
    return Image.fromarray((np.asarray(blobs) + grain).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Nine usable photographs of all kinds, and six that are not."""
    turned = Image.Exif()
    turned[0x0112] = 6
    color, gray = picture(400, 300), picture(400, 300).convert("L")
    see_through = picture(300, 280).convert("RGBA")
    see_through.putalpha(200)
    files = {
        "a/plain.jpg": encoded(color, quality=95),
        "a/small.jpg": encoded(picture(120, 90), quality=95),
        "a/turned.jpg": encoded(color, exif=turned, quality=95),
        "a/wide.jpg": encoded(picture(1200, 300)),
        "b/alpha.png": encoded(see_through, "PNG"),
        "b/animated.gif": encoded(color.quantize(64), "GIF", save_all=True, append_images=[gray.convert("P")]),
        "b/cmyk.jpg": encoded(color.convert("CMYK")),
        "b/palette.png": encoded(color.quantize(128), "PNG"),
        "b/png-inside.JPEG": encoded(color, "PNG"),
        "c/cut.jpg": encoded(color)[:2000],
        "c/empty.jpg": b"",
        "c/gray-as-rgb.jpg": encoded(gray.convert("RGB"), quality=70),
        "c/gray.jpg": encoded(gray),
        "c/gray16.png": encoded(Image.fromarray((np.asarray(gray) * 257.0).astype(np.uint16)), "PNG"),
        "c/page.jpg": b"<html>404</html>" * 20,
    }
    for name, data in files.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "photos"


LEFT_OUT = [
    ("c/cut.jpg", "truncated"),
    ("c/empty.jpg", "zero bytes"),
    ("c/gray-as-rgb.jpg", GRAY),
    ("c/gray.jpg", GRAY),
    ("c/gray16.png", GRAY),
    ("c/page.jpg", "not an image"),
]


def test_every_photograph_is_kept_or_listed_with_its_reason(mixed, tmp_path):
    told = []
    report = prepare(
        FolderSource(mixed), tmp_path / "copy", Settings(shard=4), workers=1, progress=lambda *x: told.append(x)
    )
    assert report.left_out == LEFT_OUT and report.kept == 9
    assert report.reasons() == {GRAY: 3, "truncated": 1, "zero bytes": 1, "not an image": 1}
    assert told[0] == (0, 15) and told[-1] == (15, 15)
    lines = (tmp_path / "copy/left_out.tsv").read_text().splitlines()
    assert lines == [f"{name}\t{reason}" for name, reason in LEFT_OUT]
    copy = open_source("imagenet", tmp_path / "copy")
    names = [copy.name(index) for index in range(len(copy))]
    assert names == [
        name for name in sorted(p.relative_to(mixed).as_posix() for p in mixed.rglob("*.*")) if name[0] in "ab"
    ]


def test_the_copy_holds_jpeg_of_shorter_side_256_with_full_chroma(mixed, tmp_path):
    prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    copy = PreparedSource(tmp_path / "copy")
    sizes = {}
    for index in range(len(copy)):
        image = Image.open(io.BytesIO(copy.read(index)))
        sizes[copy.name(index)] = image.size
        assert image.format == "JPEG" and image.mode == "RGB"
        assert all(component[1:3] == (1, 1) for component in image.layer)  # sampling factors of Y, Cb, Cr
    assert sizes["a/plain.jpg"] == sizes["b/cmyk.jpg"] == sizes["b/animated.gif"] == (341, 256)
    assert sizes["a/turned.jpg"] == (256, 341)
    assert sizes["a/small.jpg"] == (120, 90)
    assert sizes["a/wide.jpg"] == (512, 256)
    original = np.asarray(picture(400, 300).resize((341, 256), Image.Resampling.BICUBIC)).astype(int)
    for name in ("a/plain.jpg", "b/png-inside.JPEG"):
        kept = copy.load(list(sizes).index(name), 256)
        assert np.abs(kept - original).mean() < 3


def test_quality_decides_the_size_of_the_file():
    data = encoded(picture(400, 300), quality=98)
    small, large = (len(convert(data, Settings(quality=quality))) for quality in (50, 95))
    assert small < 0.6 * large


def test_datasets_opens_the_copy_too(mixed, tmp_path):
    import datasets

    prepare(FolderSource(mixed), tmp_path / "copy", Settings(shard=4), workers=1)
    rows = datasets.load_from_disk(tmp_path / "copy")
    assert len(rows) == 9 and rows[0]["name"] == "a/plain.jpg" and rows[0]["image"].size == (341, 256)


def test_record_batches_are_large_but_not_in_bytes(many, tmp_path, monkeypatch):
    def batches(copy: Path) -> list[int]:
        (shard,) = copy.glob("data-*.arrow")
        return [batch.num_rows for batch in pa.ipc.open_stream(shard.read_bytes())]

    import pyarrow as pa

    prepare(FolderSource(many), tmp_path / "usual", workers=1)
    assert batches(tmp_path / "usual") == [60]
    monkeypatch.setattr(module, "BATCH_ROWS", 25)
    prepare(FolderSource(many), tmp_path / "by-rows", workers=1)
    assert batches(tmp_path / "by-rows") == [25, 25, 10]
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    prepare(FolderSource(many), tmp_path / "by-bytes", workers=1)
    assert batches(tmp_path / "by-bytes") == [1] * 60
    assert contents(tmp_path / "by-bytes") == contents(tmp_path / "by-rows") == contents(tmp_path / "usual")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
def test_names_that_are_no_utf8(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, data in ((b"caf\xe9.jpg", encoded(picture(60, 40))), (b"na\xefve.jpg", b"")):
        Path(os.fsdecode(os.fsencode(tmp_path / "photos") + b"/" + name)).write_bytes(data)
    report = prepare(FolderSource(tmp_path / "photos"), tmp_path / "copy", workers=1)
    assert report.left_out == [("na\udcefve.jpg", "zero bytes")]
    assert (tmp_path / "copy/left_out.tsv").read_bytes() == b"na\xefve.jpg\tzero bytes\n"
    assert PreparedSource(tmp_path / "copy").name(0) == "caf\ufffd.jpg"


def test_a_copy_of_a_copy_and_of_the_hub(mixed, tmp_path, monkeypatch):
    prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    again = find_source(str(tmp_path / "copy"))
    assert isinstance(again, PreparedSource)
    assert prepare(again, tmp_path / "smaller", Settings(size=64), workers=1).kept == 9
    assert min(PreparedSource(tmp_path / "smaller").load(0, 64).shape[:2]) == 64
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    files = [again.read(0), b""]
    local = datasets.Dataset.from_dict(
        {"image": [{"bytes": data, "path": None} for data in files], "label": [0, 1]}, features=features
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: local)
    report = prepare(find_source("hub"), tmp_path / "hub", workers=1)
    assert report.kept == 1 and report.left_out == [("row 1", "zero bytes")]


# ------------------------------------------------------------------------------------------------ interruptions


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for key in range(60):
        (folder / f"{key:03d}.jpg").write_bytes(encoded(picture(480, 360, key % 10), quality=95))
    return folder


def contents(copy: Path) -> list[tuple[str, bytes]]:
    source = PreparedSource(copy)
    return [(source.name(index), source.read(index)) for index in range(len(source))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL and /proc")
def test_after_a_kill_it_goes_on_where_it_stopped(many, tmp_path):
    copy = tmp_path / "copy"
    command = [sys.executable, "-m", "nogan.cli", "prepare", str(many), str(copy), "--shard", "3", "--workers", "2"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    finished = wait_for(lambda: len(done := sorted(copy.glob("data-*.arrow"))) >= 4 and done)
    workers = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert len(sorted(copy.glob("data-*.arrow"))) < 20 and not (copy / "state.json").exists()
    assert workers and wait_for(lambda: not any(alive(pid) for pid in workers)), "workers outlived their parent"
    with pytest.raises(UserError, match="half prepared"):
        open_source("folder", copy)
    written = {path.name: path.stat().st_mtime_ns for path in finished}

    report = prepare(FolderSource(many), copy, Settings(shard=3), workers=1)
    assert report.kept == 60
    assert {path.name: path.stat().st_mtime_ns for path in finished} == written
    assert not [path.name for path in copy.iterdir() if path.name.startswith(".")]
    prepare(FolderSource(many), tmp_path / "whole", Settings(shard=3), workers=1)
    assert contents(copy) == contents(tmp_path / "whole")


def wait_for(condition, seconds: float = 30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_a_killed_worker_is_said_in_one_line_and_loses_nothing(many, tmp_path):
    import multiprocessing

    def kill_one(done: int, total: int) -> None:
        if done > 6 and multiprocessing.active_children():
            multiprocessing.active_children()[0].kill()

    with pytest.raises(UserError, match="same command again"):
        prepare(FolderSource(many), tmp_path / "copy", Settings(shard=3), workers=2, progress=kill_one)
    told = []
    report = prepare(FolderSource(many), tmp_path / "copy", Settings(shard=3), 1, lambda *x: told.append(x))
    assert report.kept == 60 and told[0][0] > 0


def test_a_shard_cut_short_leaves_no_shard(many, tmp_path, monkeypatch):
    def stop(job, source, tick):
        if job.number == 2:
            monkeypatch.setattr(FolderSource, "read", interrupted)
        write(job, source, tick)

    def interrupted(self, index):
        raise KeyboardInterrupt

    write, read = module._write_shard, FolderSource.read
    monkeypatch.setattr(module, "_write_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(FolderSource(many), tmp_path / "copy", Settings(shard=5), workers=1)
    assert len(list((tmp_path / "copy").glob("*.arrow"))) == 2
    monkeypatch.setattr(FolderSource, "read", read)
    monkeypatch.setattr(module, "_write_shard", write)
    assert prepare(FolderSource(many), tmp_path / "copy", Settings(shard=5), workers=1).kept == 60


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_that_goes_away_loses_no_photographs(many, tmp_path, workers):
    source, away = tmp_path / "photos", tmp_path / "away"
    shutil.copytree(many, source)

    def unmount(done: int, total: int) -> None:
        if done >= 20 and source.exists():
            source.rename(away)

    with pytest.raises(UserError, match=r"cannot read .*/photos/\d+\.jpg of SRC: No such file.*same command") as error:
        prepare(FolderSource(source), tmp_path / "copy", Settings(shard=3), workers, unmount)
    assert len(str(error.value).splitlines()) == 1
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").glob("data-*.arrow")}
    assert 0 < len(finished) < 20 and not (tmp_path / "copy/state.json").exists()
    away.rename(source)
    report = prepare(FolderSource(source), tmp_path / "copy", Settings(shard=3), workers)
    assert report.kept == 60 and report.left_out == []
    assert finished == {path: path.stat().st_mtime_ns for path in finished}


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM])
def test_a_file_that_the_disk_does_not_give_is_not_left_out(mixed, tmp_path, monkeypatch, code):
    def fail(path: Path) -> bytes:
        if path.name == "cmyk.jpg":
            raise OSError(code, os.strerror(code), str(path))
        return read(path)

    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UserError, match=f"b/cmyk.jpg of SRC: {os.strerror(code)}"):
        prepare(FolderSource(mixed), tmp_path / "copy", Settings(shard=4), workers=1)
    assert [path.name for path in (tmp_path / "copy").glob("*.arrow")] == ["data-00000-of-00004.arrow"]
    (mixed / "b/cmyk.jpg").write_bytes(b"")  # as the message says, for one that is lost
    monkeypatch.setattr(Path, "read_bytes", read)
    report = prepare(FolderSource(mixed), tmp_path / "copy", Settings(shard=4), workers=1)
    assert report.kept == 8 and ("b/cmyk.jpg", "zero bytes") in report.left_out


def test_a_file_that_may_not_be_read_is_left_out(mixed, tmp_path, monkeypatch):
    def refuse(path: Path) -> bytes:
        if path.name == "cmyk.jpg":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", refuse)
    report = prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    assert report.kept == 8 and ("b/cmyk.jpg", "Permission denied") in report.left_out


def test_a_finished_copy_is_only_reported_again(mixed, tmp_path):
    first = prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").glob("*.arrow")}
    assert prepare(FolderSource(mixed), tmp_path / "copy", workers=1) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


@pytest.mark.parametrize("content", [b"", bytes(90), b'{"kept": 5, "left'], ids=["empty", "zeros", "cut"])
def test_a_shard_whose_notes_a_power_cut_took_is_made_again(mixed, tmp_path, content):
    copy = tmp_path / "copy"
    first = prepare(FolderSource(mixed), copy, Settings(shard=5), workers=1)
    rows, stamps = contents(copy), {path: path.stat().st_mtime_ns for path in copy.glob("data-*.arrow")}
    (copy / "data-00001-of-00003.json").write_bytes(content)
    assert prepare(FolderSource(mixed), copy, Settings(shard=5), workers=1) == first
    assert contents(copy) == rows
    changed = [path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert changed == ["data-00001-of-00003.arrow"]


def test_a_damaged_copy_is_found_and_repaired(mixed, tmp_path, capsys):
    copy = tmp_path / "copy"
    command = ["prepare", str(mixed), str(copy), "--shard", "5", "--workers", "1"]
    assert main(command) == 0 and main(["prepare", "--check", str(copy)]) == 0
    rows, shard = contents(copy), copy / "data-00001-of-00003.arrow"
    whole = shard.read_bytes()
    assert "is whole: 9 photographs" in capsys.readouterr().out
    damage = {
        "damaged": lambda: shard.write_bytes(whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:]),
        "missing": shard.unlink,
    }
    for said, spoil in damage.items():
        spoil()
        assert main(["prepare", "--check", str(copy)]) == 1
        assert f"{shard.name} is {said}; to repair it: nogan prepare SRC {copy}" in capsys.readouterr().err
        assert main(command) == 0 and contents(copy) == rows and shard.read_bytes() == whole
        assert ("damaged shards made again: 1" in capsys.readouterr().out) == (said == "damaged")


def test_damaged_offsets_are_an_error_and_do_not_end_the_process(mixed, tmp_path):
    prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    (shard,) = (tmp_path / "copy").glob("*.arrow")
    whole = shard.read_bytes()
    place = whole.index(np.array([0, len(PreparedSource(tmp_path / "copy").read(0))], "<i4").tobytes())
    shard.write_bytes(whole[: place + 4] + np.array([2**31 - 1], "<i4").tobytes() + whole[place + 8 :])
    with pytest.raises(UserError, match=r"not a prepared copy that can be read.*repaired by"):
        PreparedSource(tmp_path / "copy")


def test_a_record_that_a_power_cut_took_is_written_again_where_nothing_is_lost(mixed, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "prepare.json").touch()
    (copy / ".nogan-0123456789abcdef0123456789abcdef.json").touch()
    assert prepare(FolderSource(mixed), copy, workers=1).kept == 9
    assert sorted(path.name for path in copy.glob(".*")) == []
    (copy / "prepare.json").write_bytes(b"")
    with pytest.raises(UserError, match=r"prepare\.json cannot be read .*data-00000-of-00001\.arrow.*another") as error:
        prepare(FolderSource(mixed), copy, workers=1)
    assert len(str(error.value).splitlines()) == 1 and open_source("folder", copy)


# ------------------------------------------------------------------------------------------------ mistakes


def test_other_settings_or_another_source_are_not_mixed_in(mixed, tmp_path):
    prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    with pytest.raises(UserError, match=r"other quality \(90, now 80\)"):
        prepare(FolderSource(mixed), tmp_path / "copy", Settings(quality=80), workers=1)
    (mixed / "a/plain.jpg").rename(mixed / "a/renamed.jpg")
    with pytest.raises(UserError, match="other names"):
        prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    (mixed / "a/renamed.jpg").unlink()
    with pytest.raises(UserError, match=r"other photographs \(15, now 14\)"):
        prepare(FolderSource(mixed), tmp_path / "copy", workers=1)


def test_a_folder_in_use_for_something_else_is_left_alone(mixed, tmp_path):
    with pytest.raises(UserError, match="expected a new or empty folder"):
        prepare(FolderSource(mixed), mixed, workers=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"DEST .*file: cannot be written to"):
        prepare(FolderSource(mixed), tmp_path / "file", workers=1)


@pytest.mark.skipif(sys.platform == "win32", reason="no advisory locks")
def test_two_at_once_are_refused(mixed, tmp_path):
    with only_one(tmp_path / "copy"), pytest.raises(UserError, match=r"DEST .*copy: another process is using it"):
        prepare(FolderSource(mixed), tmp_path / "copy", workers=1)


def test_nothing_usable_is_an_error(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 1 photographs.*left_out\.tsv"):
        prepare(FolderSource(tmp_path / "photos"), tmp_path / "copy", workers=1)
    with pytest.raises(UserError, match="half prepared"):
        open_source("folder", tmp_path / "copy")


def test_a_full_disk_is_said_in_one_line(mixed, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_shard", full)
    with pytest.raises(UserError, match="No space left on device; finished shards are kept"):
        prepare(FolderSource(mixed), tmp_path / "copy", workers=1)
    monkeypatch.setattr(module, "_write_text", full)
    with pytest.raises(UserError, match="No space left on device"):
        prepare(FolderSource(mixed), tmp_path / "other", workers=1)


def test_the_command_line_reports_what_it_did(mixed, tmp_path, capsys):
    assert main(["prepare", str(mixed), str(tmp_path / "copy"), "--workers", "1", "--size", "64"]) == 0
    out = capsys.readouterr().out
    assert "9 of 15 photographs prepared" in out and f"data.path={tmp_path / 'copy'}" in out
    assert "left out, gray photograph: 3" in out
    for name, _ in LEFT_OUT:
        assert name in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "copy"], "SRC nowhere is not there"),
        ([".", "copy"], "holds no photographs"),
        ([".", "copy", "--quality", "101"], "--quality 101 is out of range; expected 1 to 100"),
        ([".", "copy", "--workers", "0"], "--workers 0 is out of range"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["prepare", *arguments])
    except SystemExit as stop:  # argparse's
        code = stop.code
    error = capsys.readouterr().err
    assert code in (1, 2) and message in error and len(error.splitlines()) == 1
