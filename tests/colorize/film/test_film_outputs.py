"""What a film may come from and become: numbered pictures, animations, Y4M and pipes."""

import contextlib
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from media import make_film, moving_scene, teal_and_orange
from PIL import Image

from nogan.cli import main
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import PIPE, FilmOptions, colorize_film
from nogan.colorize.jobs import plan_jobs
from nogan.common.errors import UserError

COLORIZER = Colorizer([(teal_and_orange, 1.0)])
LUMA = np.array([0.299, 0.587, 0.114])


def color(source, target, progress=lambda done, total: None, **options):
    return colorize_film(COLORIZER, source, target, FilmOptions(4, **options), progress=progress)


def rgb_of(path):
    with av.open(path) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def reference(tmp_path, source, pix_fmt="yuv420p"):
    """What players show of the film as FFV1."""
    color(source, tmp_path / "reference.mkv", codec="ffv1", pix_fmt=pix_fmt)
    return rgb_of(tmp_path / "reference.mkv")


def apart(pictures, others):
    """The mean distance in levels of pictures from others."""
    return np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(pictures, others, strict=True)])


@pytest.mark.parametrize(
    ("suffix", "mode", "distance"), [("png", "RGB", 1.0), ("tif", "RGB", 1.0), ("jpg", "RGB", 3.0), ("dpx", None, 1.0)]
)
def test_a_film_becomes_numbered_pictures(tmp_path, suffix, mode, distance):
    make_film(tmp_path / "wall.mkv", frames=4, sound="flac", matrix=6)
    (tmp_path / "out").mkdir()
    report = color(tmp_path / "wall.mkv", tmp_path / "out" / f"frame_%04d.{suffix}")
    names = [f"frame_{number:04d}.{suffix}" for number in range(1, 5)]
    assert report.frames == 4 and sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert report.remarks == ("its sound is left out: pictures have none",)
    found = []
    for name in names:
        if mode:
            with Image.open(tmp_path / "out" / name) as picture:
                assert picture.mode == mode
                found.append(np.asarray(picture))
        else:
            found += rgb_of(tmp_path / "out" / name)
    assert apart(found, reference(tmp_path, tmp_path / "wall.mkv", "yuv444p")) < distance


def test_numbered_pictures_keep_their_numbers_and_their_luma(tmp_path):
    for number, gray in enumerate(moving_scene(8, 96, 64), 98):
        Image.fromarray(gray).save(tmp_path / f"scan{number}.png")
    source, target = tmp_path / "scan%d.png", tmp_path / "color%04d.png"
    color(source, target, fps=Fraction(16), start=Fraction(2, 16), end=Fraction(5, 16))
    names = sorted(path.name for path in tmp_path.glob("color*"))
    assert names == ["color0100.png", "color0101.png", "color0102.png"]
    for number in (100, 101, 102):
        before = np.asarray(Image.open(tmp_path / f"scan{number}.png")).astype(float)
        after = np.asarray(Image.open(tmp_path / f"color0{number}.png")).astype(float)
        assert np.abs(after @ LUMA - before).max() <= 1.2
        assert (after[..., 0] - after[..., 2]).std() > 20


def test_a_sequence_goes_on_with_the_pictures_that_are_there_and_whole(tmp_path):
    source, target = tmp_path / "wall.mkv", tmp_path / "f%03d.png"
    make_film(source, frames=30, codec="ffv1")

    def interrupt(done, total):
        if done >= 24:
            raise KeyboardInterrupt

    options = {"segment_frames": 6}
    with pytest.raises(KeyboardInterrupt):
        color(source, target, interrupt, **options)
    (tmp_path / "f010.png").write_bytes((tmp_path / "f010.png").read_bytes()[:50])  # torn
    kept = (tmp_path / "f003.png").stat().st_mtime_ns
    (job,), _ = plan_jobs([str(source)], str(target))
    assert not job.is_done
    report = color(source, target, **options)
    assert report.resumed_at == 6 and report.frames == 30 and job.is_done
    assert (tmp_path / "f003.png").stat().st_mtime_ns == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"f{n:03d}.png" for n in range(1, 31)), "wall.mkv"]
    color(source, tmp_path / "whole%03d.png", **options)
    for number in range(1, 31):
        one, other = (tmp_path / f"{name}{number:03d}.png" for name in ("f", "whole"))
        assert one.read_bytes() == other.read_bytes()
    report = color(source, target, end=Fraction(1, 5), **options)
    assert report.frames == 5 and any("25 pictures with other numbers" in remark for remark in report.remarks)


@pytest.mark.parametrize(("suffix", "distance"), [("y4m", 0.01), ("apng", 1.0), ("webp", 8.0), ("gif", 2.0)])
def test_a_film_becomes_an_animation(tmp_path, suffix, distance):
    source, target = tmp_path / "wall.mkv", tmp_path / f"out.{suffix}"
    make_film(source, frames=6, sound="flac", subtitles=True, matrix=6)
    report = color(source, target, segment_frames=4)
    assert report.frames == 6 and len(report.remarks) == 1 and "sound and subtitles are left out" in report.remarks[0]
    if suffix == "y4m":
        found = rgb_of(target)
        with av.open(target) as film:
            assert film.streams.video[0].average_rate == 25
    else:
        with Image.open(target, formats=["PNG" if suffix == "apng" else suffix.upper()]) as image:
            assert image.n_frames == 6 and image.info.get("loop", 0) == 0
            found = []
            for number in range(6):
                image.seek(number)
                found.append(np.asarray(image.convert("RGB")))
                assert image.info["duration"] == 40
    assert apart(found, reference(tmp_path, source, "yuv420p" if suffix == "y4m" else "yuv444p")) < distance


@pytest.mark.parametrize(
    ("target", "options", "reason"),
    [
        ("out.png", {}, r"a film is no single picture; numbered ones are %04d\.png"),
        ("out%04d.bmp", {}, "numbered pictures are .dpx, .jpeg, "),
        ("out%04d.png", {"codec": "libx265"}, "--codec libx265: .png pictures have an encoder of their own"),
        ("out.gif", {"crf": 20}, "--crf 20: .gif files have an encoder of their own"),
    ],
)
def test_what_a_kind_does_not_take_is_refused(tmp_path, target, options, reason):
    make_film(tmp_path / "wall.mkv", frames=2)
    with pytest.raises(UserError, match=reason):
        color(tmp_path / "wall.mkv", tmp_path / target, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["wall.mkv"]


# --- pipes ------------------------------------------------------------------------------------------------------------


def y4m(path, frames=6):
    with av.open(path, "w") as film:
        video = film.add_stream("rawvideo", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for gray in moving_scene(frames, 96, 64):
            film.mux(video.encode(av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p")))
        film.mux(video.encode())
    return path


@contextlib.contextmanager
def standing_for(number, path, flags):
    """A file in place of stdin (0) or stdout (1) of this process."""
    before, file = os.dup(number), os.open(path, flags)
    os.dup2(file, number)
    try:
        yield
    finally:
        os.dup2(before, number)
        os.close(before)
        os.close(file)


AS_FROM_THE_SHELL = """
import sys
from media import teal_and_orange
from nogan.cli import main
from nogan.colorize import batch
from nogan.colorize.colorizer import Colorizer

network = Colorizer([(teal_and_orange, 1.0)])
Colorizer.load = classmethod(lambda cls, *arguments, **options: network)
batch._not_of_photographs = lambda checkpoints: []
sys.exit(main(["colorize", *sys.argv[1:]]))
"""
"""The command, all but PyTorch, which would cost seconds."""


@pytest.fixture
def nogan(tmp_path):
    """``nogan("-", "-o", "-")``: the command as a process, with pipes."""
    started = []

    def run(*arguments):
        command = [sys.executable, "-c", AS_FROM_THE_SHELL, *map(str, arguments), "--render-factor", "4"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=-1, stdout=-1, stderr=-1))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait(timeout=60)


def test_a_film_goes_through_pipes_and_all_words_to_stderr(tmp_path, nogan):
    process = nogan("-", "-o", "-", "--start", "0.04")
    out, said = process.communicate(y4m(tmp_path / "wall.y4m").read_bytes(), timeout=200)
    assert process.returncode == 0, said
    assert b"5 frames" in said and b"Colorized 1 of 1" in said and out.startswith(b"YUV4MPEG2 W96 H64 F25:1")
    (tmp_path / "piped.y4m").write_bytes(out)
    assert apart(rgb_of(tmp_path / "piped.y4m"), reference(tmp_path, tmp_path / "wall.y4m")[1:]) == 0


def test_a_pipe_that_is_closed_ends_it_without_a_word(tmp_path, nogan):
    y4m(tmp_path / "wall.y4m", frames=200)
    process = nogan("wall.y4m", "-o", "-")
    assert process.stdout.read(2000).startswith(b"YUV4MPEG2")
    process.stdout.close()
    process.stdin.close()
    said = process.stderr.read().decode()
    assert process.wait(timeout=200) == 1 and "Traceback" not in said and "failed" not in said


def test_a_film_goes_from_a_pipe_to_a_file_and_from_a_file_to_a_pipe(tmp_path):
    source = y4m(tmp_path / "wall.y4m")
    with standing_for(0, source, os.O_RDONLY):
        report = color(PIPE, tmp_path / "out.mkv", codec="ffv1")
    assert report.frames == 6 and apart(rgb_of(tmp_path / "out.mkv"), reference(tmp_path, source)) == 0
    make_film(tmp_path / "wall.mkv", frames=6, sound="flac")
    with standing_for(1, tmp_path / "out.y4m", os.O_WRONLY | os.O_CREAT):
        report = color(tmp_path / "wall.mkv", PIPE)
    assert report.remarks == ("its sound is left out: a pipe carries pictures only",)
    assert apart(rgb_of(tmp_path / "out.y4m"), reference(tmp_path, tmp_path / "wall.mkv")) == 0


@pytest.mark.parametrize("content", ["", "not a film at all\n" * 100])
def test_what_comes_through_a_pipe_and_is_no_y4m_is_one_line(tmp_path, content):
    (tmp_path / "letter").write_text(content)
    expected = r"-: what comes through the pipe is no Y4M; expected ffmpeg -i FILM -f yuv4mpegpipe - \| nogan"
    with standing_for(0, tmp_path / "letter", os.O_RDONLY), pytest.raises(UserError, match=expected):
        color(PIPE, tmp_path / "out.mkv")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stabilize": 1.0}, "--stabilize finds the shots first"),
        ({"render_factor": "auto"}, "--render-factor auto looks"),
    ],
)
def test_what_needs_the_whole_film_is_refused_of_a_pipe(tmp_path, options, reason):
    with pytest.raises(UserError, match=reason):
        colorize_film(COLORIZER, PIPE, tmp_path / "out.mkv", FilmOptions(**options))


@pytest.mark.parametrize(
    ("inputs", "output", "reason"),
    [
        (["-"], None, "expected -o FILE, or -o - for a pipe"),
        (["-", "wall.mkv"], "out.mkv", "expected no further input"),
        (["a.mkv", "b.mkv"], "-", "a pipe takes one film"),
        (["a.jpg"], "-", "a pipe takes one film"),
        (["a.mkv", "b.mkv"], "f%04d.png", "numbered pictures are of one film"),
    ],
)
def test_one_film_goes_into_a_pipe_or_a_sequence(inputs, output, reason):
    with pytest.raises(UserError, match=reason):
        plan_jobs(inputs, output)


def test_only_what_can_go_on_says_so_when_it_is_interrupted(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("nogan.commands.colorize.main", interrupted)
    assert main(["colorize", "-", "-o", "out.mkv"]) == 130 == main(["colorize", "in.mkv", "-o", "out.mkv"])
    piped, other = capsys.readouterr().err.splitlines()
    assert piped.endswith("interrupted") and other.endswith("interrupted; the same command goes on from here")
