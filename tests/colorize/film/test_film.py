"""Film in and out: every frame at its time, sound untouched, color of the network and luma of the film."""

import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from media import flickering, make_film, moving_scene, teal_and_orange

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film
from nogan.colorize.film.flicker import flicker
from nogan.colorize.film.quality import hdr_of
from nogan.colorize.film.reading import Film
from nogan.common.errors import UserError
from nogan.common.ycbcr import REC601

OPTIONS = FilmOptions(render_factor=4, batch_size=3)


COLORIZER = Colorizer([(teal_and_orange, 1.0)])


def decoded(path, pixel_format=None):
    with av.open(path) as film:
        for frame in film.decode(video=0):
            yield frame.to_ndarray(format=pixel_format) if pixel_format else frame


def times_of(path):
    return [frame.pts * frame.time_base for frame in decoded(path)]


def sound_of(path):
    with av.open(path) as film:
        return np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], axis=1)


@pytest.mark.parametrize(
    "playlist", ["ffconcat version 1.0\nfile private.mp4\n", "#EXTM3U\n#EXTINF:1,\nprivate.mp4\n#EXT-X-ENDLIST\n"]
)
def test_a_playlist_is_no_film_and_opens_no_other_file(tmp_path, playlist):
    make_film(tmp_path / "private.mp4", frames=2)
    (tmp_path / "film.mp4").write_text(playlist)
    with pytest.raises(UserError, match="not a film that can be read"):
        Film.open(tmp_path / "film.mp4")


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mov", "mpg", "ts", "flv", "asf"])
def test_films_of_many_kinds_are_opened(tmp_path, suffix):
    make_film(tmp_path / f"film.{suffix}", frames=3)
    assert Film.open(tmp_path / f"film.{suffix}").first.width == 96


def test_a_film_keeps_its_frames_times_sound_and_luma(tmp_path):
    source, target = tmp_path / "wall.mp4", tmp_path / "out.mp4"
    times = make_film(source, irregular=True, sound="aac")
    done = []
    report = colorize_film(
        COLORIZER, source, target, OPTIONS, progress=lambda frames, total: done.append((frames, total))
    )

    assert report.frames == len(times) == 24 and done[-1] == (24, 24)
    assert times_of(target) == times
    assert np.array_equal(sound_of(target), sound_of(source))
    with av.open(target) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        assert film.metadata["title"] == "Wall"
    for before, after in zip(decoded(source, "gray"), decoded(target, "gray"), strict=True):
        assert np.abs(before.astype(int) - after).mean() < 1  # crf 17 of a small picture
    expected = Colorizer([(teal_and_orange, 1.0)]).colorize(next(decoded(source, "gray")), 4)
    shown = next(decoded(target, "rgb24")).astype(int)
    assert np.abs(shown - expected).mean() < 6
    assert (
        set(report.before.cdc) == {1, 2, 4}
        and max(report.before.cdc.values()) < 0.1
        and report.before.warp_error is None
    )
    measured = flicker(decoded(target, "rgb24"))
    assert set(measured.cdc) == {1, 2, 4} and 0 < max(measured.cdc.values()) < 0.2 and measured.warp_error < 0.01
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "wall.mp4"]


@pytest.mark.parametrize(("size", "pixel_format"), [((96, 64), "yuv420p"), ((95, 63), "yuv444p")])
def test_chroma_stays_within_what_the_luma_of_the_film_can_show(tmp_path, size, pixel_format):
    def magenta(gray):
        return np.stack([np.ones_like(gray), np.zeros_like(gray), np.ones_like(gray)], axis=-1)

    make_film(tmp_path / "wall.mkv", frames=2, size=size, codec="ffv1", pixel_format=pixel_format)
    outside = {}
    for gamut in ("fit", "clip"):
        options = FilmOptions(render_factor=4, codec="ffv1", gamut=gamut)
        colorize_film(Colorizer([(magenta, 1.0)]), tmp_path / "wall.mkv", tmp_path / f"{gamut}.mkv", options)
        y, u, v = planes_of(next(decoded(tmp_path / f"{gamut}.mkv")))
        step = y.shape[0] // u.shape[0]
        u, v = (plane.repeat(step, 0).repeat(step, 1) for plane in (u, v))
        rgb = REC601.rgb((y - 16) / 219, (u - 128) / 224, (v - 128) / 224)
        outside[gamut] = max(np.max(rgb) - 1, -np.min(rgb))
        assert np.abs(u - 128).max() > 60
    assert outside["fit"] < 1.5 / 224 and outside["clip"] > 0.1  # a level of chroma, rounded


@pytest.mark.parametrize("codec", ["ffv1", "libx265"])
def test_the_halves_of_a_comparison_are_labeled(tmp_path, codec):
    make_film(tmp_path / "wall.mkv", frames=1, size=(160, 128), codec="ffv1")
    options = FilmOptions(render_factor=4, codec=codec, compare=True)
    colorize_film(COLORIZER, tmp_path / "wall.mkv", tmp_path / "both.mkv", options)
    y, u, _ = planes_of(next(decoded(tmp_path / "both.mkv")))
    before, *_ = planes_of(next(decoded(tmp_path / "wall.mkv")))
    assert y.shape == (128, 320)
    for half in (y[:, :160], y[:, 160:]):  # a dark box with white in it, and nothing above it
        assert half[-3:, :40].mean() < 0.7 * before[-3:, :40].mean() and half[-18:, :60].max() > 200
        assert np.abs(half[:100] - before[:100]).mean() < 2
    assert np.abs(u[-4:, 82:100] - 128).max() <= 2 and np.abs(u[:40, 80:] - 128).mean() > 5


def planes_of(frame):
    """Y, Cb and Cr of a frame of 8 bits as floats."""
    planes = (np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width] for plane in frame.planes)
    return [plane.astype(float) for plane in planes]


def test_subtitles_chapters_several_sounds_and_a_late_start_go_along(tmp_path):
    source, target = tmp_path / "wall.mkv", tmp_path / "out.mkv"
    make_film(source, sound="flac", subtitles=True, chapters=True, start=2560)
    colorize_film(COLORIZER, source, target, OPTIONS)
    with av.open(source) as before, av.open(target) as after:
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        titles = [(chapter["start"], chapter["metadata"]["title"]) for chapter in after.chapters()]
        assert titles == [(chapter["start"], chapter["metadata"]["title"]) for chapter in before.chapters()]
        lines = [bytes(packet) for packet in after.demux(subtitles=0) if packet.size]
        assert lines == [b"Here is a wall."]
    assert times_of(target) == times_of(source)
    assert np.array_equal(sound_of(target), sound_of(source))


def test_cover_art_fonts_and_a_second_sound_go_along(tmp_path):
    plain, source, target = (tmp_path / name for name in ("plain.mkv", "wall.mkv", "out.mkv"))
    make_film(plain, frames=10, sound="aac")
    art = cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].tobytes()
    with av.open(plain) as film, av.open(source, "w") as output:
        copies = {stream.index: output.add_stream_from_template(stream) for stream in film.streams}
        second = output.add_stream_from_template(film.streams.audio[0])
        second.metadata["language"] = "ger"
        output.add_attachment("font.ttf", "application/x-truetype-font", b"FONT" * 100)
        output.add_attachment("cover.jpg", "image/jpeg", art)
        for packet in film.demux():
            if not packet.size:
                continue
            if packet.stream.type == "audio":
                double = av.Packet(bytes(packet))
                double.pts, double.dts, double.time_base = packet.pts, packet.dts, packet.time_base
                double.stream = second
                output.mux(double)
            packet.stream = copies[packet.stream.index]
            output.mux(packet)
    report = colorize_film(COLORIZER, source, target, OPTIONS)
    assert report.frames == 10 and report.remarks == ()
    with av.open(source) as before, av.open(target) as after:
        kinds = [sorted((s.type, int(s.disposition), str(s.language)) for s in f.streams) for f in (before, after)]
        assert kinds[0] == kinds[1] and len(kinds[0]) == 5
        fonts = [stream.data for stream in after.streams if stream.type == "attachment"]
        assert b"FONT" * 100 in fonts
        pictures = [bytes(p) for p in after.demux() if p.size and p.stream.disposition == 1 << 10]
        assert art in pictures


def test_a_cut_run_goes_on_behind_its_last_whole_segment(tmp_path):
    source, cut, whole = tmp_path / "wall.mkv", tmp_path / "cut.mkv", tmp_path / "whole.mkv"
    make_film(source, frames=48, irregular=True, sound="flac")
    # Lossless: libx264 does not code the same frames the same every time.
    options = FilmOptions(render_factor=4, batch_size=2, segment_frames=8, stabilize=True, codec="ffv1")
    whole_report = colorize_film(COLORIZER, source, whole, options)

    def interrupt(frames, total):
        if frames >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        colorize_film(COLORIZER, source, cut, options, progress=interrupt)
    assert not cut.exists()
    report = colorize_film(COLORIZER, source, cut, options)
    assert report.resumed_at == 16 and report.frames == 48
    assert times_of(cut) == times_of(source)
    assert np.array_equal(sound_of(cut), sound_of(source))
    # The past of the smoothing and the measurements came back too.
    assert report.before == whole_report.before and report.after == whole_report.after
    for one, other in zip(decoded(cut, "rgb24"), decoded(whole, "rgb24"), strict=True):
        assert np.array_equal(one, other)
    assert not (tmp_path / "cut.mkv.parts").exists()


@pytest.mark.parametrize("damage", ["torn", "empty", "gone"])
def test_a_damaged_segment_is_done_again_from_there(tmp_path, damage):
    source, cut, whole = tmp_path / "wall.mkv", tmp_path / "cut.mkv", tmp_path / "whole.mkv"
    make_film(source, frames=30)
    options = FilmOptions(render_factor=4, segment_frames=8, codec="ffv1")

    def interrupt(frames, total):
        if frames >= 28:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        colorize_film(COLORIZER, source, cut, options, progress=interrupt)
    segment = tmp_path / "cut.mkv.parts" / "00001.segment"
    content = segment.read_bytes()
    if damage == "gone":
        segment.unlink()
    else:
        segment.write_bytes(content[: len(content) // 2 if damage == "torn" else 0])
    report = colorize_film(COLORIZER, source, cut, options)
    assert report.resumed_at == 8 and report.frames == 30
    assert any("2 segments of an earlier run were damaged" in remark for remark in report.remarks)
    assert report.before == colorize_film(COLORIZER, source, whole, options).before
    for one, other in zip(decoded(cut, "rgb24"), decoded(whole, "rgb24"), strict=True):
        assert np.array_equal(one, other)


def test_a_second_process_on_one_film_says_so_and_the_first_goes_on(tmp_path):
    source, target = tmp_path / "wall.mp4", tmp_path / "out.mp4"
    make_film(source, frames=12)
    second = (
        "from pathlib import Path; from nogan.colorize.film import colorize_film; import sys\n"
        "colorize_film(None, Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    said = []

    def again(frames, total):
        if frames == 6:
            command = [sys.executable, "-c", second, str(source), str(target)]
            said.append(subprocess.run(command, capture_output=True, text=True, timeout=120, check=False))

    assert colorize_film(COLORIZER, source, target, OPTIONS, progress=again).frames == 12
    assert len(said) == 1 and "another process is using it" in said[0].stderr.splitlines()[-1]
    assert len(times_of(target)) == 12 and not list(tmp_path.glob("*.parts"))


def test_a_cut_run_with_other_settings_begins_anew(tmp_path):
    source, target = tmp_path / "wall.mp4", tmp_path / "out.mp4"
    make_film(source)

    def interrupt(frames, total):
        if frames >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        colorize_film(COLORIZER, source, target, FilmOptions(4, segment_frames=4), progress=interrupt)
    assert colorize_film(COLORIZER, source, target, FilmOptions(5, segment_frames=4)).resumed_at == 0


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotated_film_is_colored_and_comes_out_upright(tmp_path, rotation):
    source, target = tmp_path / "wall.mp4", tmp_path / "out.mp4"
    make_film(source, frames=4, rotation=rotation, aspect=Fraction(4, 3))
    stored = next(decoded(source))
    assert (stored.rotation - rotation) % 360 == 0
    expected = np.rot90(stored.to_ndarray(format="gray"), rotation // 90)
    colorize_film(COLORIZER, source, target, OPTIONS)
    frame = next(decoded(target))
    assert frame.rotation == 0
    assert np.abs(frame.to_ndarray(format="gray").astype(int) - expected).mean() < 1.5
    with av.open(target) as film:
        aspect = film.streams.video[0].sample_aspect_ratio
    assert aspect == (Fraction(4, 3) if rotation == 180 else Fraction(3, 4))
    halves = FilmOptions(4, codec="prores_ks", compare=True)  # whose chroma has half the width, and all of the height
    colorize_film(COLORIZER, source, tmp_path / "both.mov", halves)
    both = next(decoded(tmp_path / "both.mov", "rgb24")).astype(int)
    assert np.abs(both[:-16, frame.width :] - frame.to_ndarray(format="rgb24")[:-16]).mean() < 5
    assert np.abs(both[:-16, : frame.width].mean(axis=-1) - expected[:-16]).mean() < 2.5


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 6])
def test_range_and_matrix_are_kept_and_used(tmp_path, full_range, matrix):
    source, target = tmp_path / "wall.mp4", tmp_path / "out.mp4"
    make_film(source, frames=3, full_range=full_range, matrix=matrix)
    colorize_film(COLORIZER, source, target, OPTIONS)
    frame = next(decoded(target))
    assert int(frame.color_range) == (2 if full_range else 1) and int(frame.colorspace) == matrix
    # The stored luma is the source's, level for level (but for the encoder), whatever its range.
    planes = [np.frombuffer(memoryview(f.planes[0]), np.uint8).astype(int) for f in (next(decoded(source)), frame)]
    assert np.abs(planes[0] - planes[1]).mean() < 1
    # A player that reads the tags sees the network's colors.
    gray = next(decoded(source)).reformat(
        format="gray", src_color_range="JPEG" if full_range else "MPEG", dst_color_range="JPEG"
    )
    shown = frame.to_ndarray(format="rgb24").astype(float)
    assert np.abs(shown - COLORIZER.colorize(gray.to_ndarray(), 4)).mean() < 8
    assert shown[..., 0].std() > 20


def test_odd_sizes_gray_codecs_ten_bits_and_rgb_sources(tmp_path):
    for name, options in {
        "odd.mkv": {"codec": "ffv1", "size": (95, 63), "pixel_format": "yuv444p"},
        "gray.mkv": {"codec": "ffv1", "pixel_format": "gray"},
        "ten.mkv": {"codec": "ffv1", "pixel_format": "yuv420p10le"},
        "rgb.mkv": {"codec": "ffv1", "pixel_format": "bgr0"},
        "old.avi": {"codec": "mjpeg", "pixel_format": "yuvj422p"},
    }.items():
        source, target = tmp_path / name, tmp_path / f"out-{name}.mkv"
        options = {"full_range": options["codec"] == "mjpeg"} | options
        make_film(source, frames=5, **options)
        colorize_film(COLORIZER, source, target, OPTIONS)
        before, after = next(decoded(source, "rgb24")), next(decoded(target, "rgb24"))
        assert after.shape == before.shape and len(times_of(target)) == 5
        lumas = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(int) for picture in (before, after)]
        assert np.abs(lumas[0] - lumas[1]).mean() < 6, name
    colorize_film(COLORIZER, tmp_path / "ten.mkv", tmp_path / "ten-out.mkv", FilmOptions(4, codec="ffv1"))
    deep = next(decoded(tmp_path / "ten-out.mkv"))
    assert deep.format.name == "yuv420p10le"
    stored = [np.frombuffer(memoryview(f.planes[0]), "<u2") for f in (next(decoded(tmp_path / "ten.mkv")), deep)]
    assert np.array_equal(*stored)


def test_an_odd_size_is_said_where_it_changes_the_chroma(tmp_path):
    make_film(tmp_path / "odd.mkv", frames=2, size=(95, 63), codec="ffv1")
    report = colorize_film(COLORIZER, tmp_path / "odd.mkv", tmp_path / "out.mkv", OPTIONS)
    assert next(decoded(tmp_path / "out.mkv")).format.name == "yuv444p"
    assert len(report.remarks) == 1 and "95 x 63, is odd" in report.remarks[0]


def test_compare_shows_both_and_raw_shows_the_network(tmp_path):
    source = tmp_path / "wall.mp4"
    make_film(source, frames=3)
    colorize_film(COLORIZER, source, tmp_path / "both.mp4", FilmOptions(4, compare=True))
    both, original = next(decoded(tmp_path / "both.mp4", "rgb24")), next(decoded(source, "rgb24"))
    assert both.shape == (64, 192, 3)
    assert np.abs(both[:, :96].astype(int) - original).mean() < 3
    assert np.abs(both[:, 96:].astype(int) - original).mean() > 15

    colorize_film(COLORIZER, source, tmp_path / "raw.mp4", FilmOptions(4, raw=True))
    raw = next(decoded(tmp_path / "raw.mp4", "rgb24")).astype(int)
    gray = next(decoded(source)).reformat(format="gray", src_color_range="MPEG", dst_color_range="JPEG").to_ndarray()
    assert np.abs(raw - COLORIZER.colorize(gray, 4, raw=True)).mean() < 8


def test_interlaced_footage_is_named(tmp_path):
    source, target = tmp_path / "wall.mkv", tmp_path / "out.mkv"
    with av.open(source, "w") as film:
        video = film.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.flags |= 0x20040000  # interlaced DCT and motion estimation
        for gray in moving_scene(5, 96, 64):
            film.mux(video.encode(av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p")))
        film.mux(video.encode())
    report = colorize_film(COLORIZER, source, target, OPTIONS)
    assert report.frames == 5 and any("interlaced" in remark for remark in report.remarks)


def test_smoothing_lessens_flicker_and_says_what_the_result_has(tmp_path):
    source, target, scenes = tmp_path / "wall.mp4", tmp_path / "out.mkv", tmp_path / "scenes.csv"
    make_film(source, frames=40)
    options = FilmOptions(8, stabilize=1.0, codec="ffv1", scenes=scenes)
    report = colorize_film(Colorizer([(flickering(), 1.0)]), source, target, options)
    assert sum(report.after.cdc.values()) < 0.5 * sum(report.before.cdc.values())
    assert report.after.warp_error < 0.4 * report.before.warp_error
    assert any("after smoothing" in line for line in report.lines())
    assert not any("did not lessen" in line for line in report.lines())
    assert scenes.read_text() == "first,end,kind\n0,40,shot\n"
    measured = flicker(decoded(target, "rgb24"))
    for step, value in report.after.cdc.items():
        assert measured.cdc[step] == pytest.approx(value, rel=0.3)

    pairs = "".join(f"{first},{first + 2},shot\n" for first in range(0, 40, 2))
    scenes.write_text(f"first,end,kind\n{pairs}")
    shorter = colorize_film(Colorizer([(flickering(), 1.0)]), source, target, options)
    assert shorter.after.cdc[1] > 5 * report.after.cdc[1]  # windows of two frames
    worse = replace(report, before=report.after, after=report.before)
    assert any("smoothing did not lessen CDC(1), CDC(2), CDC(4), the warp error" in line for line in worse.lines())


def test_grain_does_not_bring_flicker_back_where_chroma_leaves_the_gamut(tmp_path):
    source, generator = tmp_path / "dark.mkv", np.random.default_rng(5)
    still = np.clip(next(moving_scene(1, 96, 64)) * 0.3, 16, 255)
    with av.open(source, "w") as film:
        video = film.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for _ in range(20):
            grainy = (still + generator.normal(0, 6, still.shape)).clip(0, 255).astype(np.uint8)
            film.mux(video.encode(av.VideoFrame.from_ndarray(grainy, "gray").reformat(format="yuv420p")))
        film.mux(video.encode())

    def red(gray):  # far too much for such a dark picture
        return np.stack([np.ones_like(gray), np.zeros_like(gray), np.zeros_like(gray)], axis=-1)

    deviations = []
    for strength in (0.0, 1.0):
        target = tmp_path / f"{strength}.mkv"
        colorize_film(Colorizer([(red, 1.0)]), source, target, FilmOptions(4, codec="ffv1", stabilize=strength))
        chroma = [np.frombuffer(memoryview(frame.planes[2]), np.uint8) for frame in decoded(target)]
        deviations.append(np.std(np.array(chroma, float), axis=0).mean())
    assert deviations[1] < 0.4 * deviations[0]


def sound_only(path):
    with av.open(path, "w") as film:
        audio = film.add_stream("aac", rate=48000)
        audio.layout = "mono"
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        block.sample_rate = 48000
        film.mux(audio.encode(block))
        film.mux(audio.encode())


def test_what_is_no_film_is_said_in_one_line(tmp_path):
    good, target = tmp_path / "wall.mp4", tmp_path / "out.mp4"
    make_film(good, sound="aac")
    sound_only(tmp_path / "sound.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "letter.mp4").write_text("Dear Sir, the film is in the mail.\n" * 100)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:1500])
    for name, reason in {
        "sound.mp4": "no video stream",
        "empty.mp4": "empty",
        "letter.mp4": "not a film",
        "cut.mp4": "not a film|not one frame",
        "missing.mp4": "No such file",
    }.items():
        with pytest.raises(UserError, match=reason) as caught:
            colorize_film(COLORIZER, tmp_path / name, target, OPTIONS)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    for options, reason in (
        (FilmOptions(4, codec="h265000"), "h265000"),
        (FilmOptions(4, codec="aac"), "aac"),
        (FilmOptions(0), "--render-factor 0"),
        (FilmOptions(500), "--render-factor 500"),
    ):
        with pytest.raises(UserError, match=reason):
            colorize_film(COLORIZER, good, target, options)
    with pytest.raises(UserError, match=r"cannot be written|No such file"):
        colorize_film(COLORIZER, good, tmp_path / "none" / "out.mp4", OPTIONS)
    with pytest.raises(UserError, match=r"\.xyz"):
        colorize_film(COLORIZER, good, tmp_path / "out.xyz", OPTIONS)
    with pytest.raises(UserError, match=r"sound .*\.mkv"):
        colorize_film(COLORIZER, good, tmp_path / "out.webm", FilmOptions(4, codec="libvpx-vp9", audio="copy"))
    assert not target.exists() and not list(tmp_path.glob("*.parts")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("codec", "suffix", "pixel_format"),
    [
        ("libsvtav1", ".mp4", "yuv420p"),  # decoded by another library, which has another name
        ("libx265", ".mkv", "yuv420p"),
        ("prores_ks", ".mov", "yuv422p10le"),
        ("mjpeg", ".mkv", "yuv420p"),
    ],
)
def test_other_codecs_get_the_format_they_have_and_say_nothing(tmp_path, capfd, codec, suffix, pixel_format):
    source, target = tmp_path / "wall.mp4", tmp_path / f"out{suffix}"
    times = make_film(source, frames=6)
    report = colorize_film(COLORIZER, source, target, FilmOptions(4, codec=codec, segment_frames=4))
    assert times_of(target) == pytest.approx(times, abs=0.001) and report.remarks == ()
    assert next(decoded(target)).format.name == pixel_format
    for before, after in zip(decoded(source, "gray"), decoded(target, "gray"), strict=True):
        assert np.abs(before.astype(int) - after).mean() < 1.5
    assert capfd.readouterr().err == "" and not list(tmp_path.glob("*.parts"))


def test_an_encoder_with_a_coarse_clock_keeps_the_times_of_a_fine_one(tmp_path):
    source, target = tmp_path / "wall.ts", tmp_path / "out.mp4"  # whose clock has 90,000 ticks a second
    make_film(source, frames=8, irregular=True)
    colorize_film(COLORIZER, source, target, FilmOptions(4, codec="mpeg4", segment_frames=3))
    before, after = (np.diff(times_of(path)) for path in (source, target))
    assert after == pytest.approx(before, abs=3e-5)


@pytest.mark.parametrize(
    ("codec", "suffix", "values"),
    [
        ("libx264", ".mkv", (10, 40)),
        ("mpeg4", ".mkv", (2, 20)),
        ("mpeg2video", ".mkv", (2, 20)),
        ("mjpeg", ".mkv", (2, 20)),
        ("prores_ks", ".mov", (2, 20)),
    ],
)
def test_quality_is_asked_for_on_the_encoders_own_scale(tmp_path, codec, suffix, values):
    source = tmp_path / "wall.mp4"
    make_film(source, frames=4)
    sizes = []
    for value in values:
        target = tmp_path / f"{value}{suffix}"
        colorize_film(COLORIZER, source, target, FilmOptions(4, codec=codec, crf=value))
        sizes.append(target.stat().st_size)
    assert sizes[0] > 1.3 * sizes[1]
    with pytest.raises(UserError, match=f"--crf 99: --codec {codec} takes [01] \\(the best\\) to"):
        colorize_film(COLORIZER, source, tmp_path / f"out{suffix}", FilmOptions(4, codec=codec, crf=99))


def test_quality_is_refused_where_an_encoder_has_none(tmp_path):
    make_film(tmp_path / "wall.mp4", frames=2)
    with pytest.raises(UserError, match="--crf 17: --codec ffv1 has no scale"):
        colorize_film(COLORIZER, tmp_path / "wall.mp4", tmp_path / "out.mkv", FilmOptions(4, codec="ffv1", crf=17))


HDR_PARAMETERS = (
    "log-level=error:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    ":max-cll=1000,400"
)


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libx264"])
def test_hdr_metadata_is_kept_or_its_loss_is_said(tmp_path, codec):
    source, target = tmp_path / "hdr.mkv", tmp_path / "out.mkv"
    with av.open(source, "w") as film:
        video = film.add_stream("libx265", rate=25, options={"x265-params": HDR_PARAMETERS})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p10le"
        for gray in moving_scene(3, 96, 64):
            film.mux(video.encode(av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p10le")))
        film.mux(video.encode())
    report = colorize_film(COLORIZER, source, target, FilmOptions(4, codec=codec))
    before, after = hdr_of(next(decoded(source))), hdr_of(next(decoded(target)))
    assert before.light == (1000, 400) and before.luminance == (0.005, 1000)
    if codec == "libx264":
        assert after is None and any("HDR metadata" in remark for remark in report.remarks)
        return
    assert report.remarks == () and after.light == before.light
    assert after.luminance == pytest.approx(before.luminance, rel=0.02)
    assert after.primaries == pytest.approx(before.primaries, abs=1e-4)


def test_an_encoder_that_does_not_start_names_film_and_codec(tmp_path):
    make_film(tmp_path / "wall.mp4", frames=2)
    try:
        av.CodecContext.create("h264_nvenc", "w").open()
    except (ValueError, OSError):
        with pytest.raises(UserError, match=r"wall\.mp4: --codec h264_nvenc does not work here: ") as caught:
            colorize_film(COLORIZER, tmp_path / "wall.mp4", tmp_path / "out.mp4", FilmOptions(4, codec="h264_nvenc"))
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["wall.mp4"]


def test_what_a_container_does_not_hold_is_said(tmp_path):
    make_film(tmp_path / "ten.mkv", frames=3, codec="ffv1", pixel_format="yuv420p10le")
    report = colorize_film(COLORIZER, tmp_path / "ten.mkv", tmp_path / "out.avi", OPTIONS)
    assert any("10 bits a channel became 8 (libx264)" in remark for remark in report.remarks)
    assert not any("timestamps" in remark for remark in report.remarks)  # its frames last equally long
    make_film(tmp_path / "uneven.mkv", frames=8, irregular=True)
    uneven = colorize_film(COLORIZER, tmp_path / "uneven.mkv", tmp_path / "uneven.avi", OPTIONS)
    assert any(".avi files keep no timestamps" in remark for remark in uneven.remarks)
    assert "3 frames," in report.lines()[0]
    with pytest.raises(UserError, match=r"out\.ts: --codec mjpeg in a \.ts file does not work"):
        colorize_film(COLORIZER, tmp_path / "ten.mkv", tmp_path / "out.ts", FilmOptions(4, codec="mjpeg"))


def test_rate_and_last_frame_are_kept_in_matroska_too(tmp_path):
    source, target, again = tmp_path / "wall.mp4", tmp_path / "out.mkv", tmp_path / "again.mkv"
    make_film(source, frames=50)
    colorize_film(COLORIZER, source, target, OPTIONS)
    totals = []
    colorize_film(COLORIZER, target, again, OPTIONS, progress=lambda done, total: totals.append(total))
    assert set(totals) == {50}
    for path in (target, again):
        with av.open(path) as film:
            assert film.streams.video[0].average_rate == 25 and film.duration == 2_000_000
            assert [frame.duration for frame in film.decode(video=0)][-1] == 40


def test_a_rate_that_is_the_clocks_is_not_believed(tmp_path):
    source = tmp_path / "wall.mkv"
    with av.open(source, "w") as film:
        video = film.add_stream("libx264", rate=1000)
        video.width, video.height, video.codec_context.time_base = 96, 64, Fraction(1, 1000)
        for index, gray in enumerate(moving_scene(25, 96, 64)):
            picture = av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p")
            picture.pts, picture.time_base = 40 * index, Fraction(1, 1000)
            film.mux(video.encode(picture))
        film.mux(video.encode())
    with av.open(source) as film:
        assert film.streams.video[0].average_rate == 1000
    assert Film.open(source).rate == 25


@pytest.mark.parametrize("last", [256, 5120])
def test_a_last_frame_that_lasts_keeps_its_duration(tmp_path, last):
    plain, source, target = tmp_path / "plain.mp4", tmp_path / "wall.mp4", tmp_path / "out.mp4"
    make_film(plain, frames=8, codec="mpeg4")  # without frames out of order
    with av.open(plain) as film, av.open(source, "w") as output:
        copy = output.add_stream_from_template(film.streams.video[0], opaque=True)
        for packet in film.demux(video=0):
            if packet.size:
                packet.duration = last if packet.pts == 7 * 512 else packet.duration
                packet.stream = copy
                output.mux(packet)
    colorize_film(COLORIZER, source, target, FilmOptions(4, segment_frames=5))
    for path in (source, target):
        with av.open(path) as film:
            assert film.streams.video[0].duration == 7 * 512 + last


def subtitles_of(path):
    with av.open(path) as film:
        stream = film.streams.subtitles[0]
        packets = [packet for packet in film.demux(stream) if packet.size]
        lines = [(packet.pts * packet.time_base, packet.duration * packet.time_base, packet) for packet in packets]
        return stream.codec_context.name, [
            (float(begin), float(length), line.dialogue)
            for begin, length, packet in lines
            for line in stream.codec_context.decode(packet)
        ]


def test_subtitles_are_converted_where_the_container_has_another_kind(tmp_path):
    make_film(tmp_path / "wall.mkv", subtitles=True)
    for source, target, kind in (("wall.mkv", "out.mp4", "mov_text"), ("out.mp4", "back.mkv", "srt")):
        report = colorize_film(COLORIZER, tmp_path / source, tmp_path / target, OPTIONS)
        assert report.remarks == ()
        assert subtitles_of(tmp_path / target) == (kind, [(0.1, 0.5, b"Here is a wall.")])


def test_a_damaged_subtitle_ends_nothing(tmp_path):
    make_film(tmp_path / "plain.mp4", frames=10)
    with av.open(tmp_path / "plain.mp4") as film, av.open(tmp_path / "wall.mp4", "w") as output:
        copy = output.add_stream_from_template(film.streams.video[0], opaque=True)
        subtitle = output.add_mux_stream("mov_text", time_base=Fraction(1, 1000))
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
        for begin, content in ((0, b"\x00"), (100, b"\x00\x06A wall")):
            line = av.Packet(content)
            line.stream, line.pts, line.dts, line.duration = subtitle, begin, begin, 100
            line.time_base = Fraction(1, 1000)
            output.mux(line)
    report = colorize_film(COLORIZER, tmp_path / "wall.mp4", tmp_path / "out.mkv", OPTIONS)
    assert report.remarks == ("damaged subtitles were left out",)
    assert subtitles_of(tmp_path / "out.mkv")[1] == [(0.1, 0.1, b"A wall")]


def test_subtitles_that_fit_nowhere_are_left_out_with_a_remark(tmp_path):
    make_film(tmp_path / "wall.mkv", subtitles=True)
    report = colorize_film(COLORIZER, tmp_path / "wall.mkv", tmp_path / "out.flv", OPTIONS)
    with av.open(tmp_path / "out.flv") as film:
        assert not film.streams.subtitles
    assert report.remarks == ("its subtitle (srt) does not fit into a .flv file and was left out; .mkv would keep it",)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_truncated_film_is_said(tmp_path, suffix):
    source, target = tmp_path / f"wall{suffix}", tmp_path / "out.mkv"
    make_film(tmp_path / "whole.mp4", frames=60, sound="aac")
    with av.open(tmp_path / "whole.mp4") as film, av.open(source, "w", options={"movflags": "faststart"}) as output:
        copies = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in film.streams}
        for packet in film.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
    assert colorize_film(COLORIZER, source, target, OPTIONS).remarks == ()
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 63 // 100])
    report = colorize_film(COLORIZER, source, target, OPTIONS)
    assert report.frames < 50 and any("its header declares 2.4 s" in remark for remark in report.remarks)


def test_a_film_with_a_damaged_stretch_is_finished_and_the_damage_said(tmp_path):
    source, target = tmp_path / "wall.ts", tmp_path / "out.ts"
    make_film(source, frames=40, size=(160, 96))
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    source.write_bytes(content)
    report = colorize_film(COLORIZER, source, target, OPTIONS)
    assert 20 <= report.frames <= 40 and len(times_of(target)) == report.frames
    shutil.rmtree(tmp_path, ignore_errors=True)
