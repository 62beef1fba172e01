"""A run folder may be damaged, and may come from anybody: what is read back is checked, and is plain values."""

import ast
import json
import pickle
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from nogan.cli import main
from nogan.common.errors import UserError, visible
from nogan.networks.generator_file import load_generator
from nogan.report import write_report
from nogan.report.compare_page import write_comparison
from nogan.runs.checkpoints import metrics_so_far
from nogan.runs.checksums import Checksums
from nogan.runs.run_folder import RunFolder, plain_yaml
from nogan.runs.snapshots import stores
from nogan.training import preview
from nogan.training.compose.reading import literal
from tests.conftest import ROOT


@pytest.fixture
def run(finished_run, tmp_path) -> RunFolder:
    """A copy of the run that a test may change."""
    ignored = shutil.ignore_patterns("wandb", "fakes")
    return RunFolder(Path(shutil.copytree(finished_run, tmp_path / "run", ignore=ignored)))


def replace(path: Path, old: str, new: str) -> None:
    """Put ``new`` in place of the first ``old``, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_another_valid_value_is_noticed(run, caplog):
    replace(run.config_file, "seed: 0", "seed: 1")
    with pytest.raises(UserError, match=r"config\.yaml is damaged \(does not match its checksum in checksums\.json"):
        run.config()
    replace(run.plan_file, '"steps": 8', '"steps": 9')
    with pytest.raises(UserError, match=r"plan\.json is damaged"):
        run.plan()
    replace(run.records_file, '"steps": 8', '"steps": 9')
    with pytest.raises(UserError, match=r"records\.json is damaged .*writes it again"):
        run.records()
    replace(run.environment_file, '"threads": ', '"threads": 1')
    replace(run.metrics_file, "1", "2")
    note = next((run.path / "snapshots/gan@1").glob("step-*2.json"))
    replace(note, "0.", "1.")
    assert run.environment() == {} and run.metrics() and stores(run)["gan@1"].metrics(2) == {}
    for name in ("environment.json", "metrics.csv", "step-000002.json"):
        assert f"{name} " in caplog.text
    (run.path / "checksums.json").unlink()  # by somebody who has changed them on purpose
    assert run.config().seed == 1


def test_a_process_killed_between_checksum_and_file_leaves_both_whole(tmp_path, monkeypatch):
    checksums, path = Checksums(tmp_path), tmp_path / "a.json"
    for content in (b"1", b"2"):
        checksums.write(path, content)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nogan.runs.checksums.write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        checksums.write(path, b"3")
    checksums._keep(path, b"3")  # the checksum is there, the file is not yet
    assert checksums.check(path, path.read_bytes()) == b"2"
    with pytest.raises(ValueError, match="does not match"):
        checksums.check(path, b"1")


EVIL = "import pathlib\npathlib.Path('{marker}').touch()\nclass Evil: pass\n"


def test_nothing_of_a_strangers_run_is_resolved_or_built(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SECRET", "s3cr3t-value")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil_part.py").write_text(EVIL.format(marker=tmp_path / "ran"))
    part = {"_target_": "evil_part.Evil", "x": "${oc.env:SECRET}"}
    config = yaml.safe_load(run.config_file.read_text())
    config |= {"name": "a ${oc.env:SECRET}", "callbacks": {"evil": part}}
    config["loss"]["function"], config["data"]["source"] = {**part}, {**part}
    run.config_file.write_text(yaml.safe_dump(config))
    replace(run.records_file, '"reason": "', '"reason": "${oc.env:SECRET} ')
    (run.path / "checksums.json").unlink()
    hydra = run.path / ".hydra"
    hydra.mkdir()
    (hydra / "overrides.yaml").write_text("['name=${oc.env:SECRET}', 'x=!!python/object/apply:os.getcwd []']")
    (hydra / "hydra.yaml").write_text("hydra: {mode: !!python/object/apply:os.getcwd []}")
    page = write_report(run.path).read_text()
    page += write_comparison([run.path], tmp_path / "compare.html").read_text()
    assert "s3cr3t" not in page and "${oc.env:SECRET}" in page
    assert main(["snapshots", str(run)]) == main(["snapshots", str(run), "--pick", "0", "-o", str(tmp_path / "a")]) == 0
    load_generator(run.path)
    assert main(["train", f"resume={run}"]) == 1 and "if you trust it, add trust=[evil_part]" in capsys.readouterr().err
    assert "evil_part" not in sys.modules and not (tmp_path / "ran").exists()


def test_a_resumed_run_does_not_resolve_what_its_config_says(run, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cr3t-value")
    replace(run.config_file, "name: quickstart", "name: x${oc.env:SECRET}")
    (run.path / "checksums.json").unlink()
    shown = []
    monkeypatch.setattr(preview, "show_plan", lambda config, console: shown.append(config))
    assert main(["train", f"resume={run}", "dry_run=true", "nogan.repeats=3", "data.path=${oc.env:SECRET}"]) == 0
    (config,) = shown
    assert (config.name, config.nogan.repeats) == ("x${oc.env:SECRET}", 3)
    assert config.data.path == "s3cr3t-value"  # that is the user's own command line


@pytest.mark.parametrize("text", ["${a}", r"\${a}", r"\\${a}", "a${b", "???", "\\", "a"])
def test_a_saved_text_is_resumed_as_it_is(text):
    from omegaconf import OmegaConf

    assert OmegaConf.to_container(OmegaConf.create(literal({"k": [text]})), resolve=True) == {"k": [text]}


class Pickled:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_nothing_of_a_strangers_run_is_unpickled(run, tmp_path, caplog, capsys):
    marker = tmp_path / "ran"
    run.forget_end()
    shutil.rmtree(run.checkpoints)
    run.checkpoints.mkdir()
    (run.checkpoints / "006-gan@2-end.ckpt").write_bytes(pickle.dumps({"callbacks": Pickled(marker)}))
    write_report(run.path)
    assert main(["train", f"resume={run}"]) == 1 and capsys.readouterr().err.count("\n") == 1
    assert "006-gan@2-end.ckpt is damaged" in caplog.text and not marker.exists()


def test_the_source_loads_no_pickle_and_no_yaml_that_builds_objects():
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called == "torch.load":
                assert keywords.get("weights_only") == "True", path
            assert keywords.get("allow_pickle", "False") == "False", path
            assert called not in ("pickle.load", "pickle.loads", "yaml.unsafe_load", "yaml.full_load", "eval", "exec")
            if called == "yaml.load":
                assert "SafeLoader" in ast.unparse(node) or "_Loader" in ast.unparse(node), path


def test_yaml_that_stands_for_more_than_fits_into_memory_is_refused():
    pairs = pairwise("abcdefghij")
    bomb = "a: &a [x]\n" + "".join(f"{after}: &{after} [{', '.join([f'*{one}'] * 9)}]\n" for one, after in pairs)
    with pytest.raises(ValueError, match="refers to itself"):
        plain_yaml(bomb.encode())
    for nested in (b"[" * 100_000, b"{a: " * 50_000):
        with pytest.raises((yaml.YAMLError, RecursionError)):
            plain_yaml(nested)


def test_names_do_not_control_the_terminal(tmp_path, capsys):
    assert visible("a\x1b[31mé\u200d\n") == "a\\x1b[31mé\u200d\n"
    assert main(["report", str(tmp_path / "\x1b]0;title\x07")]) == 1
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", '{"config.yaml": 3}', json.dumps({"config.yaml": ["0"]})])
def test_damaged_checksums_are_said(run, content, caplog):
    (run.path / "checksums.json").write_text(content)
    if "0" in content:
        with pytest.raises(UserError, match="does not match"):
            run.config()
    else:
        assert run.config() and "its files are not checked" in caplog.text


@pytest.mark.parametrize("damage", ["zeroed", "header", "digit", "gone"])
def test_metrics_of_a_run_that_has_not_ended_are_those_of_its_checkpoint(run, damage, caplog):
    run.forget_end()
    whole = metrics_so_far(run)
    text = run.metrics_file.read_bytes()
    changed = {"zeroed": bytes(len(text)), "header": text.replace(b"psnr", b"qsnr", 1)}
    number = max(re.findall(rb"\d\.\d{6,}", text), key=text.rindex)  # in one of the last rows
    changed["digit"] = number.join(text.rsplit(number, 1)).replace(number, bytes([number[0] ^ 1]) + number[1:], 1)
    run.metrics_file.unlink() if damage == "gone" else run.metrics_file.write_bytes(changed[damage])
    assert whole and metrics_so_far(run) == whole
    assert "metrics.csv is damaged: the rows in the newest checkpoint are shown" in caplog.text
