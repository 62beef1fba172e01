"""Kinds of films: raw streams, animations, numbered pictures."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media import moving_scene, teal_and_orange
from PIL import Image

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film
from nogan.colorize.jobs import plan_jobs
from nogan.common.errors import UserError

COLORIZER = Colorizer([(teal_and_orange, 1.0)])


def write(path, codec, pixel_format, frames=6):
    with av.open(path, "w") as film:
        video = film.add_stream(codec, rate=25, options={"crf": "4"} if codec == "libx264" else {})
        video.width, video.height, video.pix_fmt = 96, 64, pixel_format
        for gray in moving_scene(frames, 96, 64):
            film.mux(video.encode(av.VideoFrame.from_ndarray(gray, "gray").reformat(format=pixel_format)))
        film.mux(video.encode())


def pictures(frames=6):
    return [Image.fromarray(np.repeat(gray[..., None], 3, axis=-1)) for gray in moving_scene(frames, 96, 64)]


def result_of(source, target, **options):
    (job,), _ = plan_jobs([str(source)], str(target), fps=options.get("fps"))
    assert job.is_film
    report = colorize_film(COLORIZER, job.source, job.target, FilmOptions(4, codec="ffv1", **options))
    with av.open(job.target) as film:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    assert report.frames == len(frames)
    return frames


def test_raw_streams_and_old_containers_are_films(tmp_path):
    for name, codec, pixel_format in (
        ("wall.y4m", "rawvideo", "yuv420p"),
        ("wall.rm", "rv20", "yuv420p"),
        ("wall.mjpg", "mjpeg", "yuvj420p"),
        ("wall.mjpeg", "", ""),
        ("wall.h264", "libx264", "yuv420p"),
        ("wall.hevc", "libx265", "yuv420p"),
        ("wall.apng", "apng", "rgb24"),
        ("wall.gif", "gif", "rgb8"),
    ):
        if codec:
            write(tmp_path / name, codec, pixel_format)
        else:  # as cameras and ffmpeg write it: JPEG files one behind the other
            with (tmp_path / name).open("wb") as file:
                for picture in pictures():
                    picture.save(file, "JPEG")
        frames = result_of(tmp_path / name, tmp_path / f"{name}.mkv")
        assert len(frames) == 6, name
        steps = np.diff([time for time, _ in frames])
        assert steps.max() < 1.6 * steps.min(), name
        colors = frames[0][1].astype(int)
        assert (colors[..., 0] - colors[..., 2]).std() > 20, name


def test_an_animated_webp_is_a_film_and_a_still_one_a_photograph(tmp_path):
    first, *others = pictures()
    first.save(tmp_path / "moving.webp", save_all=True, append_images=others, duration=[40, 80, 40, 40, 40, 40])
    first.save(tmp_path / "still.webp")
    jobs, _ = plan_jobs([str(tmp_path)], str(tmp_path / "out"))
    assert [(job.source.name, job.target.name, job.is_film) for job in jobs] == [
        ("moving.webp", "moving.mkv", True), ("still.webp", "still.webp", False),
    ]  # fmt: skip
    frames = result_of(tmp_path / "moving.webp", tmp_path / "out.mkv")
    assert [time for time, _ in frames] == pytest.approx([0, 0.04, 0.12, 0.16, 0.2, 0.24])


@pytest.mark.parametrize("folder", [True, False])
def test_numbered_pictures_are_a_film(tmp_path, folder):
    (tmp_path / "scan").mkdir()
    for number, picture in enumerate(pictures(), 7):
        picture.save(tmp_path / "scan" / f"frame_{number:04d}.png")
    source = tmp_path / "scan" if folder else tmp_path / "scan" / "frame_%04d.png"
    frames = result_of(source, tmp_path / "out.mkv", fps=Fraction(16))
    assert [time for time, _ in frames] == pytest.approx([number / 16 for number in range(6)], abs=0.001)
    (tmp_path / "scan" / "frame_0009.png").unlink()
    with pytest.raises(UserError, match=r"frame_0009\.png is missing"):
        plan_jobs([str(source)], str(tmp_path / "out.mkv"), fps=Fraction(16))


def test_folders_without_one_series_of_pictures_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--fps makes one film .* found: none"):
        plan_jobs([str(tmp_path)], str(tmp_path / "out.mkv"), fps=Fraction(16))
    for name in ("a_1.png", "a_2.png", "b_1.png"):
        pictures(1)[0].save(tmp_path / name)
    with pytest.raises(UserError, match=r"found: a_….png, b_….png"):
        plan_jobs([str(tmp_path)], str(tmp_path / "out.mkv"), fps=Fraction(16))
    with pytest.raises(UserError, match=r"c_%04d\.png: no such pictures"):
        plan_jobs([str(tmp_path / "c_%04d.png")], str(tmp_path / "out.mkv"))
