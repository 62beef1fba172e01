"""`nogan evaluate`: what comes out, what goes on after an interruption, and what is said of bad input."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from nogan.cli import main
from nogan.evaluation.measuring import as_tensor
from nogan.evaluation.metrics import colorfulness, psnr
from nogan.evaluation.results import ResultsFolder, read_results
from nogan.networks.generator_file import save_generator
from tests.small_networks import tiny

COUNT = 5


def photograph(seed, height=48, width=64):
    """Smooth colors and some noise, RGB ``(height, width, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8)).resize((width, height))
    return (np.asarray(coarse) * 0.9 + rng.integers(0, 25, (height, width, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "b").mkdir()
    for number in range(COUNT):
        name = f"{'b/' if number % 2 else ''}{number}.png"
        Image.fromarray(photograph(number)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def pictures(photographs, tmp_path_factory):
    """What another program made of the photographs: everything a little too red."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in photographs.rglob("*.png"):
        target = folder / path.relative_to(photographs).with_suffix(".bmp")
        target.parent.mkdir(exist_ok=True)
        red, green, blue = Image.open(path).split()
        Image.merge("RGB", [red.point(lambda level: min(level + 20, 255)), green, blue]).save(target)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [save_generator(tiny(seed), folder / f"{name}.safetensors", size=32) for seed, name in enumerate("ab")]


@pytest.fixture(scope="module")
def evaluated(photographs, pictures, models, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out"
    words = [str(models[0]), f"mix={models[0]}:1+{models[1]}:3", f"theirs={pictures}"]
    assert main(["evaluate", *words, "--data", str(photographs), "-o", str(out), "--render-factor", "4"]) == 0
    return out


def test_every_table_has_gray_and_truth_and_measures_tell_them_apart(evaluated):
    results = read_results(evaluated)
    entries = {entry.name: entry for entry in results.entries}
    assert list(entries) == ["gray", "a", "mix", "theirs", "truth"]
    assert entries["truth"].aggregates["psnr"].value == 100 and entries["gray"].aggregates["psnr"].value < 30
    assert entries["gray"].aggregates["colorfulness_ratio"].value == 0
    assert entries["truth"].aggregates["colorfulness_ratio"].value == 1


def test_values_of_images_are_those_of_the_measures(evaluated, photographs, pictures):
    results = read_results(evaluated)
    assert results.images == ["0", "2", "4", "b/1", "b/3"]
    for number, image in enumerate(results.images):
        truth, output = (
            as_tensor(np.asarray(Image.open(folder / f"{image}.{suffix}")))
            for folder, suffix in ((photographs, "png"), (pictures, "bmp"))
        )
        assert results.values["theirs"]["psnr"][number] == pytest.approx(psnr(output, truth).item(), rel=1e-6)
        assert results.values["truth"]["colorfulness"][number] == pytest.approx(colorfulness(truth).item(), rel=1e-6)


def test_the_table_of_images_has_a_line_for_each(evaluated):
    with (evaluated / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == read_results(evaluated).images
    assert {"gray/psnr", "theirs/psnr", "truth/colorfulness"} <= set(rows[0])


def test_pictures_are_kept_under_the_names_of_the_photographs(evaluated):
    results, folder = read_results(evaluated), ResultsFolder(evaluated)
    for entry in results.measured:
        assert all(folder.picture(entry, image).is_file() for image in results.images)


def test_a_cut_evaluation_goes_on(evaluated, photographs, models, capsys):
    before = (evaluated / "results.json").read_text()
    kept = {path: path.stat().st_mtime_ns for path in (evaluated / "measured").rglob("*.npz")}
    lost = next(path for path in kept if path.parent.name.startswith("a-"))
    lost.unlink()
    words = json.loads(before)["entries"][1:-1]
    sources = [str(models[0]), f"mix={models[0]}:1+{models[1]}:3", f"theirs={words[2]['source']}"]
    arguments = ["--data", str(photographs), "-o", str(evaluated), "--render-factor", "4"]
    assert main(["evaluate", *sources, *arguments]) == 0
    assert (evaluated / "results.json").read_text() == before
    changed = [path for path, time in kept.items() if path.stat().st_mtime_ns != time]
    assert changed == [lost]


def complaint(capsys, *arguments):
    """What ``nogan evaluate`` says of bad input: one line."""
    assert main(["evaluate", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nogan evaluate: ") and error.count("\n") == 1
    return error


def test_an_unknown_protocol_is_one_line(photographs, pictures, tmp_path, capsys):
    error = complaint(capsys, pictures, "--data", photographs, "-o", tmp_path / "o", "--protocol", "ddcolour")
    assert "--protocol ddcolour: expected one of" in error


def test_fewer_pictures_and_other_names_are_one_line(photographs, pictures, tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    (few / "0.png").write_bytes((photographs / "0.png").read_bytes())
    error = complaint(capsys, few, "--data", photographs, "-o", tmp_path / "o")
    assert f"{few}: no picture for 4 of 5 photographs of {photographs} (2, 4, b/1, …)" in error
    (few / "0.png").rename(few / "other.png")
    error = complaint(capsys, few, "--data", photographs, "-o", tmp_path / "o")
    assert "its own are called other" in error
    assert not (tmp_path / "o").exists()


def test_another_size_is_one_line(photographs, tmp_path, capsys):
    other = tmp_path / "other"
    (other / "b").mkdir(parents=True)
    for path in photographs.rglob("*.png"):
        Image.open(path).resize((40, 40)).save(other / path.relative_to(photographs))
    error = complaint(capsys, other, "--data", photographs, "-o", tmp_path / "o")
    assert "0.png: 40 x 40 px; expected 64 x 48, as its photograph" in error


def test_photographs_without_colors_are_no_truth(pictures, tmp_path, capsys):
    gray = tmp_path / "gray"
    gray.mkdir()
    Image.fromarray(photograph(0)).convert("L").save(gray / "0.png")
    error = complaint(capsys, pictures, "--data", gray, "-o", tmp_path / "o")
    assert f"--data {gray}: the photographs are gray" in error


def test_a_folder_with_other_things_in_it_is_left_alone(photographs, pictures, capsys):
    error = complaint(capsys, pictures, "--data", photographs, "-o", photographs)
    assert f"-o {photographs} holds other files" in error
