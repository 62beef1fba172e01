"""Choosing between pictures, and the ranking that follows: the page and the function say the same."""

import json
import math

import pytest
from PIL import Image

from nogan.commands import run
from nogan.common.errors import UserError
from nogan.evaluation.blind import Choice, bradley_terry, pairs, read_choices
from nogan.evaluation.results import Entry, Results, ResultsFolder, write_results
from nogan.report.blind_page import write_blind_page

COLORIZERS = ("first", "second", "third <b>")


def test_two_colorizers_have_the_odds_of_their_wins():
    """With two, the odds are those of the wins, with a drawn game more; their logarithm errs by sqrt(1 / (n p q))."""
    choices = (
        [Choice("a", "A", "B", "left")] * 5 + [Choice("b", "B", "A", "left")] * 2 + [Choice("c", "B", "A", "neither")]
    )
    ranking = bradley_terry(choices)
    first, second = ranking.colorizers
    assert (first.name, first.wins, first.shown) == ("A", 5.5, 8)
    assert first.strength - second.strength == pytest.approx(math.log(6 / 3))
    assert first.strength == pytest.approx(-second.strength)
    (duel,) = ranking.duels
    assert duel.probability == pytest.approx(6 / 9)
    error = 1.959963984540054 / math.sqrt(9 * (6 / 9) * (3 / 9))
    assert duel.low == pytest.approx(1 / (1 + math.exp(error - math.log(2))))
    assert first.high == pytest.approx(math.log(2) / 2 + error / 2)


def test_a_ranking_recovers_strengths_that_choices_were_made_by():
    strengths = {"A": 1.0, "B": 0.0, "C": -1.0}
    choices = []
    for one, other in (("A", "B"), ("B", "C"), ("A", "C")):
        won = round(1000 / (1 + math.exp(strengths[other] - strengths[one])))
        choices += [Choice("x", one, other, "left")] * won + [Choice("x", other, one, "left")] * (1000 - won)
    ranking = bradley_terry(choices)
    assert [place.name for place in ranking.colorizers] == ["A", "B", "C"]
    assert [place.strength for place in ranking.colorizers] == pytest.approx([1, 0, -1], abs=0.01)


def test_one_that_always_wins_has_a_finite_strength_and_few_choices_a_wide_interval():
    few = bradley_terry([Choice("x", "A", "B", "left")] * 3)
    many = bradley_terry([Choice("x", "A", "B", "left")] * 300)
    assert 0 < few.colorizers[0].strength < many.colorizers[0].strength < 10
    assert few.duels[0].low < 0.5 < many.duels[0].low
    with pytest.raises(UserError, match="0 colorizers in 0 choices"):
        bradley_terry([])


def test_every_pair_is_shown_once_and_sides_are_mixed():
    shown = pairs([f"{n}" for n in range(50)], ["A", "B", "C"], seed=1)
    assert len({(image, frozenset(sides)) for image, *sides in shown}) == len(shown) == 150
    assert 50 < sum(left < right for _, left, right in shown) < 100
    assert shown == pairs([f"{n}" for n in range(50)], ["A", "B", "C"], seed=1)
    assert shown != pairs([f"{n}" for n in range(50)], ["A", "B", "C"], seed=2)


@pytest.fixture
def folder(tmp_path):
    files = ResultsFolder(tmp_path)
    entries = [Entry("gray", "gray", folder="gray")]
    entries += [Entry(name, "model", folder=f"entry{n}") for n, name in enumerate(COLORIZERS)]
    images = [f"photo{n}" for n in range(3)]
    for n, entry in enumerate(entries):
        for image in images:
            files.picture(entry, image).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 24), (60 * n, 90, 120)).save(files.picture(entry, image))
    write_results(Results("full", {}, "PHOTOS", images, [], entries, {}), files)
    return tmp_path


def chosen_by_key(page):
    """Seven pairs are seen and six choices stand on the page."""
    keys = ["ArrowLeft", "ArrowRight", "ArrowDown", "u", "ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowLeft"]
    for key in keys:
        page.keyboard.press(key)
    assert "Pair 7 of 9" in page.locator("#progress").inner_text()


def test_choices_by_key_and_their_ranking(folder, open_page):
    blind = write_blind_page(folder)
    for seconds in (0.3, 1, 3, 10):  # a busy browser may lose what it was given to store just before a reload
        page = open_page(blind, accept_downloads=True)
        assert not page.locator("#ranking").is_visible()
        for name in COLORIZERS:
            assert name not in page.locator("main").inner_text()  # it is blind
        chosen_by_key(page)
        page.wait_for_timeout(1000 * seconds)
        page.reload()
        if "Pair 7 of 9" in page.locator("#progress").inner_text():  # choices are kept
            break
    else:
        pytest.fail("choices are not kept")
    assert "are kept in this browser" in page.locator("#kept").inner_text()
    page.locator("#reveal").click()
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(folder / "choices.json")
    choices = read_choices(folder / "choices.json")
    assert [choice.chosen for choice in choices] == ["left", "right", "left", "left", "right", "left"]
    said = json.loads((folder / "choices.json").read_text(encoding="utf-8"))["ranking"]
    computed = bradley_terry(choices, COLORIZERS).to_json()
    for part in ("colorizers", "duels"):
        for one, other in zip(said[part], computed[part], strict=True):
            assert one == pytest.approx(other, abs=1e-9)
    shown = page.locator("#table tbody th").all_inner_texts()
    assert shown == [place["name"] for place in computed["colorizers"]]


def test_a_browser_that_keeps_nothing_is_said_and_choices_go_on(folder, open_page):
    page = open_page(write_blind_page(folder))
    page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"
    )
    chosen_by_key(page)
    assert "download your choices before you close" in page.locator("#kept").inner_text()


def test_on_a_phone_by_touch(folder, open_page):
    page = open_page(write_blind_page(folder), viewport={"width": 390, "height": 800}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for _ in range(9):
        page.locator("#left").tap()
    assert "the last pair" in page.locator("#progress").inner_text()
    assert page.locator("#left").is_disabled()


def test_what_cannot_be_compared_is_said(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("one")
    write_results(Results("full", {}, "P", ["a"], [], [Entry("one", "model", folder="x")], {}), ResultsFolder(other))
    with pytest.raises(UserError, match="1 colorizers with pictures; --blind needs at least two"):
        write_blind_page(other)
    with pytest.raises(UserError, match=r"results\.json: not a file of choices"):
        read_choices(folder / "results.json")


def test_the_command_ranks_by_several_files_of_choices(tmp_path, capsys):
    for name, chosen in (("one", "left"), ("two", "right")):
        content = {
            "format": "nogan-choices",
            "version": 1,
            "choices": [dict(image="x", left="A", right="B", chosen=chosen)] * 2,
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    files = [str(tmp_path / "one.json"), str(tmp_path / "two.json")]
    assert run("evaluate", ["--blind", *files, "-o", str(tmp_path / "out")]) == 0
    ranking = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert [(place["name"], place["wins"], place["strength"]) for place in ranking["colorizers"]] == [
        ("A", 2, 0),
        ("B", 2, 0),
    ]
    assert "A" in capsys.readouterr().out
    assert run("evaluate", ["--blind", files[0], str(tmp_path / "out" / "ranking.json"), "-o", str(tmp_path)]) == 1
    assert "ranking.json: not a file of choices" in capsys.readouterr().err
