"""`nogan evaluate`: what comes out, what goes on after an interruption, and what is said of bad input."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nogan.cli import main
from nogan.common import distributed
from nogan.common.errors import UserError
from nogan.evaluation import measuring
from nogan.evaluation.colorizers import requests_of
from nogan.evaluation.evaluate import Options, evaluate
from nogan.evaluation.measures import MEASURES
from nogan.evaluation.measuring import as_tensor
from nogan.evaluation.metrics import colorfulness, psnr
from nogan.evaluation.protocols import load_protocol, protocol_names
from nogan.evaluation.results import ResultsFolder, read_results
from nogan.evaluation.tables import latex
from nogan.networks.generator_file import save_generator, save_half
from tests.conftest import ROOT
from tests.small_networks import tiny

COUNT = 5
OPTIONS = ("--render-factor", "4", "--skip", "fid", "lpips")  # whose weights tests do not load


def words(models, pictures):
    """A model, a blend, and what another program made."""
    return [str(models[0]), f"mix={models[0]}:1+{models[1]}:3", f"theirs={pictures}"]


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
    assert main(["evaluate", *words(models, pictures), *OPTIONS, "--data", str(photographs), "-o", str(out)]) == 0
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
        assert results.values["truth"]["cf"][number] == pytest.approx(colorfulness(truth).item(), rel=1e-6)


def test_the_table_of_images_has_a_line_for_each(evaluated):
    with (evaluated / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == read_results(evaluated).images
    assert {"gray/psnr", "theirs/psnr", "truth/cf"} <= set(rows[0])


def test_pictures_are_kept_under_the_names_of_the_photographs(evaluated):
    results, folder = read_results(evaluated), ResultsFolder(evaluated)
    for entry in results.measured:
        assert all(folder.picture(entry, image).is_file() for image in results.images)


def test_a_cut_evaluation_goes_on(evaluated, photographs, models, pictures):
    before = (evaluated / "results.json").read_text()
    kept = {path: path.stat().st_mtime_ns for path in (evaluated / "measured").rglob("*.npz")}
    lost = next(path for path in kept if path.parent.name.startswith("a-"))
    lost.unlink()
    assert main(["evaluate", *words(models, pictures), *OPTIONS, "--data", str(photographs), "-o", str(evaluated)]) == 0
    assert (evaluated / "results.json").read_text() == before
    changed = [path for path, time in kept.items() if path.stat().st_mtime_ns != time]
    assert changed == [lost]


def files_of(folder):
    """When each file of what was measured was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "measured").rglob("*.npz")}


def test_what_was_measured_stays_where_measures_photographs_or_pictures_are_added(
    photographs, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(measuring, "CHUNK", 2)
    out = tmp_path / "out"
    common = ([str(pictures)], str(photographs), out)
    settings = {"render_factors": (4,), "keep": 2}
    evaluate(*common, Options(**settings, images=4, skip=("fid", "lpips", "psnr")))
    before, painted = files_of(out), count_of_painted(monkeypatch)
    evaluate(*common, Options(**settings, images=4, skip=("fid", "lpips", "psnr", "ssim")))
    assert not painted and files_of(out) == before  # fewer measures
    evaluate(*common, Options(**settings, skip=("fid", "lpips", "psnr")))
    assert set(painted) == {"b/3"} and before.items() <= files_of(out).items()  # a fifth photograph
    painted.clear()
    found = evaluate(*common, Options(**settings, skip=("fid", "lpips")))
    assert len(painted) == 3 * COUNT and set(files_of(out)) >= set(before)  # a further measure
    painted.clear()
    again = evaluate(*common, Options(**settings, skip=("fid", "lpips")))
    assert not painted and again == found
    evaluate(*common, Options(**{**settings, "keep": 3}, skip=("fid", "lpips")))
    assert set(painted) == {"4", "b/1"}  # the chunk of the third picture, which is to be kept now
    whole = evaluate(*common[:2], tmp_path / "whole", Options(**settings, skip=("fid", "lpips")))
    assert whole.values == again.values


def count_of_painted(monkeypatch):
    """The names of the photographs that anything is painted for from here on."""
    painted = []
    measure = measuring.Measuring._measured

    def noted(self, truth, *rest):
        painted.append(truth.name)
        return measure(self, truth, *rest)

    monkeypatch.setattr(measuring.Measuring, "_measured", noted)
    return painted


def test_a_model_is_measured_at_its_own_render_factor(photographs, models, tmp_path):
    own = save_half(models[0], tmp_path / "own.safetensors", 5)
    skip = ("fid", "lpips", "shift_variation", "scale_variation")
    found = evaluate([str(own)], str(photographs), tmp_path / "o", Options(images=2, skip=skip))
    assert [entry.render_factor for entry in found.entries] == [None, 5, None]
    assert found.settings["render_factor"] == "what the file of each says, else 35, for models"
    others = requests_of([str(models[0]), f"{own}:1+{models[0]}:1"], [None])
    assert [request.render_factor for request in others] == [35, 35]


def test_a_model_at_two_vividnesses_has_two_rows(photographs, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    save_generator(tiny(0), run / "generator.safetensors", size=32)
    save_generator(tiny(1), run / "generator@pretrained.safetensors", size=32)
    requests = [f"{run}:v0", f"half={run}:v0.5:3+{run}:1", str(run)]
    options = Options(images=2, render_factors=(4,), skip=("fid", "lpips"))
    results = evaluate(requests, str(photographs), tmp_path / "o", options)
    steady, half, vivid = (results.values[name]["psnr"] for name in ("run:v0", "half", "run"))
    assert steady != vivid and half not in (steady, vivid)
    pretrained = evaluate([f"before={run}/generator@pretrained.safetensors"], str(photographs), tmp_path / "p", options)
    assert pretrained.values["before"]["psnr"] == pytest.approx(steady, rel=1e-6)


def measured_values(folder):
    """Every number of an evaluation; -1 where nothing was measured."""
    results = read_results(folder)
    aggregates = [estimate.value for entry in results.entries for estimate in entry.aggregates.values()]
    per_image = [value for values in results.values.values() for column in values.values() for value in column]
    return [-1 if value is None else value for value in (*aggregates, *per_image)]


def test_batches_and_processes_change_nothing(evaluated, photographs, models, pictures, tmp_path, monkeypatch):
    """Two processes share the chunks of two photographs, in batches of three; together they find what one did."""
    monkeypatch.setattr(measuring, "CHUNK", 2)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "barrier", lambda: None)
    options = Options(render_factors=(4,), skip=("fid", "lpips"), batch_size=3)
    arguments = (words(models, pictures), str(photographs), tmp_path / "out", options)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    with pytest.raises(UserError, match="no evaluation there"):  # the other one has done nothing yet
        evaluate(*arguments)
    second = len(list((tmp_path / "out" / "measured").rglob("*.npz")))
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    evaluate(*arguments)
    assert second == 5 and len(list((tmp_path / "out" / "measured").rglob("*.npz"))) == 15
    assert measured_values(tmp_path / "out") == pytest.approx(measured_values(evaluated), rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_torchrun_finds_what_one_process_does(photographs, models, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(12):  # two chunks
        Image.fromarray(photograph(number)).save(many / f"{number:02d}.png")
    ends = ["evaluate", str(models[0]), "--data", str(many), *OPTIONS, "-o"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "nogan.cli"]
    ran = subprocess.run(
        [*run, *ends, str(tmp_path / "two")], env=environment, capture_output=True, text=True, timeout=400
    )
    assert ran.returncode == 0, ran.stderr
    assert main([*ends, str(tmp_path / "one")]) == 0
    assert measured_values(tmp_path / "two") == pytest.approx(measured_values(tmp_path / "one"), rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_photographs():
    from benchmarks.evaluate import peak_memory

    assert peak_memory(5000) == pytest.approx(peak_memory(500), rel=0.1)


def test_the_table_of_a_paper(evaluated):
    text = (evaluated / "table.md").read_text()
    results = read_results(evaluated)
    psnr = next(entry for entry in results.entries if entry.name == "theirs").aggregates["psnr"]
    assert f"{psnr.value:.2f} dB [{psnr.low:.2f}, {psnr.high:.2f}]" in text
    assert "| PSNR ↑ |" in text and "- fid: left out (--skip)" in text and "each photograph at its own size" in text
    table = latex(results)
    assert (
        table.count(r"\\") == 1 + len(results.entries)
        and r"\textbf{" in table
        and "%" not in table.replace(r"\%", "")[1:]
    )


def test_published_figures_stand_beside_ours_and_are_marked(photographs, pictures, tmp_path, capsys):
    arguments = [f"theirs={pictures}", "--data", str(photographs), "-o", str(tmp_path / "o"), *OPTIONS]
    assert main(["evaluate", *arguments, "--protocol", "ddcolor"]) == 0
    results = read_results(tmp_path / "o")
    published = [entry for entry in results.entries if entry.kind == "published"]
    assert published[0].name == "DDColor-L" and all(entry.source for entry in published)
    assert published[0].aggregates["fid"].value == 3.92
    assert "| DDColor-L (published) |" in (tmp_path / "o" / "table.md").read_text()
    assert "the middle square, resized to 256 x 256 px" in results.settings["size"]
    assert results.settings["images"].startswith("5, fewer than the protocol has (the first 5000")
    assert results.settings["render_factor"] == "4, for models (--render-factor; the protocol's is 16)"


def test_the_validation_set_of_a_download_is_found_and_taken_by_its_numbers(tmp_path, pictures, capsys):
    val = tmp_path / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    for folder, number in (("n02", 1), ("n01", 2)):
        (val / folder).mkdir(parents=True)
        Image.fromarray(photograph(number)).save(val / folder / f"ILSVRC2012_val_0000000{number}.JPEG")
    copies = tmp_path / "copies"  # flat, as another program wrote them
    copies.mkdir()
    for path in val.rglob("*.JPEG"):
        Image.open(path).save(copies / f"{path.stem}.png")
    arguments = [str(copies), "--data", str(tmp_path / "imagenet"), "-o", str(tmp_path / "o"), *OPTIONS]
    assert main(["evaluate", *arguments, "--protocol", "ddcolor"]) == 0
    results = read_results(tmp_path / "o")
    assert results.images == ["n02/ILSVRC2012_val_00000001", "n01/ILSVRC2012_val_00000002"]
    assert results.entries[1].aggregates["psnr"].value == 100


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_is_said_in_full(name):
    protocol = load_protocol(name)
    said = protocol.said_in_full()
    assert set(said) == {"size", "codec", "luma", "render_factor", "images"} and all(said.values())
    assert all(key in MEASURES for published in protocol.published for key in published.values)


def test_runs_are_grouped_by_a_key_of_their_config(photographs, models, tmp_path):
    runs = []
    for seed, model in enumerate(models):
        run = tmp_path / f"run-{seed}"
        run.mkdir()
        (run / "generator.safetensors").write_bytes(model.read_bytes())
        (run / "config.yaml").write_text(f"seed: {seed}\nmodel: {{name: tiny, width: 1.0}}\n")
        runs.append(str(run))
    arguments = [*runs, "--data", str(photographs), "-o", str(tmp_path / "o"), *OPTIONS, "--images", "2"]
    assert main(["evaluate", *arguments, "--group-by", "model"]) == 0
    results = read_results(tmp_path / "o")
    (group,) = results.groups
    values = [entry.aggregates["psnr"].value for entry in results.entries if entry.group == "tiny"]
    assert group.name == "tiny" and group.members == ["run-0", "run-1"]
    assert group.aggregates["psnr"].mean == pytest.approx(np.mean(values))
    assert group.aggregates["psnr"].deviation == pytest.approx(np.std(values, ddof=1))


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
    for number in range(2):
        Image.fromarray(photograph(number)).convert("L").save(gray / f"{number}.png")
    error = complaint(capsys, pictures, "--data", gray, "-o", tmp_path / "o")
    assert f"--data {gray}: the photographs are gray" in error


def test_one_photograph_is_too_few(photographs, pictures, tmp_path, capsys):
    error = complaint(capsys, pictures, "--data", photographs, "-o", tmp_path / "o", "--images", "1")
    assert "one photograph; expected 2 or more" in error


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{0}:v2", "--vividness 2: expected a number from 0"),
        ("{0}:v0.5", "no such knob"),
        ("{0}:0", "must be above 0"),
    ],
)
def test_a_wrong_vividness_or_weight_is_one_line(photographs, models, tmp_path, capsys, word, said):
    error = complaint(capsys, word.format(models[0]), "--data", photographs, "-o", tmp_path / "o")
    assert said in error and not (tmp_path / "o").exists()


def test_results_do_not_lie_among_the_photographs(photographs, pictures, capsys):
    error = complaint(capsys, pictures, "--data", photographs, "-o", photographs / "results")
    assert f"-o {photographs / 'results'} is inside --data {photographs}" in error


def test_a_folder_with_other_things_in_it_is_left_alone(photographs, pictures, capsys):
    error = complaint(capsys, photographs, "--data", photographs, "-o", pictures)
    assert f"-o {pictures} holds other files" in error
