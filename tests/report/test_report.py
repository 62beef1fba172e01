"""report.html: what it says of a run, what it weighs, and how it behaves in a browser."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from nogan.cli import main
from nogan.common.errors import UserError
from nogan.evaluation.measures import MEASURES, direction
from nogan.inflection import DETECTORS
from nogan.report import pictures, write_report
from nogan.report.html import thinned
from nogan.report.run_data import RunData, repeat_command
from nogan.report.terms import MEASURED, about_detector
from nogan.training.run import train


def data_of(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1])


@pytest.fixture(scope="module")
def report(finished_run) -> Path:
    """Written by the run itself, at its end."""
    return finished_run / "report.html"


@pytest.fixture
def copied(finished_run, tmp_path) -> Path:
    """A copy of the run that a test may change."""
    folder = tmp_path / "copied"
    shutil.copytree(finished_run, folder, ignore=shutil.ignore_patterns("wandb", "fakes", "checksums.json"))
    return folder


def test_a_run_read_back_is_the_run_as_recorded(finished_run):
    run = RunData(finished_run)
    records = json.loads((finished_run / "records.json").read_text())
    assert [span.phase.name for span in run.spans] == [record["name"] for record in records]
    assert [span.steps for span in run.spans] == [record["steps"] for record in records]
    for span in run.gan_spans:
        # Every snapshot on disk was measured and shown, at the batch that its name says.
        on_disk = sorted(
            int(p.stem[5:]) for p in (finished_run / "snapshots" / span.phase.name).glob("step-*.safetensors")
        )
        assert [s.step for s in span.snapshots if s.kept] == on_disk == [s.step for s in span.snapshots]
        for snapshot in span.snapshots:
            noted = finished_run / "snapshots" / span.phase.name / f"step-{snapshot.step:06d}.json"
            assert dict(snapshot.metrics) == pytest.approx(json.loads(noted.read_text()))
            assert snapshot.picture is not None and snapshot.picture.name == f"step-{snapshot.at:06d}.png"
        assert span.chosen == span.record.rolled_back_to < span.steps
    assert run.final == records[-1]["metrics"] and run.status == "complete"
    last = run.gan_spans[-1]
    assert run.final_picture.name == f"step-{last.start + last.chosen:06d}.png"


def test_the_page_is_one_small_file_that_asks_for_nothing(report):
    text = report.read_text()
    assert report.stat().st_size < 10e6
    assert (
        not re.search(r'(?:src|href)="(?!data:|#)', text)
        and "@import" not in text
        and "url(" not in text.split("<script")[0]
    )


def test_the_page_says_what_it_cost_and_how_to_repeat_it(report, finished_run):
    text, data = report.read_text(), data_of(report)
    records = json.loads((finished_run / "records.json").read_text())
    gan = [record for record in records if record["kind"] == "gan"]
    assert data["stages"][0]["title"] == "Pretraining"
    for record, cycle in zip(gan, data["stages"][1:], strict=True):
        assert cycle["inflection"] == record["verdict"]["inflection"] and cycle["chosen"] == record["rolled_back_to"]
        assert f"inflection at {cycle['inflection']}, back to {cycle['chosen']}" in text
        assert len(cycle["snapshots"]) == len({snapshot["step"] for snapshot in cycle["snapshots"]}) >= 3
        assert all(len(snapshot["pictures"]) == len(data["truth"]) == 2 for snapshot in cycle["snapshots"])
    assert MEASURES["psnr"].show(records[-1]["metrics"]["psnr"]) in text
    assert "python " in text and json.loads((finished_run / "environment.json").read_text())["git"] in text


def test_a_resumed_run_is_repeated_as_it_was_run(copied):
    folder = copied / ".hydra"
    folder.mkdir()
    (folder / "overrides.yaml").write_text("[experiment=quickstart, nogan.repeats=1, 'name=a b']")
    environment = json.loads((copied / "environment.json").read_text())
    commands = ("train.py resume=RUN nogan.repeats=2", "/bin/nogan train resume=RUN +trainer.max_minutes=5 trust=[x]")
    environment["resumed"] = [{**environment, "command": command} for command in commands]
    (copied / "environment.json").write_text(json.dumps(environment))
    (folder / "resumed").mkdir()
    (folder / "resumed" / "overrides.yaml").write_text("[seed=refused]")  # what Hydra notes before a refusal, too
    repeated = "experiment=quickstart nogan.repeats=2 'name=a b' +trainer.max_minutes=5"
    assert repeat_command(copied).endswith(f"train {repeated}")
    (folder / "overrides.yaml").unlink()
    assert repeat_command(copied).endswith("nogan.repeats=2 +trainer.max_minutes=5")


def test_skipped_photographs_are_counted(copied):
    (copied / "skipped.json").write_text(json.dumps({"unreadable": ["a.png: zero bytes"], "gray": ["b.png", "c.png"]}))
    assert "1 unreadable and 2 gray photographs skipped (skipped.json)" in write_report(copied).read_text()
    (copied / "skipped.json").write_text('{"unreadable": 3')
    assert "photographs skipped" not in write_report(copied).read_text()


def test_names_cannot_break_out_of_the_page(copied):
    config = (copied / "config.yaml").read_text()
    hostile = "</script><script>throw 1</script>"
    (copied / "config.yaml").write_text(config.replace("name: quickstart", f"name: '{hostile}'", 1))
    plan = json.loads((copied / "plan.json").read_text())
    records = json.loads((copied / "records.json").read_text())
    plan[0]["name"] = records[0]["name"] = hostile
    (copied / "plan.json").write_text(json.dumps(plan))
    (copied / "records.json").write_text(json.dumps(records))
    text = write_report(copied).read_text()
    assert "throw 1" in text and "<script>throw" not in text
    assert data_of(copied / "report.html")["phases"][0]["name"] == hostile


def test_a_cut_run_is_shown_as_far_as_it_went(copied):
    (copied / "records.json").unlink()
    rows = (copied / "metrics.csv").read_text().splitlines(keepends=True)
    first_gan = next(i for i, row in enumerate(rows) if ",4,1," in row)  # phase 4 is gan@1
    (copied / "metrics.csv").write_text("".join(rows[: first_gan + 5]))
    for checkpoint in (copied / "checkpoints").glob("*.ckpt"):
        if checkpoint.name > "004" and checkpoint.name != "last.ckpt":
            checkpoint.unlink()
    run = RunData(copied)
    assert run.status == "unfinished" and [span.phase.name for span in run.spans][-1] == "gan@1"
    assert [record.name for record in run.records] == ["g1", "g2", "c1@1", "c2@1"]  # from the newest checkpoint
    text = write_report(copied).read_text()
    assert "unfinished" in text and "phase 5 of 7 (gan@1)" in text and f"resume={copied}" in text
    assert data_of(copied / "report.html")["stages"][-1]["chosen"] is None


def test_cycles_that_no_longer_paid_are_said_not_to_have_been_run(copied):
    records = json.loads((copied / "records.json").read_text())
    first = [record for record in records if record["cycle"] < 2]
    (copied / "records.json").write_text(json.dumps(first))
    header, *rows = (copied / "metrics.csv").read_text().splitlines()
    phase = header.split(",").index("nogan/phase")
    kept = [row for row in rows if int(row.split(",")[phase]) < len(first)]
    (copied / "metrics.csv").write_text("\n".join([header, *kept]))
    text = write_report(copied).read_text()
    assert text.count("not run: the last cycle gained too little") == len(records) - len(first) > 0


def test_a_run_without_a_gan_phase_yet_has_a_report(copied):
    (copied / "records.json").unlink()
    shutil.rmtree(copied / "checkpoints")
    (copied / "metrics.csv").unlink()
    assert data_of(write_report(copied))["stages"] == []


def test_a_report_that_fails_loses_no_run(smallest, tmp_path, caplog):
    def fail(folder: Path) -> None:
        raise OSError("no room")

    metrics = train(smallest("nogan.repeats=0"), tmp_path / "run", console=Console(quiet=True), write_report=fail)
    assert "val/psnr" in metrics and (tmp_path / "run" / "records.json").is_file()
    assert "no report.html: no room" in caplog.text and not (tmp_path / "run" / "report.html").exists()


def test_no_run_is_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "expected a run folder" in capsys.readouterr().err


def grids(folder: Path, count: int, size: int = 64, columns: int = 4) -> list[Path]:
    """Grids of noise, which no codec makes small."""
    rng = np.random.default_rng(0)
    paths = [folder / f"step-{number:06d}.png" for number in range(count)]
    for path in paths:
        noise = rng.integers(0, 256, (3 * size + 4, columns * (size + 2) - 2, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return paths


def test_pictures_stay_within_their_budget_whatever_they_show(tmp_path):
    paths = grids(tmp_path, 24)
    generous, tight, tiny = (pictures.pack(paths, budget) for budget in (5e6, 3e5, 4e4))

    def weight(packed: pictures.Packed) -> int:
        every = [*packed.gray, *packed.truth, *(uri for outputs in packed.outputs.values() for uri in outputs)]
        return sum(map(len, every))

    assert len(generous.outputs) == len(tight.outputs) == 24
    assert weight(tight) < 3e5 and weight(tiny) < 4e4 and weight(generous) > weight(tight)
    assert 2 <= len(tiny.outputs) < 24  # nothing smaller would be legible: some are left out, the ends stay
    assert paths[0] in tiny.outputs and paths[-1] in tiny.outputs


def test_a_damaged_picture_is_left_out(tmp_path):
    paths = grids(tmp_path, 3)
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    assert list(pictures.pack(paths, 1e6).outputs) == [paths[0], paths[2]]


def test_thinning_a_curve_keeps_its_spikes():
    points = [(x, 0.0) for x in range(10_000)]
    points[4321], points[7777] = (4321, 9.0), (7777, -9.0)
    kept = thinned(points, 500)
    assert len(kept) <= 502 and {points[4321], points[7777], points[0], points[-1]} <= set(kept)
    assert kept == sorted(kept)


def test_directions():
    assert direction("val/psnr") == "maximize" and direction("val/chroma_fd") == "minimize"
    for neither in ("val/colorfulness_ratio", "val/change", "psnr", None):
        with pytest.raises(UserError, match="expected one of val/psnr"):
            direction(neither)
    assert MEASURES["colorfulness_ratio"].badness(1.2) > MEASURES["colorfulness_ratio"].badness(0.9)


# --- in a browser -----------------------------------------------------------------------------------------------------

SHOWN = "#pictures button.now img"


def cursor(page, where: str = "#stage-curve") -> float:
    return float(page.locator(f"{where} line.cursor").get_attribute("x1"))


def test_the_slider_moves_pictures_cursor_and_command(report, open_page):
    page = open_page(report)
    data = data_of(report)
    cycle = data["stages"][-1]
    steps = [snapshot["step"] for snapshot in cycle["snapshots"]]
    slider = page.locator("#slider")
    assert slider.input_value() == str(steps.index(cycle["chosen"]))  # it opens where the run went back to
    slider.focus()
    seen = []
    for key in ("Home", "ArrowRight", "End"):
        page.keyboard.press(key)
        place = int(slider.input_value())
        assert page.locator(SHOWN).first.get_attribute("src") == cycle["snapshots"][place]["pictures"][0]
        command = page.locator("#export").inner_text()
        assert command.endswith(f"--pick {steps[place]} --cycle {cycle['number']}")
        seen.append((place, cursor(page), cursor(page, "#multiples > div:first-child")))
    assert [place for place, *_ in seen] == [0, 1, len(steps) - 1]
    for k in (1, 2):
        assert seen[0][k] < seen[1][k] < seen[2][k]
    # The cursor stands where the curve has that batch: steps are evenly far apart on the axis.
    per_step = (seen[2][1] - seen[0][1]) / (steps[-1] - steps[0])
    assert seen[1][1] - seen[0][1] == pytest.approx(per_step * (steps[1] - steps[0]), abs=0.5)


def test_keys_buttons_and_curves_choose_snapshots(report, open_page):
    page = open_page(report)
    data = data_of(report)
    slider, where = page.locator("#slider"), page.locator("#where")
    page.keyboard.press("ArrowLeft")
    assert f"batch {data['stages'][2]['snapshots'][int(slider.input_value())]['step']}" in where.inner_text()
    page.keyboard.press("i")
    assert f"batch {data['stages'][2]['chosen']} " in where.inner_text()
    page.keyboard.press("p")  # pinned: a fourth row, and the measures compare with it
    assert page.locator("#pictures > span").count() == 4 and "pinned" in page.locator("#measures").inner_text()
    page.get_by_role("button", name="Cycle 1").click()
    assert where.inner_text().startswith("cycle 1")
    page.locator("#stage-curve svg").click(position={"x": 46, "y": 100})  # the left end of the curve
    assert slider.input_value() == "0" and "before the GAN phase" in where.inner_text()
    page.locator("#stage-curve svg").focus()
    page.keyboard.press("ArrowRight")
    assert "smoothed" in page.locator("#stage-curve .tip").inner_text()
    page.locator(SHOWN).first.click()
    assert page.locator("#large img").count() == 4  # gray, pinned, this one, truth
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()


def test_losses_are_shaded_by_phase_and_marked(report, open_page):
    page = open_page(report)
    phases = len(data_of(report)["phases"])
    assert page.locator("#critic-loss rect.band").count() == phases
    assert page.locator("#critic-loss line.mark").count() == 2
    wide = page.locator("#equal")
    before = wide.get_attribute("aria-pressed")
    wide.click()
    assert wide.get_attribute("aria-pressed") != before
    widths = page.locator("#critic-loss rect.band").evaluate_all("bands => bands.map(b => +b.getAttribute('width'))")
    same = max(widths) - min(widths) < 1
    assert same == (wide.get_attribute("aria-pressed") == "true")
    page.locator("#log").click()
    assert page.locator("#generator-loss path.line").count() > 0


def test_the_plan_is_whole_on_a_laptop_and_axes_say_what_they_count(report, open_page):
    page = open_page(report)
    plan = page.locator("#plan .scroll")
    assert plan.evaluate("box => box.scrollWidth - box.clientWidth") == 0
    for chart, axis in (("#critic-loss", "batches of the run"), ("#stage-curve", "batches of the GAN phase")):
        assert axis in page.locator(f"{chart} svg").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_is_legible(report, open_page, scheme):
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "color_scheme": scheme}
    page = open_page(report, **phone)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in ("h1", "p.soft", "#where", "td.better, td.worse", ".tile span"):
        assert contrast(page, selector) >= 4.5, selector  # WCAG AA


def contrast(page, selector: str) -> float:
    """Of the text of the first ``selector`` to what lies behind it."""
    colors = page.locator(selector).first.evaluate(
        """element => {
            let behind = element;
            const clear = "rgba(0, 0, 0, 0)";
            while (behind && getComputedStyle(behind).backgroundColor === clear) behind = behind.parentElement;
            return [getComputedStyle(element).color, getComputedStyle(behind ?? document.body).backgroundColor];
        }"""
    )
    light, dark = sorted((luminance(color) for color in colors), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    rgb = np.array([float(number) for number in re.findall(r"[\d.]+", color)[:3]]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("width", [1280, 1024])
def test_no_column_is_cut_off(copied, open_page, width):
    """Neither on a laptop, nor where the numbers are those of the largest recipes."""
    plan = json.loads((copied / "plan.json").read_text())
    records = json.loads((copied / "records.json").read_text())
    for phase in plan:
        phase |= {"images": 1_281_152, "epochs": 10}
    records[4] |= {"seconds": 123_456.0}
    (copied / "plan.json").write_text(json.dumps(plan))
    (copied / "records.json").write_text(json.dumps(records))
    page = open_page(write_report(copied), viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == 1280:
        assert page.locator("#plan .scroll").evaluate("box => box.scrollWidth - box.clientWidth") == 0
        assert page.locator("#plan th, #plan td").evaluate_all(
            "all => all.every(c => c.scrollWidth <= c.clientWidth + 1)"
        )


def test_nothing_covers_the_pictures(report, open_page):
    page = open_page(report)
    page.keyboard.press("p")  # one row more
    for place in range(0, page.evaluate("document.documentElement.scrollHeight"), 300):
        page.evaluate(f"scrollTo({{top: {place}, behavior: 'instant'}})")
        covered = page.locator("#pictures img").evaluate_all(
            """all => all.filter(image => {
                const { left, right, top, bottom } = image.getBoundingClientRect();
                const [x, y] = [(left + right) / 2, Math.min(bottom, innerHeight) - 2];
                return y > Math.max(top, 0) && !image.parentElement.contains(document.elementFromPoint(x, y));
            }).length"""
        )
        assert covered == 0, place


def test_the_first_screen_holds_the_slider_and_all_rows_of_pictures(report, open_page):
    page = open_page(report)
    truth = page.locator("#pictures span").last.bounding_box()
    slider = page.locator("#slider").bounding_box()
    assert slider["y"] + slider["height"] <= page.locator("#pictures").bounding_box()["y"]
    assert truth["y"] + truth["height"] <= 900


def test_terms_are_explained_under_the_pointer_and_at_the_keyboard(report, open_page):
    page = open_page(report)
    tip = page.locator("#explanation")
    assert not tip.is_visible()
    page.locator(".tile .term", has_text="chroma FD").hover()
    assert "Fréchet distance" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.mouse.move(0, 0)
    found = []
    for _ in range(200):  # by Tab alone
        page.keyboard.press("Tab")
        about = page.evaluate("document.activeElement.dataset?.about ?? null")
        if about is not None:
            assert tip.inner_text() == about
            assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "explanation"
            page.wait_for_function(  # focus scrolls the page, and the explanation goes along
                """() => {
                    const { left, right, top, bottom } = document.getElementById("explanation").getBoundingClientRect();
                    return left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight;
                }""",
                timeout=5000,
            )
            found.append(page.evaluate("document.activeElement.textContent"))
    assert {"found by budget", "PSNR", "lr", "critic's accuracy", "Critic", "held-out"} <= set(found)


def test_every_measure_and_detector_is_explained():
    assert MEASURED.keys() <= MEASURES.keys()
    assert all(measure.definition for key, measure in MEASURES.items() if key not in MEASURED)
    for name, kind in DETECTORS.items():
        assert about_detector(name).startswith(name) and (kind.__doc__ or "").splitlines()[0] in about_detector(name)


def test_the_measure_in_a_verdict_is_explained(copied, open_page):
    records = json.loads((copied / "records.json").read_text())
    reason = "held-out merit at batch 2 is +0.53 to before the phase; the best of the phase"
    records[4]["verdict"] |= {"detector": "combined", "reason": reason}
    (copied / "records.json").write_text(json.dumps(records))
    page = open_page(write_report(copied))
    verdict = page.locator(".verdicts li").first
    assert reason in verdict.inner_text()
    verdict.locator(".term", has_text="merit").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert "0 is the truth" in page.locator("#explanation").inner_text()


def test_a_run_cut_in_pretraining_is_shown_with_its_pictures(copied, open_page):
    (copied / "records.json").unlink()
    shutil.rmtree(copied / "checkpoints")
    rows = (copied / "metrics.csv").read_text().splitlines(keepends=True)
    first_critic = next(i for i, row in enumerate(rows) if ",2,1," in row)  # phase 2 is c1@1
    (copied / "metrics.csv").write_text("".join(rows[:first_critic]))
    page = open_page(write_report(copied))
    assert "phase 2 of 7 (g2)" in page.inner_text("header")
    assert page.locator(SHOWN).first.evaluate("image => image.complete && image.naturalWidth > 0")
    assert not page.locator("#exporting").is_visible() and "Generator's loss" in page.inner_text("#beside")
    page.keyboard.press("Home")
    assert page.locator("#slider").get_attribute("max") == "2"  # before training, after g1, after g2


def test_scenes_are_not_called_photographs(report, copied):
    assert "held-out scenes" in report.read_text() or "scenes" in report.read_text()
    assert "photograph" not in report.read_text()
    config = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(config.replace("kind: scenes", "kind: folder"))
    assert "photographs of 32 px" in write_report(copied).read_text()
