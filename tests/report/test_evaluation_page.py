"""The page of an evaluation, in a browser."""

import json

import numpy as np
import pytest
from PIL import Image

from nogan.common.errors import UserError
from nogan.evaluation.measures import Measure
from nogan.evaluation.results import (
    Comparison,
    Entry,
    Estimate,
    Missing,
    Results,
    ResultsFolder,
    write_results,
)
from nogan.report.evaluation_page import write_evaluation_page

PSNR = Measure("psnr", "PSNR", "the right colors", "higher", "dB")
WRONG = Measure("wrong_strong", "wrong color", "share", "lower", digits=1, percent=True)
NAMES = [f"photo_{number:02d}" for number in range(12)]
VALUES = {
    "gray": {"psnr": [20.0] * 12, "wrong_strong": [0.0] * 12},
    "<i>mine": {"psnr": [20.0 + n for n in range(12)], "wrong_strong": [0.01 * n for n in range(12)]},
    "theirs": {"psnr": [25.0] * 11 + [None], "wrong_strong": [0.0] * 12},
    "truth": {"psnr": [100.0] * 12, "wrong_strong": [0.0] * 12},
}
SHADES = {"gray": (90, 90, 90), "<i>mine": (200, 60, 60), "theirs": (60, 60, 200), "truth": (60, 160, 60)}


def estimate(values):
    known = [value for value in values if value is not None]
    return Estimate(float(np.mean(known)), min(known), max(known), len(known))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    files = ResultsFolder(tmp_path_factory.mktemp("results"))
    kinds = {"gray": "gray", "<i>mine": "model", "theirs": "pictures", "truth": "truth"}
    entries = [
        Entry(name, kinds[name], folder=f"entry{n}", aggregates={key: estimate(v) for key, v in values.items()})
        for n, (name, values) in enumerate(VALUES.items())
    ]
    for entry in entries:
        for image in NAMES:
            path = files.picture(entry, image)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (48, 36), SHADES[entry.name]).save(path)
    entries.append(Entry("paper", "published", source="A. Author 2023", aggregates={"psnr": Estimate(23.5)}))
    comparison = Comparison("psnr", "<i>mine", "theirs", -0.5, -2.0, 1.0, 6, 5, 0, 1.0, "cannot be told apart")
    results = Results(
        protocol="full", settings={"size": "each at its own size"}, data="PHOTOS", images=NAMES,
        measures=[PSNR, WRONG], entries=entries, values=VALUES, comparisons=[comparison],
        missing=[Missing("fid", "no weights: --inception-weights FILE")],
    )  # fmt: skip
    write_results(results, files)
    assert write_evaluation_page(files.path) == files.page
    return files.path


def test_the_table_sorts_marks_the_best_and_escapes_names(folder, open_page):
    page = open_page(folder / "evaluation.html")
    names = page.locator("#table tbody th .label")
    assert names.all_inner_texts() == ["gray", "<i>mine", "theirs", "truth", "paper"]
    best = page.locator("#table td.best").all_inner_texts()
    assert [text.split()[0] for text in best] == ["25.50", "0.0"]  # neither gray nor truth compete
    page.locator("#table th[data-key=psnr] button").click()
    assert names.all_inner_texts() == ["truth", "<i>mine", "theirs", "paper", "gray"]
    assert "no weights" in page.locator("#figures").inner_text()
    assert "cannot be told apart" in page.locator("#pairs-table").inner_text()


def test_the_scatter_is_read_by_keys_and_leads_to_the_picture(folder, open_page):
    page = open_page(folder / "evaluation.html")
    assert page.locator("#plot circle:not(.ring)").count() == 3  # the truth is hidden at first, the paper has one value
    page.locator("#key button", has_text="truth").click()
    assert page.locator("#plot circle:not(.ring)").count() == 4
    page.locator("#points").select_option(label="photographs, by <i>mine")
    page.locator("#plot svg").focus()
    page.keyboard.press("End")
    assert "photo_11" in page.locator("#plot .tip").inner_text()
    assert "31.00 dB" in page.locator("#plot .tip").inner_text()
    page.keyboard.press("Enter")
    assert "photo_11" in page.locator("#which").inner_text()


def test_best_and_worst_and_the_slider(folder, open_page):
    page = open_page(folder / "evaluation.html")
    ranked = page.locator(".ranked .number").all_inner_texts()
    assert ranked[:2] == ["photo_00: 20.00 dB", "photo_01: 21.00 dB"]
    assert ranked[4:6] == ["photo_11: 31.00 dB", "photo_10: 30.00 dB"]
    page.locator("#by").select_option("wrong_strong")
    assert page.locator(".ranked .number").first.inner_text() == "photo_11: 11.0 %"
    page.locator(".ranked button").first.click()
    assert page.locator("#over").get_attribute("alt") == "photo_11, <i>mine"
    assert page.locator("#under").get_attribute("alt") == "photo_11, theirs"
    assert page.evaluate("document.activeElement.id") == "slide"
    page.keyboard.press("Home")
    assert page.locator("#curtain").evaluate("element => element.style.getPropertyValue('--at')") == "0%"
    page.keyboard.press("x")
    assert page.locator("#over").get_attribute("alt") == "photo_11, theirs"
    assert page.locator("#values tbody tr").first.inner_text().split("\t")[1:] == ["–", "31.00 dB"]
    shade = page.evaluate(
        """async () => {
             const image = document.getElementById("over");
             await image.decode();
             const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
             canvas.getContext("2d").drawImage(image, 0, 0, 1, 1);
             return [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data];
           }"""
    )
    assert np.abs(np.array(shade[:3]) - SHADES["theirs"]).max() < 12  # JPEG and WebP


def test_a_phone_in_the_dark_shows_all_of_it(folder, open_page):
    page = open_page(folder / "evaluation.html", viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("body").evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(21, 23, 26)"


def test_without_pictures_and_without_an_evaluation(folder, tmp_path, open_page):
    for name in ("results.json", "images.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    page = open_page(write_evaluation_page(tmp_path))
    assert page.locator("#compare").count() == 0
    assert page.locator("#table tbody tr").count() == 5
    with pytest.raises(UserError, match="no evaluation there"):
        write_evaluation_page(tmp_path / "nothing")


def test_the_page_keeps_within_its_budget(folder, monkeypatch):
    """What does not fit is left out, the extremes last."""
    monkeypatch.setattr("nogan.report.evaluation_page.FOR_PICTURES", 4000)
    page = write_evaluation_page(folder).read_text(encoding="utf-8")
    start = page.index('<script type="application/json" id="data">')
    data = json.loads(page[start : page.index("</script>", start)].split(">", 1)[1])
    assert 0 < len(data["pictures"]) < 10
    assert {"0", "11"} <= set(data["pictures"])
