"""Commands that the program prints can be pasted."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nogan.common.program import setting
from nogan.training.compose.reading import with_quoted_paths

NAMES = [
    "plain/2026-11-26_10-00-00",
    "my photos (1)",
    "a=b",
    "a,b",
    "[x]",
    "ü",
    "🎈",
    "it's",
    'say "x"',
    "x[/red]y",
    'a\\"b',
    "end\\",
]


def value_of(argument: str) -> object:
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert not override.is_sweep_override()
    return override.value()


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_setting_is_what_a_shell_and_hydra_read(name):
    (argument,) = shlex.split(setting("resume", name))
    assert value_of(argument) == name


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("a\\")])
def test_a_path_on_the_command_line_needs_no_quotes_of_hydras(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    (argument,) = with_quoted_paths([f"data.path={name}"])
    assert value_of(argument) == name


def test_what_is_no_path_stays_as_it_is():
    arguments = ["-m", "seed=0,1", "data.path=null", "model.init=a,b", "data.path=${x}", "nogan.gan={size:32}"]
    assert with_quoted_paths(arguments) == arguments
