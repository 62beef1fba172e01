"""Measuring films: on small ones whose shots, flicker and errors are known."""

import csv
import json

import av
import cv2
import numpy as np
import pytest

from nogan.colorize.film.flicker import flicker
from nogan.commands import run
from nogan.common.errors import UserError
from nogan.evaluation.film import measure_films, write_films
from nogan.report.film_page import write_film_page


def wall(seed, width=160, height=96):
    small = np.random.default_rng(seed).uniform(30, 220, (8, 12, 3)).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def pan(seed, frames):
    """A camera that moves one pixel a frame over a colored wall."""
    return [np.ascontiguousarray(wall(seed)[:64, n : n + 96]) for n in range(frames)]


def write(path, frames, codec="ffv1", pixel_format="bgr0"):
    """A film without loss."""
    with av.open(path, "w") as film:
        video = film.add_stream(codec, rate=10)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pixel_format
        for frame in frames:
            film.mux(video.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        film.mux(video.encode())
    return path


@pytest.fixture(scope="module")
def two_shots():
    return pan(1, 9) + pan(2, 6)


@pytest.fixture(scope="module")
def truth(two_shots, tmp_path_factory):
    return write(tmp_path_factory.mktemp("film") / "truth.mkv", two_shots)


@pytest.fixture(scope="module")
def gray(two_shots, tmp_path_factory):
    frames = [cv2.cvtColor(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for f in two_shots]
    return write(tmp_path_factory.mktemp("film") / "gray.mkv", frames)


def test_a_copy_and_a_gray_film_beside_the_truth(truth, gray, two_shots):
    copy, without, itself = measure_films([truth, gray], truth)
    assert [(shot.first, shot.frames) for shot in copy.shots] == [(0, 9), (9, 6)]
    assert [(shot.first, shot.frames) for shot in without.shots] == [(0, 9), (9, 6)]
    assert copy.means["psnr"] == 100
    assert copy.means["ciede2000"] == 0 < 5 < without.means["ciede2000"]
    assert copy.means["wrong_strong"] == 0
    assert without.means["cf"] == pytest.approx(0, abs=0.01)
    assert copy.means["cf"] > 20
    assert without.means["psnr"] < 25
    assert "psnr" not in itself.means
    assert itself.means["cf"] == copy.means["cf"]
    assert not copy.remarks
    assert copy.cdc == pytest.approx({str(step): value for step, value in flicker(two_shots).cdc.items()})
    assert copy.shots[1].cdc == pytest.approx({str(s): v for s, v in flicker(two_shots[9:]).cdc.items()})
    assert copy.shots[1].warp_error == pytest.approx(flicker(two_shots[9:]).warp_error)


def test_colors_that_jump_flicker_and_a_cut_does_not_count(two_shots, truth, tmp_path):
    shift = [np.roll(frame, number % 2, axis=2) for number, frame in enumerate(two_shots)]
    jumping, steady = measure_films([write(tmp_path / "jumping.mkv", shift)], truth)
    assert jumping.warp_error > 5 * steady.warp_error
    assert jumping.series["warp_error"][9] == 0  # the first of a shot has none before it
    assert jumping.series["psnr"][0] == 100 > jumping.series["psnr"][1]
    assert "its luma is not the reference's" in " ".join(jumping.remarks)


def test_what_does_not_fit_the_reference(two_shots, truth, tmp_path):
    short, _ = measure_films([write(tmp_path / "short.mkv", two_shots[:-2])], truth)
    assert short.frames == 13
    assert short.remarks == ["--reference has 2 frames more; the first 13 were compared"]
    long, _ = measure_films([write(tmp_path / "long.mkv", [*two_shots, two_shots[-1]])], truth)
    assert long.frames == 15
    assert long.remarks == ["--reference has 1 frame fewer; the first 15 were compared"]
    small = write(tmp_path / "small.mkv", [frame[:48] for frame in two_shots])
    with pytest.raises(UserError, match=r"small\.mkv: 96 x 48 px, and --reference .*truth\.mkv 96 x 64: expected the"):
        measure_films([small], truth)


def test_files_and_page(truth, gray, tmp_path, open_page):
    films = measure_films([gray], truth)
    write_films(films, tmp_path)
    saved = json.loads((tmp_path / "film.json").read_text())["films"]
    assert [film["name"] for film in saved] == ["gray.mkv", "truth.mkv (truth)"]
    assert saved[0]["means"] == films[0].means
    with (tmp_path / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["shot"] for row in rows[:15]] == ["1"] * 9 + ["2"] * 6
    assert [float(row["cf"]) for row in rows[15:]] == films[1].series["cf"]
    page = open_page(write_film_page(films, tmp_path / "film.html", truth=True), viewport={"width": 390, "height": 800})
    assert page.locator("#table tbody tr").count() == 2
    assert page.locator("#panels svg[aria-label='CF over time'] path.line").count() == 4  # two shots each
    assert page.locator(".shot img").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    chart = page.locator("#panels svg[aria-label='CF over time']")
    chart.focus()
    page.keyboard.press("End")
    assert "second 1.4" in page.locator(".tip:visible").inner_text()


def test_without_a_reference_only_what_needs_none(gray):
    (alone,) = measure_films([gray], None)
    assert set(alone.means) == {"cf", "unexplained"}
    assert alone.warp_error is not None


def test_the_command(gray, truth, tmp_path, capsys):
    assert run("evaluate", [str(gray), "--reference", str(truth), "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "gray.mkv" in shown
    assert "warp" in shown
    assert (tmp_path / "out" / "film.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{film}", "--data", "photos"], "--data photos: is for photographs; films have --reference FILM"),
        (["run", "--reference", "truth.mkv", "--data", "photos"], "is for films; photographs have --data DIR"),
        (["run"], "--data DIR is missing"),
    ],
)
def test_options_of_the_other_kind(gray, words, complaint, capsys):
    with pytest.raises(SystemExit):
        run("evaluate", [*(word.format(film=gray) for word in words), "-o", "out"])
    assert complaint in capsys.readouterr().err
