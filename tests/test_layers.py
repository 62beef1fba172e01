"""The house: imports go downwards only, and heavy packages are known only where they belong."""

import tomllib

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.conftest import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("nogan", include_external_packages=True, exclude_type_checking_imports=True)


def test_imports_go_downwards_only(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", cache_dir=None) == EXIT_STATUS_SUCCESS, (
        capsys.readouterr().out
    )


def test_no_import_is_excepted_and_no_package_left_out():
    (contract,) = SETTINGS["contracts"]
    assert set(contract) == {"name", "type", "layers"} and contract["type"] == "layers"
    assert set(SETTINGS) == {"root_package", "exclude_type_checking_imports", "contracts"}
    layered = {name for floor in contract["layers"] for name in floor.replace("|", " ").replace(":", " ").split()}
    found = (ROOT / "src" / "nogan").iterdir()
    packages = {path.stem for path in found if path.suffix == ".py" or (path / "__init__.py").is_file()} - {"__init__"}
    assert layered == {f"nogan.{name}" for name in packages}


@pytest.mark.parametrize(
    ("package", "known_to"),
    [
        ("hydra", ["nogan.training.compose"]),
        ("omegaconf", ["nogan.training.compose", "nogan.commands.train"]),
        ("pytorch_lightning", ["nogan.training", "nogan.data.datamodule"]),
        ("lightning_fabric", ["nogan.training"]),
        ("wandb", ["nogan.training.loggers", "nogan.evaluation.tables"]),
        ("av", ["nogan.colorize.film"]),
    ],
)
def test_a_package_is_known_only_where_it_belongs(graph, package, known_to):
    importers = graph.find_modules_that_directly_import(package)
    assert importers
    assert all(any(f"{name}.".startswith(f"{home}.") for home in known_to) for name in importers), importers


def test_plan_detectors_and_commands_know_nothing_of_torch(graph):
    for package in ("nogan.plan", "nogan.inflection", "nogan.commands", "nogan.cli"):
        for module in {package, *graph.find_descendants(package)}:
            assert "torch" not in graph.find_modules_directly_imported_by(module), module
