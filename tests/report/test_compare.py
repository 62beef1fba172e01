"""compare.html: which runs it finds, in what they differ, and how it behaves in a browser."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nogan.cli import main
from nogan.common.errors import UserError
from nogan.report.collect import best, collect, show
from nogan.report.compare_page import SETTINGS_SHOWN, write_comparison
from nogan.report.run_data import repeat_command
from nogan.report.terms import MEASURED
from nogan.runs.environment import environment
from nogan.runs.run_folder import write_json

COMMON = ("experiment=quickstart", "sweep=optuna", "probe={images:4,size:32}")  # what every trial's command line says


@pytest.fixture
def sweep(finished_run, tmp_path) -> Path:
    """A folder of trials: three that ended differently, one that failed before it began."""
    folder = tmp_path / "multirun"

    def trial(number: int, lr: float, change: Callable[[dict], None]) -> None:
        here = folder / str(number)
        shutil.copytree(
            finished_run,
            here,
            ignore=shutil.ignore_patterns("wandb", "fakes", "checkpoints", "snapshots", "checksums.json"),
        )
        config = yaml.safe_load((here / "config.yaml").read_text())
        config["nogan"]["gan"]["lr"] = lr
        config["logger"]["project"] = f"project-{number}"  # no setting of the run
        (here / "config.yaml").write_text(yaml.safe_dump(config))
        (here / ".hydra").mkdir()
        (here / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*COMMON, f"nogan.gan.lr={lr}"]))
        records = json.loads((here / "records.json").read_text())
        change(records[-1]["metrics"])
        (here / "records.json").write_text(json.dumps(records))

    trial(2, 1e-5, lambda metrics: metrics.update(psnr=20.0, chroma_fd=30.0, colorfulness_ratio=1.3))
    trial(9, 2e-5, lambda metrics: metrics.update(psnr=22.0, chroma_fd=10.0, colorfulness_ratio=0.9))
    trial(10, 5e-5, lambda metrics: metrics.update(psnr=21.0, chroma_fd=20.0, colorfulness_ratio=1.05))
    failed = folder / "11"
    (failed / ".hydra").mkdir(parents=True)
    (failed / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*COMMON, "nogan.gan.lr=7"]))
    (failed / "failed.txt").write_text("nogan.gan.lr=7: expected less than or equal to 1\n")
    return folder


def test_what_is_found_and_in_what_it_differs(sweep):
    entries = collect([sweep])
    assert [entry.place for entry in entries] == ["2", "9", "10", "11"]  # as people count
    assert [entry.label for entry in entries] == ["gan.lr=1e-5", "gan.lr=2e-5", "gan.lr=5e-5", "gan.lr=7"]
    assert [entry.status for entry in entries] == ["complete"] * 3 + ["failed"]
    assert entries[0].settings.keys() == {"nogan.gan.lr"}  # neither the logger nor what is the same everywhere
    assert [entry.settings["nogan.gan.lr"] for entry in entries] == [1e-5, 2e-5, 5e-5, 7]
    assert "expected less than" in entries[3].failure


@pytest.mark.parametrize(
    ("objective", "winner"),
    [("val/chroma_fd", "9"), ("val/psnr", "9"), ("val/colorfulness_ratio", "10"), ("val/x", None)],
)
def test_the_best_is_the_best_in_its_own_sense(sweep, objective, winner):
    found = best(collect([sweep]), objective)
    assert (found.place if found else None) == winner  # colorfulness is best at that of the truth


def test_paths_in_any_combination_and_none_twice(sweep, finished_run, tmp_path):
    entries = collect([sweep / "9", sweep, finished_run])
    assert sorted(entry.place for entry in entries) == ["10", "11", "2", "9", "run"]
    with pytest.raises(UserError, match="found no run"):
        collect([sweep, tmp_path / "nothing"])


def test_the_page_names_the_best_and_how_to_run_it_again(sweep, tmp_path, capsys):
    output = tmp_path / "page.html"
    assert main(["compare", str(sweep), "-o", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    text = output.read_text()
    assert re.search(r"Best by .*chroma FD</span>: <b>gan.lr=2e-5</b> with 10\.0", text)
    # The overrides alone, without what made it a sweep, and quoted for a shell.
    command = re.search(r"<code>(nogan train .*?)</code>", text)[1].replace("&#39;", "'")
    assert command == "nogan train experiment=quickstart 'probe={images:4,size:32}' nogan.gan.lr=2e-05"
    assert "nogan.gan.lr=7: expected less" in text and output.stat().st_size < 10e6


def test_the_table_sorts(sweep, tmp_path, open_page):
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"))

    def order() -> list[str]:
        return page.locator("#table tbody .place").evaluate_all(
            "all => all.map(each => each.textContent.split(' ')[1])"
        )

    def head(name: str):
        return page.locator("#table thead th").filter(has_text=name)

    assert order() == ["9", "10", "2", "11"] and head("chroma FD").get_attribute("aria-sort") == "ascending"
    head("colorfulness").get_by_role("button").click()
    assert order() == ["10", "9", "2", "11"]  # nearest to the truth first
    head("gan.lr").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert order() == ["2", "9", "10", "11"]
    page.keyboard.press("Enter")
    assert order() == ["11", "10", "9", "2"] and head("gan.lr").get_attribute("aria-sort") == "descending"
    head("PSNR").get_by_role("button").click()
    assert order() == ["9", "10", "2", "11"]  # what has no value stays last, whichever way
    head("PSNR").get_by_role("button").click()
    assert order() == ["2", "10", "9", "11"]


def test_pictures_follow_the_table_and_runs_can_be_left_out(sweep, tmp_path, open_page):
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"))

    def pictured() -> list[str]:
        return [text.removeprefix("gan.lr=") for text in page.locator(".set span").all_inner_texts()]

    assert pictured() == ["gray", "2e-5", "5e-5", "1e-5", "truth"]
    lines = page.locator("#measure-chart path.line").count()
    page.locator("#table tbody tr").filter(has_text="gan.lr=2e-5").get_by_role("checkbox").uncheck()
    assert pictured() == ["gray", "5e-5", "1e-5", "truth"]
    assert page.locator("#measure-chart path.line").count() == lines - 1
    final = page.locator(".set img").nth(2).get_attribute("src")
    page.get_by_role("button", name="before the GAN").click()
    assert page.locator(".set img").nth(2).get_attribute("src") != final
    page.locator("#over").select_option("run")
    page.locator("#measure").select_option("psnr")
    assert page.locator("#measure-chart path.line").count() == lines - 1


def test_runs_that_held_out_other_pictures_are_not_mixed(sweep, tmp_path, open_page):
    from PIL import Image, ImageOps

    for picture in (sweep / "10" / "samples").glob("*.png"):
        with Image.open(picture) as grid:
            ImageOps.flip(grid).save(picture)
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"))
    sets = [one.locator("span").all_inner_texts() for one in page.locator(".set").all()]
    assert sets == [["gray", "gan.lr=2e-5", "gan.lr=1e-5", "truth"], ["gray", "gan.lr=5e-5", "truth"]]


def differ_in_many_settings(sweep: Path) -> None:
    for number in (2, 9, 10):
        path = sweep / str(number) / "config.yaml"
        config = yaml.safe_load(path.read_text())
        config["nogan"]["gan"] |= {"share": number / 100, "critic_threshold": 0.5 + number / 100}
        config["nogan"]["gan"]["weights"]["feature"] = 1.0 * number
        config["nogan"]["pretrain"]["g1"]["share"] = number / 100
        config["nogan"]["snapshot_every"] = number / 1000
        path.write_text(yaml.safe_dump(config | {"seed": number}))


def test_no_column_is_cut_off_however_many_settings_differ(sweep, tmp_path, open_page):
    differ_in_many_settings(sweep)
    page = open_page(write_comparison([sweep], tmp_path / "compare.html", "val/a_shift"))
    assert page.locator("#table thead th[data-sort=mixed]").count() == SETTINGS_SHOWN
    for details in page.locator("details").all():
        details.locator("summary").click()
    columns = sum(page.locator(f"{table} th[data-key]").count() for table in ("#table", "#more"))
    assert columns == len({"merit", "quality", *MEASURED})
    assert page.locator(".settings tbody tr").count() == 7 - SETTINGS_SHOWN
    for box in page.locator(".scroll").all():
        assert box.evaluate("box => box.scrollWidth - box.clientWidth") == 0
    for cell in page.locator("table th, table td").all():
        assert cell.bounding_box()["x"] + cell.bounding_box()["width"] <= 1280
        assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth + 1"), cell.inner_text()
    page.locator("#over").select_option("run")
    assert "images seen by the run" in page.locator("#measure-chart svg").text_content()  # what the axis counts


def test_other_measures_sort_too(sweep, tmp_path, open_page):
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"))
    page.locator("#more summary").click()
    page.locator("#more th[data-key=b_shift]").get_by_role("button").click()
    assert page.locator("#more th[data-key=b_shift]").get_attribute("aria-sort") == "ascending"
    assert page.locator("#table th[data-key=chroma_fd]").get_attribute("aria-sort") == "ascending"  # as it was


def test_scenes_are_not_called_photographs(sweep, tmp_path, open_page):
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"))
    assert "The same held-out scenes" in page.inner_text("body") and "photograph" not in page.inner_text("body")
    assert page.locator(".set img").first.get_attribute("alt") == "scene 1, gray"
    for number in (2, 9, 10):
        path = sweep / str(number) / "config.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(config | {"data": config["data"] | {"kind": "folder"}}))
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"))
    assert "The same held-out photographs" in page.inner_text("body")


def test_runs_beside_each_other_are_named_by_what_their_command_lines_say(sweep, tmp_path, finished_run):
    def say(number: int, *overrides: str) -> None:
        (sweep / str(number) / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))

    say(2, "model=tiny", "seed=1")
    say(9, "model=tiny", "seed=1")
    say(10, "model=artistic", "logger=csv")
    shutil.rmtree(sweep / "11")
    seed = yaml.safe_load((sweep / "10" / "config.yaml").read_text())["seed"]
    labels = {entry.place: entry.label for entry in collect([sweep, finished_run])}
    assert labels == {
        "2": "model=tiny, seed=1 (2)",  # the same words twice
        "9": "model=tiny, seed=1 (9)",
        "10": f"model=artistic, seed={seed}",  # its default, from its config
        "run": "run",
    }
    say(10, *(f"nogan.gan.{key}=1" for key in ("lr", "share", "batch_size", "critic_threshold")))
    assert [entry.label for entry in collect([sweep])] == ["2", "9", "10"]  # too much for a name


def test_settings_are_written_as_people_write_them():
    written = [show(value) for value in (1e-4, 2.5e-5, 0.03, 0.001, 7, None, "a" * 30, -5e-5, 0.0)]
    assert written == ["1e-4", "2.5e-5", "0.03", "0.001", "7", "–", "…" + "a" * 23, "-5e-5", "0"]


def test_an_unfinished_run_stands_beside_the_others_with_its_pictures(sweep, tmp_path, open_page):
    (sweep / "2" / "records.json").unlink()
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"))
    row = page.locator("#table tbody tr").filter(has_text="gan.lr=1e-5")
    assert "unfinished" in row.inner_text() and "phase 7 of 7" in row.inner_text()
    assert "gan.lr=1e-5 (so far)" in page.locator(".set span").all_inner_texts()


def test_it_fits_a_phone(sweep, tmp_path, open_page):
    page = open_page(write_comparison([sweep], tmp_path / "compare.html"), viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_hydras_notes_the_command_is_the_one_that_was_typed(tmp_path, monkeypatch):
    for typed, again in (["train.py"], "python train.py"), (["/opt/venv/bin/nogan", "train"], "nogan train"):
        monkeypatch.setattr("sys.argv", [*typed, "probe={images: 4}", "data.path=my photographs"])
        write_json(tmp_path / "environment.json", environment())
        assert repeat_command(tmp_path) == f"{again} 'probe={{images: 4}}' 'data.path=my photographs'"


def test_what_is_wrong_with_a_comparison_is_said_in_one_line(sweep, tmp_path, capsys):
    (tmp_path / "file").touch()
    for arguments, message in (
        (["--objective", "val/foo"], "--objective val/foo: expected one of val/colorfulness_ratio, val/psnr"),
        (["-o", str(tmp_path)], f"-o {tmp_path} is a folder: expected a file"),
        (["-o", str(tmp_path / "file" / "x.html")], f"-o {tmp_path / 'file' / 'x.html'}: "),
    ):
        assert main(["compare", str(sweep), *arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"nogan compare: {message}") and error.count("\n") == 1
