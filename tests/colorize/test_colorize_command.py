"""The command line: files in, files out, and what is said."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import deoldify_golden
import numpy as np
import pytest
from media import make_film, photograph, scene
from PIL import Image

from nogan.cli import main
from nogan.colorize.colorizer import Colorizer
from nogan.colorize.jobs import READ_SUFFIXES
from nogan.colorize.photos import read_photo
from nogan.common.errors import UserError
from nogan.networks import build_generator, deoldify
from nogan.networks.generator_file import save_generator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def colorize(run_dir):
    """``colorize("a.jpg", "-o", "b.jpg")`` on the command line, with a checkpoint: the exit code."""

    def run(*arguments, checkpoint=run_dir):
        fixed = ["--device", "cpu", "--precision", "fp32", *(["--checkpoint", str(checkpoint)] if checkpoint else [])]
        return main(["colorize", *map(str, arguments), "--render-factor", "4", *fixed])

    return run


def save(path, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(seed=seed)).save(path, **options)
    return path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_photograph_to_a_file_or_into_a_folder(tmp_path, colorize):
    source = save(tmp_path / "old.jpg", exif=Image.Exif())
    assert colorize(source, "-o", tmp_path / "new.png") == 0
    assert read_photo(tmp_path / "new.png").pixels.shape == (60, 90, 3)
    assert colorize(source, "-o", tmp_path / "out") == 0
    assert colorize(source, "-o", f"{tmp_path}/folder.d/") == 0
    assert files(tmp_path) == ["folder.d/old.jpg", "new.png", "old.jpg", "out/old.jpg"]


def test_a_folder_keeps_its_structure_and_a_second_run_does_only_what_is_missing(tmp_path, colorize, capsys):
    album, out = tmp_path / "album", tmp_path / "album" / "colored"
    for name in ("a.jpg", "1920/b.png", "1920/summer/c.tif", ".hidden.jpg"):
        save(album / name)
    (album / "notes.txt").write_text("who is who")
    assert colorize(album, "-o", out) == 0
    assert files(out) == ["1920/b.png", "1920/summer/c.tif", "a.jpg"]

    (out / "a.jpg").unlink()
    (out / "1920/b.png").write_bytes(b"mine")
    assert colorize(album, "-o", out) == 0
    assert "2 already existed" in capsys.readouterr().out
    assert (out / "1920/b.png").read_bytes() == b"mine" and (out / "a.jpg").exists()
    assert colorize(album, "-o", out, "--overwrite") == 0
    assert read_photo(out / "1920/b.png").pixels.shape == (60, 90, 3)
    assert colorize(album, "-o", out) == 0  # nothing left to do is no failure


def test_without_an_output_results_are_beside_the_originals(tmp_path, colorize, capsys, monkeypatch):
    save(tmp_path / "album/1920/a.jpg")
    save(tmp_path / "b.pgm")
    save(tmp_path / "c.jpg")
    monkeypatch.chdir(tmp_path)
    assert colorize("album", "b.pgm", "c.jpg") == 0
    assert "3 of 3" in capsys.readouterr().out
    done = ["album-color/1920/a.jpg", "album/1920/a.jpg", "b-color.png", "b.pgm", "c-color.jpg", "c.jpg"]
    assert files(tmp_path) == done
    assert colorize("album/", "*.*") == 0  # nothing is left to do, and no result is taken for an original
    assert "3 already existed" in capsys.readouterr().out and files(tmp_path) == done
    assert colorize("c-color.jpg") == 0  # named alone, it is an original
    monkeypatch.chdir(tmp_path / "album")
    assert colorize(".", "--overwrite") == 0
    assert files(tmp_path) == sorted([*done, "c-color-color.jpg"])


def test_colors_are_changed_and_a_comparison_is_labeled(tmp_path, colorize):
    save(tmp_path / "a.png")
    Image.fromarray(photograph(300, 400)).save(tmp_path / "large.png")
    assert colorize(tmp_path / "a.png", "-o", tmp_path / "gray.png", "--saturation", "0") == 0
    assert np.ptp(read_photo(tmp_path / "gray.png").pixels, axis=-1).max() <= 1
    tamed = ("--hue-limit", "0-360:0", "--tint", "240:30", "--shadows", "0.5")
    assert colorize(tmp_path / "a.png", "-o", tmp_path / "blue.png", *tamed) == 0
    red, _, blue = read_photo(tmp_path / "blue.png").pixels.reshape(-1, 3).mean(axis=0)
    assert blue > red + 5
    assert colorize(tmp_path / "large.png", "-o", tmp_path / "both.png", "--compare") == 0
    both = read_photo(tmp_path / "both.png").pixels
    assert both.shape == (300, 800, 3)
    plain = photograph(300, 400)
    for half in (both[:, :400], both[:, 400:]):  # a dark box
        assert half[-3:, :30].mean() < 0.6 * plain[-3:, :30].mean()
    assert np.array_equal(both[:250, :400], plain[:250, :, None].repeat(3, axis=-1))


def test_globs_keep_what_is_behind_their_fixed_part(tmp_path, colorize):
    for name in ("x/1.jpg", "x/2.png", "y/3.jpg"):
        save(tmp_path / "in" / name)
    assert colorize(tmp_path / "in" / "**" / "*.jpg", "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["x/1.jpg", "y/3.jpg"]


def test_a_bad_file_is_reported_at_the_end_and_the_others_are_done(tmp_path, colorize, capsys):
    save(tmp_path / "in/a.jpg")
    save(tmp_path / "in/c.jpg")
    (tmp_path / "in/b.jpg").write_text("Dear Sir")
    (tmp_path / "in/d.png").touch()
    assert colorize(tmp_path / "in", "-o", tmp_path / "out", "--batch-size", 2) == 1
    assert files(tmp_path / "out") == ["a.jpg", "c.jpg"]
    captured = capsys.readouterr()
    assert "Colorized 2 of 4" in captured.out
    *_, first, second = captured.err.splitlines()
    assert "b.jpg: not an image" in first and "d.png: the file is empty" in second


def test_a_defect_in_one_file_is_a_line_too_and_the_others_are_done(tmp_path, colorize, capsys, monkeypatch):
    import nogan.colorize.film
    import nogan.colorize.photos

    def failing_on(name, original, place=0):
        def run(*arguments, **options):
            if Path(arguments[place]).name == name:
                raise KeyError("a defect")
            return original(*arguments, **options)

        return run

    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name)
    make_film(tmp_path / "in/a.mp4", frames=2)
    make_film(tmp_path / "in/b.mp4", frames=2)
    monkeypatch.setattr(nogan.colorize.photos, "read_photo", failing_on("a.png", nogan.colorize.photos.read_photo))
    monkeypatch.setattr(nogan.colorize.photos, "write_photo", failing_on("b.png", nogan.colorize.photos.write_photo, 1))
    monkeypatch.setattr(nogan.colorize.film, "colorize_film", failing_on("a.mp4", nogan.colorize.film.colorize_film, 1))
    assert colorize(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["b.mp4", "c.png"]
    lines = capsys.readouterr().err.splitlines()[-3:]
    for name, line in zip(("a.png", "b.png", "a.mp4"), lines, strict=True):
        assert line == f"  {tmp_path}/in/{name}: KeyError: 'a defect'"


def test_what_is_too_much_for_a_batch_is_done_one_by_one(tmp_path, colorize, capsys, monkeypatch):
    def narrow(self, batch, *arguments, **options):
        if len(batch) > 1 or batch[0].mean() < 5:
            raise UserError("out of memory in colorizing 3 x 64 px on cuda: lower --render-factor or --batch-size")
        return original(self, batch, *arguments, **options)

    original = Colorizer.colorize_pixels
    monkeypatch.setattr(Colorizer, "colorize_pixels", narrow)
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name)
    Image.new("L", (50, 50)).save(tmp_path / "in/b.png")
    assert colorize(tmp_path / "in", "-o", tmp_path / "out", "--batch-size", 3) == 1
    assert files(tmp_path / "out") == ["a.png", "c.png"]
    assert "b.png: out of memory" in capsys.readouterr().err


def test_an_output_above_the_input_is_no_reason_to_find_nothing(tmp_path, colorize, monkeypatch):
    save(tmp_path / "album/1920/a.jpg")
    save(tmp_path / "album/b.jpg")
    monkeypatch.chdir(tmp_path)
    assert colorize("album", "-o", ".") == 0
    assert files(tmp_path) == ["1920/a.jpg", "album/1920/a.jpg", "album/b.jpg", "b.jpg"]
    assert colorize("album/1920", "-o", "album") == 0
    assert colorize("album/*.jpg", "-o", ".", "--overwrite") == 0
    assert files(tmp_path / "album") == ["1920/a.jpg", "a.jpg", "b.jpg"]


def test_a_file_is_colored_once_whatever_leads_to_it(tmp_path, colorize, monkeypatch, capsys):
    source = save(tmp_path / "in/x/a.jpg")
    (tmp_path / "in/x/round").symlink_to(tmp_path / "in", target_is_directory=True)
    assert colorize(f"{tmp_path}/in/**/*.jpg", "-o", tmp_path / "out") == 0
    assert colorize(source, source.parent / ".." / "x" / "a.jpg", "-o", tmp_path / "twice") == 0
    assert files(tmp_path / "out") == ["x/a.jpg"] and files(tmp_path / "twice") == ["a.jpg"]


def test_a_file_without_a_suffix_goes_to_the_file_that_is_named(tmp_path, colorize):
    save(tmp_path / "scan.png").rename(tmp_path / "scan")
    assert colorize(tmp_path / "scan", "-o", tmp_path / "new.png") == 0
    assert files(tmp_path) == ["new.png", "scan"]


def test_names_that_are_not_utf8_are_kept(tmp_path, colorize, capsys):
    odd = os.fsdecode(b"caf\xe9.jpg")
    save(tmp_path / "in" / odd)
    (tmp_path / "in" / f"empty {odd}").touch()
    assert colorize(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == [odd] and "the file is empty" in capsys.readouterr().err


def test_a_folder_is_searched_for_all_that_can_be_read_and_the_rest_is_named(tmp_path, colorize, capsys, monkeypatch):
    monkeypatch.setattr("nogan.colorize.jobs._EXTRAS", {"pillow-heif": (False, (".heic",))})
    monkeypatch.setattr("nogan.colorize.jobs.READ_SUFFIXES", READ_SUFFIXES - {".heic"})
    for name in ("a.gif", "b.avif", "c.jp2", "d.ppm", "e.jfif", "f.jpe", "g.pgm", "h.tga", "i.j2k"):
        save(tmp_path / "in" / name)
    for name in ("d.heic", "e.HEIC", "f.txt", "README"):
        (tmp_path / "in" / name).write_text("?")
    (tmp_path / "in/round.jpg").symlink_to("round.jpg")
    assert colorize(tmp_path / "in", "-o", tmp_path / "out") == 0
    found = ["a.png", "b.png", "c.png", "d.png", "e.jfif", "f.jpe", "g.png", "h.png", "i.png"]
    assert files(tmp_path / "out") == found
    said = capsys.readouterr().out
    assert "5 files skipped: .heic (2), .txt, broken link, without suffix." in said
    assert "Not installed: pillow-heif reads .heic." in said
    (tmp_path / "text").mkdir()
    (tmp_path / "text/f.txt").touch()
    assert colorize(tmp_path / "text", "-o", tmp_path / "out") == 1
    assert "no film found (1 file skipped: .txt)" in capsys.readouterr().err


def test_photographs_with_colors_are_kept_or_done_anew_and_said(tmp_path, colorize, capsys):
    save(tmp_path / "in/gray.png")
    Image.fromarray(scene()).save(tmp_path / "in/color.jpg")
    Image.fromarray(scene()).save(tmp_path / "in/color.gif")
    assert colorize(tmp_path / "in", "-o", tmp_path / "out", "--colored", "skip") == 0
    assert "2 had colors of their own and stayed as before (--colored redo" in capsys.readouterr().out
    assert (tmp_path / "out/color.jpg").read_bytes() == (tmp_path / "in/color.jpg").read_bytes()
    kept, source = (read_photo(tmp_path / name).pixels for name in ("out/color.png", "in/color.gif"))
    assert np.array_equal(kept, source)
    assert np.ptp(read_photo(tmp_path / "out/gray.png").pixels, axis=-1).max() > 0
    assert colorize(tmp_path / "in", "-o", tmp_path / "out", "--overwrite") == 0
    assert "2 had colors of their own, which were replaced (--colored skip" in capsys.readouterr().out
    assert not np.array_equal(read_photo(tmp_path / "out/color.png").pixels, source)


def test_a_name_that_looks_like_an_option_is_explained(tmp_path, colorize, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Path("-scan.jpg"))
    with pytest.raises(SystemExit):
        colorize("-scan.jpg", "-o", "new.jpg")
    assert capsys.readouterr().err.startswith("nogan colorize: -scan.jpg: a name that begins with a dash")
    assert colorize("./-scan.jpg", "-o", "new.jpg") == 0


def test_a_damaged_scan_is_one_line_and_no_chatter_of_the_libraries(tmp_path, colorize, capfd):
    import tifffile

    noise = np.random.default_rng(0).integers(0, 65535, (200, 300, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", noise, compression="zlib", photometric="rgb")
    content = (tmp_path / "scan.tif").read_bytes()
    (tmp_path / "scan.tif").write_bytes(content[: len(content) * 2 // 3])
    assert colorize(tmp_path / "scan.tif", "-o", tmp_path / "new.png") == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and "scan.tif: truncated or damaged" in lines[0]


def test_the_command_is_there_without_the_repository(tmp_path, run_dir):
    save(tmp_path / "a.jpg")
    command = [sys.executable, "-m", "nogan.cli", "colorize", "a.jpg", "-o", "b.jpg", "--checkpoint", str(run_dir)]
    assert subprocess.run([*command, "--render-factor", "4"], cwd=tmp_path, check=False).returncode == 0
    assert files(tmp_path) == ["a.jpg", "b.jpg"]


def test_compare_and_raw(tmp_path, colorize):
    source = save(tmp_path / "old.png")
    assert colorize(source, "-o", tmp_path / "both.png", "--compare") == 0
    both = read_photo(tmp_path / "both.png").pixels
    assert both.shape == (60, 180, 3) and np.array_equal(both[:, :90], np.dstack([photograph()] * 3))
    assert colorize(source, "-o", tmp_path / "new.png") == 0
    assert np.array_equal(both[:, 90:], read_photo(tmp_path / "new.png").pixels)
    assert colorize(source, "-o", tmp_path / "raw.png", "--raw") == 0
    assert not np.array_equal(read_photo(tmp_path / "raw.png").pixels, read_photo(tmp_path / "new.png").pixels)


def test_a_blend_on_the_command_line(tmp_path, colorize, run_dir):
    source, other = save(tmp_path / "old.png"), tmp_path / "other"
    save_generator(build_generator("tiny", "wide", 0.1, seed=4), other)
    blend = ("--blend", f"{run_dir}:0.6", f"{other}:0.4")
    assert colorize(source, "-o", tmp_path / "mixed.png", "--raw", *blend, checkpoint=None) == 0
    mixed = read_photo(tmp_path / "mixed.png").pixels
    parts = [
        Colorizer.load(path, device="cpu", precision="fp32").colorize(photograph(), 4, raw=True)
        for path in (run_dir, other)
    ]
    assert np.abs(mixed - (0.6 * parts[0] + 0.4 * parts[1])).max() <= 2


def test_films_and_photographs_in_one_folder(tmp_path, colorize, capsys):
    save(tmp_path / "in/a.jpg")
    make_film(tmp_path / "in/wall.mp4", frames=6, sound="aac")
    make_film(tmp_path / "in/old.avi", frames=3, codec="mjpeg", pixel_format="yuvj420p", full_range=True)
    make_film(tmp_path / "in/wall.avi", frames=3, codec="mjpeg", pixel_format="yuvj420p", full_range=True)
    make_film(tmp_path / "in/wall.mkv", frames=3)
    assert colorize(tmp_path / "in", "-o", tmp_path / "out", "--stabilize") == 0
    assert files(tmp_path / "out") == ["a.jpg", "old.mkv", "wall.avi.mkv", "wall.mkv", "wall.mp4"]
    assert "flicker of the colors: CDC(1)" in capsys.readouterr().out
    (tmp_path / "in/cut.mp4").write_bytes((tmp_path / "in/wall.mp4").read_bytes()[:900])
    assert colorize(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert "cut.mp4" in capsys.readouterr().err


def test_an_interrupted_run_says_so_and_goes_on(tmp_path, colorize, capsys, monkeypatch):
    for index in range(4):
        save(tmp_path / f"in/{index}.png", seed=index)
    calls = []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    original = Colorizer.colorize_pixels
    monkeypatch.setattr(Colorizer, "colorize_pixels", interrupted)
    assert colorize(tmp_path / "in", "-o", tmp_path / "out") == 130
    assert "goes on" in capsys.readouterr().err
    assert set(files(tmp_path / "out")) <= {"0.png", "1.png"}
    monkeypatch.setattr(Colorizer, "colorize_pixels", original)
    assert colorize(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert len(files(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("missing.jpg", "-o", "{tmp}/out.jpg"), "No such file"),
        (("{tmp}/*.gone", "-o", "{tmp}/out"), "no photograph and no film"),
        (("{tmp}/empty", "-o", "{tmp}/out"), "no photograph and no film"),
        (("{tmp}/a.jpg", "-o", "{tmp}/a.jpg", "--overwrite"), "is an original"),
        (("{tmp}/in", "-o", "{tmp}/in", "--overwrite"), "is an original"),
        (("{tmp}/a.jpg", "{tmp}/in/a.jpg", "-o", "{tmp}/out"), "both become"),
        (("{tmp}/in", "-o", "{tmp}/a.jpg"), "need a folder"),
        (("{tmp}/a.jpg", "-o", "{tmp}/in/a.jpg"), "--overwrite"),
        (("{tmp}/a.jpg", "-o", "{tmp}/a.jpg/b/"), "cannot be made"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.gif"), "cannot write a photograph"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--render-factor", "0"), "--render-factor 0"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--render-factor", "500"), "--render-factor 500"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--render-factor", "x"), "'x'"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--batch-size", "0"), "--batch-size"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--quality", "101"), "--quality"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--max-megapixels", "0.001"), "--max-megapixels"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--max-megapixels", "0"), "'0' is not a number above 0"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--max-megapixels", "-3"), "'-3' is not a number above 0"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--frame-rate", "9"), "--frame-rate"),
        (("https://example.org/a.jpg", "-o", "{tmp}/b.jpg"), "a web address, and nothing is fetched"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--saturation", "-1"), "--saturation -1"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--start", "1"), "--start and --end are times of a film"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--start", "1:75"), "is not a time, such as 90.5"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--start", "2", "--end", "1"), "expected a time after --start 0:00:02.0"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--encoder-option", "tune"), "expected NAME=VALUE"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--hue-limit", "270"), "expected LOW-HIGH:FACTOR"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--tint", "400:5"), "hue of 400"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--checkpoint", "{tmp}/a.jpg"), "not a checkpoint"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--checkpoint", "{tmp}"), "holds no generator.safetensors"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--checkpoint", "{tmp}/none"), "No checkpoint"),
    ],
)
def test_a_users_mistake_is_one_line_and_changes_nothing(tmp_path, run_dir, capsys, arguments, reason):
    save(tmp_path / "a.jpg")
    save(tmp_path / "in/a.jpg")
    (tmp_path / "empty").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    if "--checkpoint" not in given:
        given += ["--checkpoint", str(run_dir)]
    if "--render-factor" not in given:
        given += ["--render-factor", "4"]
    try:
        code = main(["colorize", *given, "--device", "cpu"])
    except SystemExit as stopped:
        code = stopped.code
    assert code in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and reason in lines[0] and lines[0].startswith("nogan colorize: ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users")
def test_a_folder_without_permission_is_said_before_any_work(run_dir, capsys):
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "locked"
        locked.mkdir(mode=0o555)
        Path(folder).chmod(0o755)
        source = save(Path(folder) / "a.png")
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # to root nothing is forbidden
        try:
            code = main(["colorize", str(source), "-o", f"{locked}/", "--checkpoint", str(run_dir), "--device", "cpu"])
        finally:
            os.seteuid(user)
    assert code == 1 and "Permission denied" in capsys.readouterr().err


@pytest.fixture(scope="module")
def deoldify_file(tmp_path_factory) -> Path:
    """DeOldify's artistic generator under the goldens' weights, as the original would save it."""
    file = tmp_path_factory.mktemp("deoldify") / "ColorizeArtistic_gen.pth"
    deoldify.save_generator(deoldify_golden.network("deep"), file)
    return file


@pytest.mark.parametrize(("factor", "expected", "largest"), [(4, "final", 1), (5, "final_rf5", 3)])
def test_the_command_gives_deoldifys_pictures_from_a_file_of_its_kind(
    deoldify_file, tmp_path, factor, expected, largest
):
    arrays = deoldify_golden.inference()
    Image.fromarray(arrays["orig"]).save(tmp_path / "old.png")
    command = [str(tmp_path / "old.png"), "-o", str(tmp_path / "new.png"), "--checkpoint", str(deoldify_file)]
    exact = ("--device", "cpu", "--precision", "fp32")
    assert main(["colorize", *command, "--render-factor", str(factor), "--gamut", "clip", *exact]) == 0
    found = np.asarray(Image.open(tmp_path / "new.png")).astype(int)
    assert np.abs(found - arrays[expected]).max() <= largest


def test_a_model_of_the_built_in_scenes_says_once_that_it_knows_nothing_else(tmp_path, colorize, capsys):
    save(tmp_path / "in/a.png")
    save(tmp_path / "in/b.png")
    network = build_generator("tiny", "wide", 0.1)
    for data, times in (("scenes", 1), ("folder", 0)):
        save_generator(network, tmp_path / data, data=data)
        assert colorize(tmp_path / "in", "-o", tmp_path / f"out-{data}", checkpoint=tmp_path / data) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert said.count("was trained on the built-in scenes") == times
