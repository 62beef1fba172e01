"""What a user may ask of a film: a part of it, whole frames of fields, and options of the encoder."""

import contextlib
from fractions import Fraction

import av
import numpy as np
import pytest
from media import make_film, moving_scene, teal_and_orange
from PIL import Image

from nogan.cli import main
from nogan.colorize.batch import BatchOptions, colorize_films
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film
from nogan.colorize.film.clip import seconds_of
from nogan.colorize.jobs import Job
from nogan.common.errors import UserError

COLORIZER = Colorizer([(teal_and_orange, 1.0)])


def color(source, target, progress=lambda done, total: None, **options):
    return colorize_film(COLORIZER, source, target, FilmOptions(4, **options), progress=progress)


def frames_of(path):
    """Time in seconds and luma of each frame."""
    with av.open(path) as film:
        return [(float(frame.time or 0), frame.to_ndarray(format="gray")) for frame in film.decode(video=0)]


def stop_at(count):
    def interrupt(done, total):
        if done >= count:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize(
    ("text", "seconds"), [("90.5", 90.5), ("1:30.5", 90.5), ("0:01:30.500", 90.5), ("2:00:00", 7200), ("100", 100)]
)
def test_times_are_read_as_players_show_them(text, seconds):
    assert seconds_of(text) == Fraction(seconds)


@pytest.mark.parametrize("text", ["", "x", "-1", "1:60", "1:2:3:4", "1:", "1e3", "1.5:00", "0:75:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match="is not a time"):
        seconds_of(text)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_sound_subtitles_and_chapters_of_a_part_agree_with_its_frames(tmp_path, suffix):
    source, target = tmp_path / "wall.mkv", tmp_path / f"out.{suffix}"
    make_film(source, frames=75, sound="flac", subtitles=True, chapters=True, start=2560)
    report = color(source, target, codec="libx264", crf=0, start=Fraction(3, 10), end=Fraction(3, 2), audio="copy")
    assert report.frames == 30 and report.remarks == ()
    before, after = frames_of(source)[8:38], frames_of(target)
    assert [time for time, _ in after] == pytest.approx([time - 0.5 for time, _ in before], abs=0.0011)
    assert max(np.abs(a.astype(int) - b).max() for (_, a), (_, b) in zip(before, after, strict=True)) <= 1
    with av.open(source) as film:
        whole = np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], axis=1)[0]
    with av.open(target) as film:
        blocks = list(film.decode(audio=0))
        heard = np.concatenate([block.to_ndarray() for block in blocks], axis=1)[0]
    first = round((float(blocks[0].time) + 0.5) * 48000)
    assert 0 <= float(blocks[0].time) < 0.1 and len(heard) == pytest.approx(1.2 * 48000, abs=5000)
    shifts = [
        np.abs(heard.astype(float) - whole[place : place + len(heard)]).mean()
        for place in range(first - 60, first + 60)
    ]
    assert abs(int(np.argmin(shifts)) - 60) <= 48  # the millisecond of Matroska's clock
    with av.open(target) as film:
        (line,) = [packet for packet in film.demux(subtitles=0) if packet.size and b"wall" in bytes(packet)]
        assert (float(line.pts * line.time_base), float(line.duration * line.time_base)) == pytest.approx((0, 0.1))
        assert [round(float(c["end"] * c["time_base"]), 2) for c in film.chapters()] == [0.46]


def test_a_part_begins_at_any_frame_and_is_resumed_at_any(tmp_path):
    source, whole, cut = tmp_path / "wall.mp4", tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    make_film(source, frames=45)  # one key frame, and frames out of order
    options = {"codec": "ffv1", "segment_frames": 6, "start": Fraction(3, 5), "end": Fraction(39, 25)}
    report = color(source, whole, stabilize=1.0, **options)
    assert report.frames == 24
    with pytest.raises(KeyboardInterrupt):
        color(source, cut, stop_at(8), stabilize=1.0, **options)
    resumed = color(source, cut, stabilize=1.0, **options)
    assert resumed.resumed_at == 6 and (resumed.before, resumed.after) == (report.before, report.after)
    for (time, one), (other_time, other), (_, original) in zip(
        frames_of(cut), frames_of(whole), frames_of(source)[15:39], strict=True
    ):
        assert time == other_time and np.array_equal(one, other) and np.array_equal(one, original)
    with pytest.raises(KeyboardInterrupt):
        color(source, tmp_path / "other.mkv", stop_at(10), **options)
    assert color(source, tmp_path / "other.mkv", **(options | {"end": Fraction(1)})).resumed_at == 0


def test_a_part_behind_a_clock_that_restarts(tmp_path):
    make_film(tmp_path / "part.ts", frames=25, sound="mp2")
    source, target = tmp_path / "wall.ts", tmp_path / "out.mkv"
    source.write_bytes(2 * (tmp_path / "part.ts").read_bytes())
    report = color(source, target, start=Fraction(6, 5))
    assert report.frames == pytest.approx(20, abs=1) and report.remarks == ()
    times = [time for time, _ in frames_of(target)]
    assert times[0] < 0.045 and np.diff(times) == pytest.approx(0.04, abs=0.0011)


@pytest.mark.parametrize("suffix", ["avi", "h264", "ts", "y4m"])
def test_a_part_of_a_film_that_cannot_be_sought_well(tmp_path, suffix):
    codec = {"avi": "mpeg4", "y4m": "rawvideo"}.get(suffix, "libx264")
    source = tmp_path / f"wall.{suffix}"
    with av.open(source, "w") as film:
        video = film.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for gray in moving_scene(30, 96, 64):
            film.mux(video.encode(av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p")))
        film.mux(video.encode())
    color(source, tmp_path / "out.mkv", codec="ffv1", start=Fraction(2, 5), end=Fraction(4, 5))
    found, expected = frames_of(tmp_path / "out.mkv"), frames_of(source)[10:20]
    assert len(found) == 10 and all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, expected, strict=True))


def test_a_part_that_is_not_there_is_refused_before_any_work(tmp_path):
    make_film(tmp_path / "wall.mp4", frames=25)
    for options, reason in (
        ({"start": Fraction(5)}, r"wall\.mp4: --start 0:00:05\.0: the film ends at 0:00:01\.0"),
        ({"end": Fraction(5)}, r"wall\.mp4: --end 0:00:05\.0: the film ends at 0:00:01\.0"),
        (
            {"start": Fraction(1, 2), "end": Fraction(1, 2)},
            r"--end 0:00:00\.5: expected a time after --start 0:00:00\.5",
        ),
    ):
        with pytest.raises(UserError, match=reason):
            color(tmp_path / "wall.mp4", tmp_path / "out.mp4", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["wall.mp4"]


def interlaced(path, frames=20):
    """Two fields a frame, half a frame apart in time."""
    fields = list(moving_scene(2 * frames, 96, 64))
    with av.open(path, "w") as film:
        video = film.add_stream("mpeg2video", rate=25, options={"qmin": "1", "qmax": "2"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.flags |= 0x20040000  # interlaced DCT and motion estimation
        for first, second in zip(fields[::2], fields[1::2], strict=True):
            woven = first.copy()
            woven[1::2] = second[1::2]
            film.mux(video.encode(av.VideoFrame.from_ndarray(woven, "gray").reformat(format="yuv420p")))
        film.mux(video.encode())


def comb(gray):
    """How much rows differ from those between which they lie, beyond what the rows next but one do."""
    rows = gray.astype(float)
    return np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean() / np.abs(rows[2:] - rows[:-2]).mean()


def test_interlaced_frames_are_made_whole_or_left_and_both_is_said(tmp_path):
    source = tmp_path / "wall.mkv"
    interlaced(source)
    whole = color(source, tmp_path / "whole.mkv", codec="ffv1", segment_frames=6)
    left = color(source, tmp_path / "left.mkv", codec="ffv1", deinterlace="off")
    assert len(whole.remarks) == len(left.remarks) == 1
    assert "--deinterlace off" in whole.remarks[0] and "--deinterlace auto" in left.remarks[0]
    before, after = frames_of(source), frames_of(tmp_path / "whole.mkv")
    assert [time for time, _ in after] == [time for time, _ in before]
    assert np.mean([comb(gray) for _, gray in after]) < 0.6 * np.mean([comb(gray) for _, gray in before])
    for (_, one), (_, other) in zip(before, frames_of(tmp_path / "left.mkv"), strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(KeyboardInterrupt):
        color(source, tmp_path / "cut.mkv", stop_at(14), codec="ffv1", segment_frames=6)
    assert color(source, tmp_path / "cut.mkv", codec="ffv1", segment_frames=6).resumed_at >= 6
    for (_, one), (_, other) in zip(after, frames_of(tmp_path / "cut.mkv"), strict=True):
        assert np.array_equal(one, other)


def test_options_of_the_encoder_are_handed_on(tmp_path, capfd):
    source, target = tmp_path / "wall.mp4", tmp_path / "out.mkv"
    make_film(source, frames=12)
    color(source, target, preset="ultrafast", pix_fmt="yuv422p", encoder_options={"g": "1"})
    with av.open(target) as film:
        packets = [packet for packet in film.demux(video=0) if packet.size]
        assert film.streams.video[0].codec_context.pix_fmt == "yuv422p"
    assert len(packets) == 12 and all(packet.is_keyframe for packet in packets)
    color(source, tmp_path / "quiet.mkv", codec="libx265", encoder_options={"x265-params": "keyint=1"})
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("codec", "stored"), [("png", "rgb48be"), ("libx264rgb", "bgr24"), ("png", "rgb24")])
def test_encoders_of_rgb_keep_the_luma(tmp_path, codec, stored):
    source, target = tmp_path / "wall.mp4", tmp_path / "out.mov"
    make_film(source, frames=2)
    color(source, target, codec=codec, pix_fmt=stored, crf=0 if codec == "libx264rgb" else None)
    with av.open(target) as film:
        frame = next(film.decode(video=0))
        rgb = frame.to_ndarray(format="rgb24").astype(float)
    before = next(iter(frames_of(source)))[1].astype(float)
    assert frame.format.is_rgb
    assert np.abs(rgb @ [0.299, 0.587, 0.114] - before).max() <= 1.3
    assert (rgb[..., 0] - rgb[..., 2]).std() > 20


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"encoder_options": {"tune": "opera"}}, "--encoder-option tune=opera: --codec libx264 does not take"),
        ({"encoder_options": {"tun": "grain"}}, "--encoder-option tun=grain: --codec libx264 has no option 'tun'"),
        ({"preset": "hasty"}, "--preset hasty: --codec libx264 does not take"),
        ({"preset": "slow", "codec": "ffv1"}, "--preset slow: --codec ffv1 has no option 'preset'"),
        ({"pix_fmt": "yuv400"}, "--pix-fmt yuv400: ffmpeg has no such format"),
        ({"pix_fmt": "rgb24"}, "--pix-fmt rgb24: --codec libx264 takes "),
        ({"pix_fmt": "gray"}, "--pix-fmt gray holds no colors"),
    ],
)
def test_what_an_encoder_does_not_know_is_refused_in_one_line(tmp_path, capfd, options, reason):
    make_film(tmp_path / "wall.mp4", frames=2)
    with pytest.raises(UserError) as caught:
        color(tmp_path / "wall.mp4", tmp_path / "out.mkv", **options)
    assert reason in str(caught.value) and "\n" not in str(caught.value) and capfd.readouterr().err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["wall.mp4"]


class Tasks:
    """A reporter that keeps the names of the tasks, and checks that one ends before the next begins."""

    def __init__(self):
        self.names, self.open = [], 0

    @contextlib.contextmanager
    def task(self, name, total):
        assert not self.open
        self.names.append(name)
        self.open += 1
        yield lambda done, total: None
        self.open -= 1

    def remark(self, text):
        pass

    def finished(self, report):
        pass


def test_reading_and_the_search_for_shots_are_shown_where_they_take_long(tmp_path, monkeypatch):
    make_film(tmp_path / "wall.mkv", frames=8)
    for patience, names in ((0.0, ["wall.mkv: reading", "wall.mkv: finding shots", "wall.mkv"]), (60.0, ["wall.mkv"])):
        monkeypatch.setattr("nogan.colorize.batch.PATIENCE", patience)
        monkeypatch.setattr("nogan.colorize.batch._REFRESH", 0.0)
        tasks, job = Tasks(), Job(tmp_path / "wall.mkv", tmp_path / "out.mkv")
        options = BatchOptions(render_factor=4, stabilize=1.0, overwrite=True)
        assert colorize_films(COLORIZER, {}, [job], options, tasks) == []
        assert tasks.names == names


def test_a_folder_of_films_is_done_one_by_one_and_counted(tmp_path, run_dir, capsys):
    (tmp_path / "in/reel").mkdir(parents=True)
    for name in ("a.mkv", "reel/b.mp4", "c.avi"):
        make_film(tmp_path / "in" / name, frames=3, codec="mpeg4")
    (tmp_path / "in/d.mkv").write_bytes(b"no film")

    def colorize():
        fixed = ["--checkpoint", str(run_dir), "--render-factor", "4", "--device", "cpu", "--precision", "fp32"]
        return main(["colorize", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *fixed])

    assert colorize() == 1
    said = capsys.readouterr()
    assert "Colorized 3 of 4 (3 films)" in said.out and "1 failed:" in said.err and "d.mkv: not a film" in said.err
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in before) == ["a.mkv", "c.mkv", "reel/b.mp4"]
    make_film(tmp_path / "in/d.mkv", frames=3)
    Image.fromarray(next(moving_scene(1, 96, 64))).save(tmp_path / "in/e.png")
    assert colorize() == 0
    assert "Colorized 2 of 5 (1 film, 1 photograph)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_profiles_of_prores_keep_their_tag(tmp_path):
    make_film(tmp_path / "wall.mp4", frames=2)
    options = {"codec": "prores_ks", "pix_fmt": "yuv444p10le", "encoder_options": {"profile": "4"}}
    color(tmp_path / "wall.mp4", tmp_path / "out.mov", **options)
    with av.open(tmp_path / "out.mov") as film:
        assert film.streams.video[0].codec_context.codec_tag == "ap4h" and film.streams.video[0].profile == "4444"
