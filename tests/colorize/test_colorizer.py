"""Color for photographs: the chain to the level, the interface from Python, and the command line."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import cv2
import deoldify_golden
import numpy as np
import pytest
from PIL import Image

from nogan.colorize.colorizer import Colorizer, gray_square, join_luma, upsample
from nogan.colorize.photos import read_photo
from nogan.common.errors import UserError
from nogan.common.threads import WriteBehind, read_ahead
from nogan.networks import build_generator, deoldify
from nogan.networks.generator_file import save_generator

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("colorize", ROOT / "colorize.py")
cli = importlib.util.module_from_spec(spec)
sys.modules["colorize"] = cli
spec.loader.exec_module(cli)


def teal_and_orange(gray):
    """A network with a known answer: dark is teal, light is orange."""
    return np.stack([gray, np.full_like(gray, 0.5), 1 - gray], axis=-1)


COLORIZER = Colorizer([(teal_and_orange, 1.0)])


def golden():
    with np.load(deoldify_golden.DATA / "inference.golden.npz") as arrays:
        return dict(arrays)


def photograph(height=60, width=90, seed=0):
    small = np.random.default_rng(seed).uniform(0, 255, (6, 9)).astype(np.float32)
    return cv2.resize(small, (width, height)).round().astype(np.uint8)


# --- the chain ------------------------------------------------------------------------------------------------------


def test_the_chain_gives_deoldifys_pictures():
    arrays = golden()
    assert np.array_equal(gray_square(arrays["orig"], 64), arrays["model_ready_64"][..., 0])
    std, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
    square = (arrays["net_out_64"].transpose(1, 2, 0) * std + mean).clip(0, 1).astype(np.float32)
    assert np.array_equal(upsample(square, arrays["orig"]), arrays["raw_color"])
    assert np.array_equal(join_luma(square, arrays["orig"]), arrays["final"])


@pytest.mark.parametrize(("factor", "expected", "largest"), [(4, "final", 1), (5, "final_rf5", 3)])
def test_a_deoldify_network_gives_deoldifys_pictures(factor, expected, largest):
    arrays = golden()
    colorizer = Colorizer.of(deoldify_golden.network("deep"), device="cpu")
    found = colorizer.colorize(arrays["orig"], factor).astype(int)
    # The network's floats differ in the last digits: a level of its picture here and there, which the matrices of
    # DeOldify's integer YUV can turn into three.
    assert np.abs(found - arrays[expected]).max() <= largest
    assert (np.abs(found - arrays[expected]) <= 1).mean() > 0.999


@pytest.mark.parametrize(("factor", "expected", "largest"), [(4, "final", 1), (5, "final_rf5", 3)])
def test_the_command_gives_deoldifys_pictures_from_a_file_of_its_kind(
    deoldify_file, tmp_path, factor, expected, largest
):
    arrays = golden()
    Image.fromarray(arrays["orig"]).save(tmp_path / "old.png")
    command = [str(tmp_path / "old.png"), "-o", str(tmp_path / "new.png"), "--checkpoint", str(deoldify_file)]
    assert cli.main([*command, "--render-factor", str(factor), "--device", "cpu"]) == 0
    found = np.asarray(Image.open(tmp_path / "new.png")).astype(int)
    assert np.abs(found - arrays[expected]).max() <= largest


@pytest.fixture(scope="module")
def deoldify_file(tmp_path_factory) -> Path:
    """DeOldify's artistic generator under the goldens' weights, as the original would save it."""
    file = tmp_path_factory.mktemp("deoldify") / "ColorizeArtistic_gen.pth"
    deoldify.save_generator(deoldify_golden.network("deep"), file)
    return file


@pytest.mark.parametrize("shape", [(60, 90), (60, 90, 3), (700, 40, 3), (30, 500, 3), (900, 600, 3)])
def test_the_square_is_pillows_to_the_level(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR).convert("L")
    assert np.array_equal(gray_square(pixels, 64), np.asarray(expected))
    assert np.array_equal(gray_square(pixels.astype(np.uint16) * 257, 64), np.asarray(expected))


def test_large_photographs_go_in_strips_and_show_no_seams(monkeypatch):
    picture = np.repeat(photograph(300, 200)[..., None], 3, axis=2)
    square = teal_and_orange(gray_square(picture, 64)[None].astype(np.float32) / 255)[0]
    for function in (join_luma, upsample):
        for dtype, scale in ((np.uint8, 1), (np.uint16, 257)):
            pixels = picture.astype(dtype) * dtype(scale)
            monkeypatch.setattr("nogan.colorize.colorizer.STRIP_PIXELS", 1 << 30)
            whole = function(square, pixels)
            monkeypatch.setattr("nogan.colorize.colorizer.STRIP_PIXELS", 2000)
            # Pillow's box is in float32: a level of the small picture may round the other way, now and then.
            assert (np.abs(function(square, pixels).astype(int) - whole) > 3 * scale).sum() == 0


# --- from Python ----------------------------------------------------------------------------------------------------


def test_arrays_and_images_come_back_as_they_went_in():
    gray = photograph()
    expected = COLORIZER.colorize(gray, 6)
    assert expected.shape == (60, 90, 3) and expected.dtype == np.uint8
    assert np.array_equal(COLORIZER.colorize(np.dstack([gray] * 3), 6), expected)

    rgba = COLORIZER.colorize(np.dstack([gray] * 3 + [photograph(seed=1)]), 6)
    assert np.array_equal(rgba[..., :3], expected) and np.array_equal(rgba[..., 3], photograph(seed=1))

    deep = COLORIZER.colorize(gray.astype(np.uint16) * 257, 6)
    assert (
        deep.dtype == np.uint16 and np.abs(deep / 257 - expected).max() < 4 and np.abs(deep / 257 - expected).mean() < 1
    )
    for dtype in (np.float32, np.float64):
        unit = COLORIZER.colorize(gray.astype(dtype) / 255, 6)
        assert unit.dtype == dtype and np.abs(unit * 255 - expected).mean() < 1

    image = COLORIZER.colorize(Image.fromarray(gray), render_factor=6)
    assert image.mode == "RGB" and np.array_equal(np.array(image), expected)
    assert COLORIZER.colorize(Image.fromarray(gray).convert("LA"), 6).mode == "RGBA"
    for mode in ("P", "CMYK", "1", "I;16", "YCbCr"):
        assert COLORIZER.colorize(Image.fromarray(gray).convert(mode), 6).size == (90, 60)


def test_an_image_is_turned_upright_first():
    image = Image.fromarray(photograph())
    image.getexif()[0x0112] = 6
    assert COLORIZER.colorize(image, 6).size == (60, 90)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
def test_an_image_keeps_what_goes_along(tmp_path, suffix):
    profile = bytes(16) + b"RGB " + bytes(200)  # any RGB profile, AdobeRGB say
    exif = Image.Exif()
    exif[315], exif[274] = "A. Photographer", 6
    exif.get_ifd(0x8825)[1] = "N"
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    Image.fromarray(photograph()).convert("RGB").save(source, exif=exif.tobytes(), icc_profile=profile, dpi=(300, 300))
    for opened_before in (False, True):
        with Image.open(source) as image:
            if opened_before:
                image.load()
            result = COLORIZER.colorize(image, 6)
        assert result.size == (60, 90) and result.info["icc_profile"] == profile
        result.save(target, **result.info)
        with Image.open(target) as found:
            assert found.info["icc_profile"] == profile
            assert found.getexif()[315] == "A. Photographer" and found.getexif().get(274, 1) == 1
            assert found.getexif().get_ifd(0x8825)[1] == "N"
            if suffix != "webp":
                assert [round(float(value)) for value in found.info["dpi"]] == [300, 300]


def test_an_image_is_treated_as_its_file(tmp_path):
    from test_photos import cmyk_profile, gray_profile

    rgb = Image.fromarray(np.dstack([photograph(), photograph(seed=1), photograph(seed=2)]))
    for mode, profile in (("CMYK", cmyk_profile()), ("L", gray_profile(1.0))):
        rgb.convert(mode).save(tmp_path / "a.jpg", icc_profile=profile)
        photo = read_photo(tmp_path / "a.jpg")
        result = COLORIZER.colorize(Image.open(tmp_path / "a.jpg"), 6)
        assert np.array_equal(np.array(result), COLORIZER.colorize(photo.pixels, 6))
        assert result.info["icc_profile"] == photo.metadata["icc_profile"]


def test_luma_is_the_photographs_and_chroma_the_networks():
    # Middle gray and weak colors, so that nothing leaves the gamut.
    picture = (100 + photograph() // 5).astype(np.uint8)
    square = np.full((64, 64, 3), 0.5, np.float32) + np.array([0.05, 0, -0.05], np.float32)
    result = join_luma(square, picture)
    assert np.abs(cv2.cvtColor(result, cv2.COLOR_RGB2YUV)[..., 0].astype(int) - picture).max() <= 1
    chroma = cv2.cvtColor(result, cv2.COLOR_RGB2YUV)[..., 1:].reshape(-1, 2)
    expected = cv2.cvtColor((square[:1, :1] * 255).astype(np.uint8), cv2.COLOR_RGB2YUV)[0, 0, 1:]
    assert np.abs(chroma.astype(int) - expected).max() <= 1
    raw = COLORIZER.colorize(picture, 6, raw=True)
    assert np.abs(raw[..., 1].astype(int) - 127).max() <= 1


def test_a_blend_mixes_the_pictures():
    def red(gray):
        return np.stack([gray * 0 + 0.8, gray * 0 + 0.2, gray * 0 + 0.2], axis=-1)

    def blue(gray):
        return np.stack([gray * 0 + 0.2, gray * 0 + 0.2, gray * 0 + 0.8], axis=-1)

    mixed = Colorizer([(red, 3.0), (blue, 1.0)]).colorize(photograph(), 6, raw=True)
    assert np.abs(mixed.reshape(-1, 3).mean(0) / 255 - [0.65, 0.2, 0.35]).max() < 0.01


@pytest.mark.parametrize(
    ("image", "factor", "reason"),
    [
        (photograph(), 0, "--render-factor 0"),
        (photograph(), 500, "--render-factor 500"),
        (photograph(), "high", "--render-factor 'high'"),
        (photograph()[None, ..., None], 10, "shape"),
        (np.zeros((0, 5), np.uint8), 10, "shape"),
        (photograph().astype(np.int64), 10, "int64"),
    ],
)
def test_wrong_arguments_are_said(image, factor, reason):
    with pytest.raises(UserError, match=reason):
        COLORIZER.colorize(image, factor)


def test_precisions_agree_and_other_settings_are_checked(run_dir):
    gray = photograph()
    exact = Colorizer.load(run_dir, device="cpu").colorize(gray, 4)
    rounded = Colorizer.load(run_dir, device="cpu", precision="bf16").colorize(gray, 4)
    assert np.abs(exact.astype(int) - rounded).mean() < 4
    for settings, reason in (({"device": "tpu9"}, "--device tpu9"), ({"precision": "fp4"}, "--precision fp4")):
        with pytest.raises(UserError, match=reason):
            Colorizer.load(run_dir, **settings)
    with pytest.raises(UserError, match="weight"):
        Colorizer.load({str(run_dir): 0.0}, device="cpu")


@pytest.mark.parametrize(
    ("settings", "reason"), [({"precision": "bf16"}, "--precision bf16"), ({"compile": True}, "--compile")]
)
def test_what_an_onnx_export_cannot_follow_is_said(tmp_path, settings, reason):
    (tmp_path / "a.onnx").write_bytes(b"not opened")
    with pytest.raises(UserError, match=f"{reason}.*ONNX.*leave it out"):
        Colorizer.load(tmp_path / "a.onnx", **settings)


def test_running_out_of_memory_says_what_to_lower():
    class Hungry:
        def __call__(self, x):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    network = build_generator("tiny", "wide", 0.1)
    colorizer = Colorizer.of(network, device="cpu")
    colorizer._networks = [(_wrapped(Hungry()), 1.0)]
    with pytest.raises(UserError, match="--render-factor or --batch-size"):
        colorizer.colorize(photograph(), 4)


def _wrapped(forward):
    from torch import nn

    from nogan.colorize.colorizer import _torch_network

    class Module(nn.Module):
        config: ClassVar = {}

        def forward(self, x):
            return forward(x)

    return _torch_network(Module(), "cpu", "fp32", False)


def test_the_colorizer_is_imported_without_torch():
    script = "import sys; from nogan import Colorizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- beside the network ---------------------------------------------------------------------------------------------


def sized(nbytes, log, count):
    """``count`` items of so many bytes, each noted in ``log`` when it is made."""
    for index in range(count):
        log.append(index)
        yield index, SimpleNamespace(nbytes=nbytes)


@pytest.mark.parametrize(("nbytes", "ahead"), [(10, 1), (100, 0)])
def test_large_items_are_read_one_at_a_time_and_small_ones_ahead(nbytes, ahead):
    made = []
    for index, (number, _) in enumerate(read_ahead(sized(nbytes, made, 5), 1, budget=50)):
        expected, deadline = min(index + 1 + ahead, 5), time.monotonic() + 5
        while len(made) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)  # for one too many
        assert number == index and len(made) == expected


@pytest.mark.parametrize(("nbytes", "waits"), [(10, False), (100, True)])
def test_large_items_are_written_before_the_next_is_read(nbytes, waits):
    release, written = threading.Event(), []

    def write(item):
        assert release.wait(0.1 if waits else 5)
        written.append(item)

    if waits:
        release.set()
    with WriteBehind(write, 1, budget=50) as writer:
        writer.put(SimpleNamespace(nbytes=nbytes))
        assert bool(written) == waits
        release.set()
    assert len(written) == 1


def test_a_reader_that_fails_or_is_left_stops():
    def broken():
        yield 1
        raise OSError("gone")

    items = read_ahead(broken(), 1)
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
    made = []
    items = read_ahead(sized(100, made, 5), 1, budget=50)
    next(items)
    items.close()
    assert made == [0]


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_generator(build_generator("tiny", "wide", 0.1), folder)
    return folder


@pytest.fixture
def colorize(run_dir):
    """``colorize("a.jpg", "-o", "b.jpg")`` on the command line, with a checkpoint: the exit code."""

    def run(*arguments, checkpoint=run_dir):
        fixed = ["--checkpoint", str(checkpoint), "--device", "cpu"] if checkpoint else ["--device", "cpu"]
        return cli.main([*map(str, arguments), "--render-factor", "4", *fixed])

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
    assert "2 were there already" in capsys.readouterr().out
    assert (out / "1920/b.png").read_bytes() == b"mine" and (out / "a.jpg").exists()
    assert colorize(album, "-o", out, "--overwrite") == 0
    assert read_photo(out / "1920/b.png").pixels.shape == (60, 90, 3)
    assert colorize(album, "-o", out) == 0  # nothing left to do is no failure


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
    assert "Colored 2 of 4" in captured.out
    *_, first, second = captured.err.splitlines()
    assert "b.jpg: no image" in first and "d.png: the file is empty" in second


def test_a_defect_in_one_file_is_a_line_too_and_the_others_are_done(tmp_path, colorize, capsys, monkeypatch):
    from test_video import make_film

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
            raise UserError("out of memory in coloring 3 x 64 px on cuda: lower --render-factor or --batch-size")
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


def test_a_folder_is_searched_for_all_that_can_be_read_and_the_rest_is_named(tmp_path, colorize, capsys):
    for name in ("a.gif", "b.avif", "c.jp2"):
        save(tmp_path / "in" / name)
    for name in ("d.heic", "e.HEIC", "f.txt", "README"):
        (tmp_path / "in" / name).write_text("?")
    assert colorize(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["a.png", "b.png", "c.png"]
    assert "4 files skipped: .heic (2), .txt, without suffix." in capsys.readouterr().out
    (tmp_path / "text").mkdir()
    (tmp_path / "text/f.txt").touch()
    assert colorize(tmp_path / "text", "-o", tmp_path / "out") == 1
    assert "no film in there (1 file skipped: .txt)" in capsys.readouterr().err


def test_a_name_that_looks_like_an_option_is_explained(tmp_path, colorize, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Path("-scan.jpg"))
    with pytest.raises(SystemExit):
        colorize("-scan.jpg", "-o", "new.jpg")
    assert capsys.readouterr().err.startswith("colorize.py: -scan.jpg: a name that begins with a dash")
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
    command = [sys.executable, "-m", "nogan.commands.colorize", "a.jpg", "-o", "b.jpg", "--checkpoint", str(run_dir)]
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
    parts = [Colorizer.load(path, device="cpu").colorize(photograph(), 4, raw=True) for path in (run_dir, other)]
    assert np.abs(mixed - (0.6 * parts[0] + 0.4 * parts[1])).max() <= 2


def test_films_and_photographs_in_one_folder(tmp_path, colorize, capsys):
    from test_video import make_film

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
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--max-megapixels", "0"), "'0' is no number above 0"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--max-megapixels", "-3"), "'-3' is no number above 0"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--frame-rate", "9"), "--frame-rate"),
        (("{tmp}/a.jpg",), "-o"),
        (("{tmp}/a.jpg", "-o", "{tmp}/b.jpg", "--checkpoint", "{tmp}/a.jpg"), "no checkpoint"),
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
        code = cli.main([*given, "--device", "cpu"])
    except SystemExit as stopped:
        code = stopped.code
    assert code in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and reason in lines[0] and lines[0].startswith("colorize.py: ")
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
            code = cli.main([str(source), "-o", f"{locked}/", "--checkpoint", str(run_dir), "--device", "cpu"])
        finally:
            os.seteuid(user)
    assert code == 1 and "Permission denied" in capsys.readouterr().err
