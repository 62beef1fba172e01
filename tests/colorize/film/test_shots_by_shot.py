"""Shot by shot: keyframes, colors of references, shots that are kept, a render factor for each."""

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from media import flickering, teal_and_orange
from PIL import Image
from small_networks import tiny

from nogan.colorize.colorizer import Colorizer
from nogan.colorize.film import FilmOptions, colorize_film, export_keyframes
from nogan.colorize.film.flicker import flicker
from nogan.colorize.film.propagation import Features, Key, follow
from nogan.colorize.film.reading import Film
from nogan.colorize.film.references import name_of, read_references, seconds_of
from nogan.colorize.film.shots import Scene, stretches
from nogan.colorize.film.survey import survey_film
from nogan.common.errors import UserError

SIZE = 96, 64
OPTIONS = FilmOptions(render_factor=4, codec="ffv1")
COLORIZER = Colorizer([(teal_and_orange, 1.0)])


def wall(seed):
    """A large textured picture in color, ``(160, 480, 3)``."""
    small = np.random.default_rng(seed).uniform(40, 210, (20, 60, 3)).astype(np.float32)
    return cv2.resize(small, (480, 160)).clip(0, 255)


def panned(seed, frames, step=1):
    """Frames in color of a camera that moves along a wall."""
    picture = wall(seed)
    return [picture[20:84, 10 + step * n : 106 + step * n] for n in range(frames)]


def write(path, frames, *, colors=False, pixel_format="yuv420p", codec="ffv1"):
    """Write a film of RGB frames, in gray unless ``colors``."""
    with av.open(path, "w") as film:
        video = film.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = frames[0].shape[1], frames[0].shape[0], pixel_format
        for number, rgb in enumerate(frames):
            picture = rgb.round().astype(np.uint8)
            if not (colors if isinstance(colors, bool) else colors(number)):
                picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            film.mux(video.encode(frame.reformat(format=pixel_format, dst_colorspace=6, dst_color_range="MPEG")))
        film.mux(video.encode())


def decoded(path):
    with av.open(path) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def planes(path):
    with av.open(path) as film:
        return [frame.to_ndarray() for frame in film.decode(video=0)]


def apart(a, b):
    """Mean distance of the chroma of two pictures in levels, without their edges."""
    u, v = (cv2.cvtColor(np.asarray(x).astype(np.float32) / 255, cv2.COLOR_RGB2YUV)[8:-8, 8:-8, 1:] for x in (a, b))
    return float(np.abs(u - v).mean() * 255)


def save(folder, name, rgb):
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(rgb).round().astype(np.uint8)).save(folder / name)


def test_a_shot_goes_on_behind_a_flash():
    scenes = [Scene(0, 9), Scene(9, 10, "flash"), Scene(10, 20), Scene(20, 30, "dissolve"), Scene(30, 40)]
    joined = stretches(scenes)
    assert [(one.first, one.end) for one in joined] == [(0, 20), (20, 30), (30, 40)]
    assert 9 not in joined[0].shot_frames and len(joined[0].shot_frames) == 19 and not joined[1].shot_frames


def test_the_name_of_a_keyframe_says_when_it_is_shown():
    assert name_of(3, Fraction(3672480, 1000)) == "shot-0003_01-01-12.480"
    assert seconds_of("shot-0003_01-01-12.480.corrected.png") == Fraction(3672480, 1000)
    assert seconds_of("scan-12.png") is None


@pytest.mark.parametrize("stabilize", [0.0, 1.0])
def test_keyframes_are_colored_as_the_film_will_be(tmp_path, stabilize):
    frames = panned(1, 20) + panned(2, 16)
    frames[9] = cv2.GaussianBlur(frames[9], (0, 0), 3)  # blurred, in the very middle
    write(tmp_path / "film.mkv", frames)
    options = FilmOptions(4, codec="ffv1", stabilize=stabilize)

    report = export_keyframes(COLORIZER, tmp_path / "film.mkv", tmp_path / "keys", options)
    assert (report.written, report.existing) == (2, 0) and "2 keyframes" in report.lines()[0]
    paths = sorted((tmp_path / "keys").glob("*.png"))
    numbers = [round(seconds_of(path.name) * 25) for path in paths]
    assert 5 <= numbers[0] < 15 and numbers[0] != 9 and 24 <= numbers[1] < 32
    colorize_film(COLORIZER, tmp_path / "film.mkv", tmp_path / "out.mkv", options)
    film, gray = decoded(tmp_path / "out.mkv"), decoded(tmp_path / "film.mkv")
    for path, number in zip(paths, numbers, strict=True):
        for picture, shown in ((path, film[number]), (tmp_path / "keys" / "gray" / path.name, gray[number][..., 0])):
            assert np.abs(np.asarray(Image.open(picture)).astype(int) - shown).max() <= 2

    paths[0].write_bytes(b"corrected")
    report = export_keyframes(COLORIZER, tmp_path / "film.mkv", tmp_path / "keys", options)
    assert report.written == 0 and "2 were there already" in report.lines()[1] and paths[0].read_bytes() == b"corrected"


def test_shots_that_have_colors_are_kept_to_the_level_and_said(tmp_path):
    frames = panned(1, 10) + panned(2, 10) + panned(3, 10)
    write(tmp_path / "film.mkv", frames, colors=lambda number: 10 <= number < 20, pixel_format="yuv422p")
    for name, options in {
        "skip": FilmOptions(4, codec="ffv1", colored="skip", stabilize=1.0, segment_frames=7),
        "redo": FilmOptions(4, codec="ffv1"),
    }.items():
        report = colorize_film(COLORIZER, tmp_path / "film.mkv", tmp_path / f"{name}.mkv", options)
        said = [remark for remark in report.remarks if "colors already" in remark]
        assert len(said) == (name == "skip")
    assert said == [] and report.frames == 30
    before, kept, redone = (planes(tmp_path / f"{name}.mkv") for name in ("film", "skip", "redo"))
    for number, (own, frame) in enumerate(zip(before, kept, strict=True)):
        assert np.array_equal(own, frame) == (10 <= number < 20), number
    assert redone[12].shape != before[12].shape  # 4:2:0, as ever


def test_the_remark_on_kept_shots_says_when_they_begin(tmp_path):
    write(tmp_path / "film.mkv", panned(1, 10) + panned(2, 10), colors=lambda number: number >= 10)
    report = colorize_film(COLORIZER, tmp_path / "film.mkv", tmp_path / "out.mkv", FilmOptions(4, colored="skip"))
    assert report.remarks == (
        "1 shot has colors already and stays as it is (at 0:00:00.4); --colored redo colors anew",
    )


def test_an_interrupted_run_goes_on_through_kept_shots(tmp_path):
    write(tmp_path / "film.mkv", panned(1, 10) + panned(2, 10) + panned(3, 10), colors=lambda n: 10 <= n < 20)
    options = FilmOptions(4, codec="ffv1", colored="skip", stabilize=1.0, segment_frames=4)
    whole = colorize_film(COLORIZER, tmp_path / "film.mkv", tmp_path / "whole.mkv", options)

    def interrupt(frames, total):
        if frames >= 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        colorize_film(COLORIZER, tmp_path / "film.mkv", tmp_path / "cut.mkv", options, progress=interrupt)
    report = colorize_film(COLORIZER, tmp_path / "film.mkv", tmp_path / "cut.mkv", options)
    assert report.resumed_at == 12 and report.after == whole.after
    assert all(map(np.array_equal, planes(tmp_path / "cut.mkv"), planes(tmp_path / "whole.mkv")))


def test_each_shot_has_a_render_factor_of_its_own_and_those_that_dissolve_share_one(tmp_path, monkeypatch):
    light = [60] * 10 + [90] * 4 + [120] * 10 + [180] * 10
    write(tmp_path / "film.mkv", [wall(5)[20:84, 10:106] * 0.2 + level for level in light])
    (tmp_path / "scenes.csv").write_text("first,end,kind\n0,10,shot\n10,14,dissolve\n14,24,shot\n24,34,shot\n")
    asked, sizes = [], []

    def chosen(colorizer, pictures):
        asked.append(len(pictures))
        return 4 if np.mean(pictures) < 150 else 6

    def network(gray):
        sizes.append(gray.shape[1])
        return teal_and_orange(gray)

    monkeypatch.setattr("nogan.colorize.film.treatment.best_factor", chosen)
    options = FilmOptions("auto", codec="ffv1", scenes=tmp_path / "scenes.csv", stabilize=1.0)
    report = colorize_film(Colorizer([(network, 1.0)]), tmp_path / "film.mkv", tmp_path / "out.mkv", options)
    assert report.frames == 34 and sizes == [64] * 24 + [96] * 10 and asked == [2, 1]


def gray_network(gray):
    return np.stack([gray] * 3, axis=-1)


def test_a_reference_gives_its_shot_its_colors_and_no_other(tmp_path):
    frames = panned(1, 24) + panned(2, 12)
    write(tmp_path / "film.mkv", frames)
    save(tmp_path / "keys", f"{name_of(1, Fraction(8, 25))}.png", frames[8])
    plain, options = Colorizer([(gray_network, 1.0)]), FilmOptions(8, codec="ffv1", segment_frames=7)
    report = colorize_film(
        plain, tmp_path / "film.mkv", tmp_path / "out.mkv", replace(options, reference=tmp_path / "keys")
    )
    assert any("follow the motion only" in remark for remark in report.remarks)
    colorize_film(plain, tmp_path / "film.mkv", tmp_path / "off.mkv", options)
    result, off = decoded(tmp_path / "out.mkv"), decoded(tmp_path / "off.mkv")
    for number in (0, 4, 8, 12, 23):  # on both sides, as far as the wall was seen in frame 8
        assert apart(result[number], frames[number]) < 0.35 * apart(off[number], frames[number]), number
    for number in range(24, 36):
        assert np.array_equal(result[number], off[number])
    for own, frame in zip(planes(tmp_path / "film.mkv"), planes(tmp_path / "out.mkv"), strict=True):
        assert np.array_equal(own[:64], frame[:64])  # the film's luma, to the level
    # The keyframes of such a run show it.
    export_keyframes(plain, tmp_path / "film.mkv", tmp_path / "again", replace(options, reference=tmp_path / "keys"))
    for path in (tmp_path / "again").glob("*.png"):
        shown = result[round(seconds_of(path.name) * 25)]
        assert np.abs(np.asarray(Image.open(path)).astype(int) - shown).max() <= 2


def test_a_run_with_references_goes_on_where_it_was_and_begins_anew_with_others(tmp_path):
    frames = panned(1, 20)
    write(tmp_path / "film.mkv", frames)
    for number in (3, 16):
        save(tmp_path / "keys", f"{name_of(1, Fraction(number, 25))}.png", frames[number])
    plain = Colorizer([(gray_network, 1.0)])
    options = FilmOptions(4, codec="ffv1", segment_frames=5, stabilize=1.0, reference=tmp_path / "keys")
    whole = colorize_film(plain, tmp_path / "film.mkv", tmp_path / "whole.mkv", options)

    def interrupted(at):
        """How many frames the run has at its beginning, and then at least ``at``."""
        done = []

        def progress(frames, total):
            done.append(frames)
            if frames >= at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            colorize_film(plain, tmp_path / "film.mkv", tmp_path / "cut.mkv", options, progress=progress)
        return done[0]

    assert interrupted(at=6) == 0 and interrupted(at=0) == 5
    report = colorize_film(plain, tmp_path / "film.mkv", tmp_path / "cut.mkv", options)
    assert report.resumed_at == 5 and report.after == whole.after
    assert all(map(np.array_equal, planes(tmp_path / "cut.mkv"), planes(tmp_path / "whole.mkv")))
    assert interrupted(at=6) == 0
    save(tmp_path / "keys", f"{name_of(1, Fraction(3, 25))}.png", 255 - (255 - frames[3]) * 0.9)
    assert interrupted(at=0) == 0


def test_features_of_the_encoder_lead_where_motion_does_not():
    left, right = wall(7)[:128, :128], wall(8)[:128, :128]
    key, later = np.hstack([left, right]), np.hstack([right, left])  # no motion leads there
    gray, gray_later = (cv2.cvtColor(x.astype(np.uint8), cv2.COLOR_RGB2GRAY)[:, :] for x in (key, later))
    squares = [cv2.resize(one, (256, 256)) for one in (gray, gray_later)]
    tint = np.full((256, 256, 2), 0.5, np.float32)
    tint[:, :128, 0], tint[:, 128:, 0] = 0.3, 0.7
    colorizer = Colorizer.of(tiny(), device="cpu")
    features = [colorizer.features(one) for one in squares]
    assert features[0].shape == (32, 32, 128)
    own = np.full((256, 256, 2), 0.5, np.float32)
    change = Features([features[0]], [tint]).change(features[1], own)[..., 0]
    assert change[16:-16, 16:112].mean() > 0.1 and change[16:-16, 144:-16].mean() < -0.1
    other = colorizer.features(cv2.resize(np.rot90(gray).copy(), (256, 256)))
    assert np.abs(Features([features[0]], [tint]).change(other, own)).mean() < 0.05


@pytest.mark.parametrize(
    ("name", "picture", "reason"),
    [
        (
            "shot-0001_00-00-00.200.png",
            "narrow",
            "80 x 64 px, and the film has 96 x 64: expected a picture of that shape",
        ),
        ("shot-0001_00-00-00.200.png", "gray", "it is gray, and gives the film no colors"),
        ("shot-0001_00-00-00.200.png", "other", "shows another picture at 0:00:00.2, the time in its name"),
        ("mine.png", "other", "no frame of the film looks like it"),
        ("notes.txt", "own", "no picture in it"),
    ],
)
def test_references_that_cannot_be_are_one_line(tmp_path, name, picture, reason):
    frames = panned(1, 12)
    write(tmp_path / "film.mkv", frames)
    pictures = {"other": panned(9, 1)[0], "own": frames[5], "gray": np.repeat(frames[5][..., 1:2], 3, axis=-1)}
    pictures["narrow"] = cv2.resize(frames[5], (80, 64))
    save(tmp_path / "keys", "x.png", pictures[picture])
    (tmp_path / "keys" / "x.png").rename(tmp_path / "keys" / name)
    options = FilmOptions(4, reference=tmp_path / "keys")
    with pytest.raises(UserError, match=reason) as caught:
        colorize_film(COLORIZER, tmp_path / "film.mkv", tmp_path / "out.mkv", options)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"--reference .*none: no such folder"):
        colorize_film(
            COLORIZER, tmp_path / "film.mkv", tmp_path / "out.mkv", FilmOptions(4, reference=tmp_path / "none")
        )


def test_a_picture_without_a_time_finds_its_frame_and_one_of_another_size_is_scaled(tmp_path):
    frames = panned(1, 12, step=4)
    write(tmp_path / "film.mkv", frames)
    save(tmp_path / "keys", "mine.png", cv2.resize(frames[7], (192, 128)))
    film = Film.open(tmp_path / "film.mkv")
    found = read_references(tmp_path / "keys", film, survey_film(film, FilmOptions()), SIZE)
    assert [one.frame for one in found] == [7]
    assert film.remarks == ["mine.png has 192 x 128 px, and the film 96 x 64: it was scaled"]


def test_what_is_printed_about_flicker_is_measured_on_the_result(tmp_path):
    write(tmp_path / "film.mkv", panned(1, 18))
    measured = {}
    for strength in (0.0, 1.0):
        target = tmp_path / f"{strength}.mkv"
        options = FilmOptions(4, codec="ffv1", stabilize=strength)
        report = colorize_film(Colorizer([(flickering(), 1.0)]), tmp_path / "film.mkv", target, options)
        measured[strength] = flicker(decoded(target))
    for printed, strength in ((report.before, 0.0), (report.after, 1.0)):
        for distance, value in printed.cdc.items():
            assert value == pytest.approx(measured[strength].cdc[distance], rel=0.05)
    said = " ".join(report.lines())
    for name, before, after in (
        *((f"CDC({step})", value, measured[1.0].cdc[step]) for step, value in measured[0.0].cdc.items()),
        ("the warp error", measured[0.0].warp_error, measured[1.0].warp_error),
    ):
        assert (name in said.partition("did not lessen")[2]) == (after > before)


def test_the_way_back_from_a_reference_needs_a_bounded_number_of_frames(monkeypatch):
    monkeypatch.setattr("nogan.colorize.film.propagation.REACH", 5)
    gray = cv2.cvtColor(wall(1)[:64, :64].astype(np.uint8), cv2.COLOR_RGB2GRAY)
    read = []

    def grays():
        for number in range(40):
            read.append(number)
            yield gray

    keys = {20: Key(0, range(18, 24)), 30: Key(1, range(26, 40))}
    found = {}
    for number, ways in enumerate(follow(range(40), keys, {28}, grays())):
        found[number] = None if ways is None else [(way.reference, way.distance) for way in ways]
        assert len(read) <= number + 1 + 5
        assert all(way.confidence.mean() > 240 and np.abs(way.flow).max() < 0.1 for way in ways or ())
    assert found[17] == [] and found[18] == [(0, 2)] and found[20] == [(0, 0)] and found[23] == [(0, 3)]
    assert found[24] == [] == found[25] and found[28] is None and found[27] == [(1, 2)]  # a flash is no step
    assert found[35] == [(1, 5)] and found[36] == []
