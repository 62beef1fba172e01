"""Films whose clock restarts or jumps, sound that does not fit, and frames that are lost."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media import TIME_BASE, make_film, moving_scene, teal_and_orange

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film
from nogan.common.errors import UserError

COLORIZER = Colorizer([(teal_and_orange, 1.0)])


def color(source, target, **options):
    return colorize_film(COLORIZER, source, target, FilmOptions(4, **options))


def times_of(path, kind="video"):
    with av.open(path) as film:
        frames = list(film.decode(**{kind: 0}))
    return [
        float(frame.pts * frame.time_base) for frame in frames if frame.pts is not None
    ]  # WMA ends with one without


def samples_of(path):
    with av.open(path) as film:
        return np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], axis=1)


def appended(path, *parts):
    """Transport streams one behind the other, byte by byte."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_a_clock_that_restarts_goes_on_with_sound_in_sync(tmp_path, suffix):
    part, source, target = tmp_path / "part.ts", tmp_path / "wall.ts", tmp_path / f"out{suffix}"
    make_film(part, frames=25, sound="mp2")
    appended(source, part, part)
    totals = []
    report = colorize_film(
        COLORIZER, source, target, FilmOptions(4, segment_frames=10), progress=lambda done, total: totals.append(total)
    )
    assert report.frames == 50 and set(totals) == {50}
    assert len(report.remarks) == 1 and "its clock restarts at 0:00:01" in report.remarks[0]
    shown, heard = times_of(target), times_of(target, "audio")
    assert shown[-1] - shown[0] == pytest.approx(49 / 25, abs=0.06) and min(np.diff(shown)) > 0.03
    assert np.diff(heard) == pytest.approx(0.024, abs=0.01)  # 1,152 samples
    # The second half begins as far from its sound as the first one does.
    assert shown[25] - heard[len(heard) // 2] == pytest.approx(shown[0] - heard[0], abs=0.05)


def test_a_silent_film_of_two_recordings_has_even_frames(tmp_path):
    part, source, target = tmp_path / "part.ts", tmp_path / "wall.ts", tmp_path / "out.mkv"
    make_film(part)
    appended(source, part, part)
    report = color(source, target)
    assert len(report.remarks) == 1 and "restarts" in report.remarks[0]
    assert np.diff(times_of(target)) == pytest.approx(0.04, abs=0.0011)


def test_a_run_is_resumed_behind_a_seam(tmp_path):
    part, source, target = tmp_path / "part.ts", tmp_path / "wall.ts", tmp_path / "out.mkv"
    make_film(part)
    appended(source, part, part)

    def interrupt(done, total):
        if done >= 36:
            raise KeyboardInterrupt

    options = FilmOptions(4, segment_frames=12)
    with pytest.raises(KeyboardInterrupt):
        colorize_film(COLORIZER, source, target, options, progress=interrupt)
    report = colorize_film(COLORIZER, source, target, options)
    assert report.resumed_at >= 24 and report.frames == 48
    assert np.diff(times_of(target)) == pytest.approx(0.04, abs=0.0011)


def moved(source, target, seconds):
    """The packets of a film, that much later, as a transport stream."""
    with av.open(source) as film, av.open(target, "w", options={"mpegts_copyts": "1"}) as output:
        copies = [output.add_stream_from_template(stream) for stream in film.streams]
        for packet in film.demux():
            if packet.size:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = (
                    packet.pts + shift,
                    packet.dts + shift,
                    copies[packet.stream_index],
                )
                output.mux(packet)


def test_a_clock_that_jumps_back_far_and_one_that_pauses(tmp_path):
    early, late, near = tmp_path / "early.ts", tmp_path / "late.ts", tmp_path / "near.ts"
    make_film(early, frames=10, sound="mp2")
    moved(early, late, 500)
    moved(early, near, 502)
    source, target = tmp_path / "wall.ts", tmp_path / "out.mkv"
    appended(source, late, early)  # the time wraps around: the demuxer says 26 hours
    (remark,) = color(source, target).remarks
    assert "its clock jumps at 0:08:2" in remark
    shown = times_of(target)
    assert len(shown) == 20 and shown[-1] - shown[0] < 1
    appended(source, late, near)
    assert color(source, tmp_path / "pause.mkv").remarks == ()
    assert max(np.diff(times_of(tmp_path / "pause.mkv"))) == pytest.approx(1.64, abs=0.1)  # a pause stays a pause


@pytest.mark.parametrize(
    ("source", "sound", "target", "encoder"),
    [
        ("wall.mov", "pcm_alaw", "out.mp4", "aac"),
        ("wall.mov", "pcm_s16be", "out.ts", "aac"),
        ("wall.avi", "adpcm_ms", "out.mkv", "flac"),
        ("wall.avi", "wmav2", "out.mp4", "aac"),
        ("wall.mov", "pcm_s8", "out.mkv", "flac"),
        ("wall.vob", "pcm_dvd", "out.mkv", "flac"),
        ("wall.m2ts", "pcm_bluray", "out.mkv", "flac"),
        ("wall.mkv", "flac", "out.mov", "pcm_s16le"),
        ("wall.mov", "pcm_alaw", "out.mov", None),
    ],
)
def test_sound_that_does_not_fit_is_encoded_anew_and_said(tmp_path, source, sound, target, encoder):
    make_film(tmp_path / source, codec="mpeg4", frames=12, sound=sound)
    report = color(tmp_path / source, tmp_path / target)
    before, after = samples_of(tmp_path / source), samples_of(tmp_path / target)
    with av.open(tmp_path / target) as film:
        assert film.streams.audio[0].codec_context.name == (encoder or sound)
    if encoder is None:
        assert report.remarks == () and np.array_equal(before, after)
        return
    (remark,) = report.remarks
    assert f"its sound ({sound})" in remark and encoder in remark
    assert after.shape[1] == pytest.approx(before.shape[1], abs=3000)  # AAC's blocks
    assert times_of(tmp_path / target, "audio")[0] == pytest.approx(times_of(tmp_path / source, "audio")[0], abs=0.06)
    if before.dtype == np.int16 and encoder != "aac":
        assert np.array_equal(before.ravel(), after.ravel())


def test_what_becomes_of_the_sound_can_be_chosen(tmp_path):
    source = tmp_path / "wall.mov"
    make_film(source, frames=12, sound="pcm_s16le")
    with pytest.raises(UserError, match=r"out\.ts: its sound \(pcm_s16le\) .*--audio copy"):
        color(source, tmp_path / "out.ts", audio="copy")
    color(source, tmp_path / "silent.mkv", audio="none")
    color(source, tmp_path / "flac.mkv", audio="transcode")
    with av.open(tmp_path / "silent.mkv") as silent, av.open(tmp_path / "flac.mkv") as anew:
        assert not silent.streams.audio and anew.streams.audio[0].codec_context.name == "flac"
    assert np.array_equal(samples_of(tmp_path / "flac.mkv"), samples_of(source))


def test_a_film_that_starts_late_is_not_called_truncated(tmp_path):
    make_film(tmp_path / "wall.mkv", start=10 * TIME_BASE.denominator, sound="flac")
    assert color(tmp_path / "wall.mkv", tmp_path / "out.mkv").remarks == ()
    assert times_of(tmp_path / "out.mkv")[0] == pytest.approx(10)


def test_lost_frames_are_counted(tmp_path):
    source = tmp_path / "wall.mp4"
    make_film(source, frames=30, codec="mpeg4", size=(160, 96))
    with av.open(source) as film:
        places = [(packet.pos, packet.size) for packet in film.demux(video=0) if packet.size]
    content = bytearray(source.read_bytes())
    for number in (20, 21, 22):
        place, size = places[number]
        content[place : place + size] = bytes(size)
    source.write_bytes(content)
    report = color(source, tmp_path / "out.mkv")
    lost = 30 - report.frames
    assert lost > 0
    assert any(remark.startswith(f"{lost} of its 30 frames could not be decoded") for remark in report.remarks)


def test_chapters_and_timecode_are_not_called_lost(tmp_path):
    make_film(tmp_path / "wall.mov", chapters=True)
    with av.open(tmp_path / "wall.mov") as film:
        assert any(stream.type == "data" for stream in film.streams)  # how QuickTime keeps chapters
    assert color(tmp_path / "wall.mov", tmp_path / "out.mkv").remarks == ()
    with av.open(tmp_path / "out.mkv") as film:
        assert [chapter["start"] for chapter in film.chapters()] == [0, 400_000_000]


def dvd_cell(path):
    """A second of MPEG-2 with sound."""
    with av.open(path, "w") as film:
        options = {"qmin": "1", "qmax": "1", "g": "1"}  # large, so that each packet of the file has a time
        video, audio = film.add_stream("mpeg2video", rate=25, options=options), film.add_stream("ac3", rate=48000)
        video.width, video.height, audio.layout = 96, 64, "mono"
        for gray in moving_scene(25, 96, 64):
            film.mux(video.encode(av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p")))
        film.mux(video.encode())
        for begin in range(0, 48000, 1536):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1536), np.float32), "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = 48000, begin, Fraction(1, 48000)
            film.mux(audio.encode(block))
        film.mux(audio.encode())


def test_recordings_that_overlap_and_cells_of_a_dvd_are_joined(tmp_path):
    make_film(tmp_path / "part.ts", frames=25, sound="mp2")
    moved(tmp_path / "part.ts", tmp_path / "early.ts", 1.0 - 0.2)  # it begins 0.2 s before the first one ends
    appended(tmp_path / "overlap.ts", tmp_path / "part.ts", tmp_path / "early.ts")
    dvd_cell(tmp_path / "cell.vob")
    appended(tmp_path / "cells.vob", tmp_path / "cell.vob", tmp_path / "cell.vob")
    for name in ("overlap.ts", "cells.vob"):
        assert color(tmp_path / name, tmp_path / "out.mkv").frames == 50, name
        shown, heard = times_of(tmp_path / "out.mkv"), times_of(tmp_path / "out.mkv", "audio")
        assert min(np.diff(shown)) > 0 and shown[-1] - shown[0] == pytest.approx(49 / 25, abs=0.15), name
        assert abs(shown[-1] - heard[-1]) < 0.2 and min(np.diff(heard)) > 0, name
