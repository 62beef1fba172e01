"""How command lines name colorizers, their weights and their vividness."""

import pytest

from nogan.common.errors import UserError
from nogan.networks.requested import requested, weights_of


def test_weights_and_vividness_are_taken_apart():
    assert weights_of(["a:0.6", "b", "c:v0.5:0.4", "C:/d.pth", "b:2"]) == {
        **{"a": 0.6, "b": 3.0, "c:v0.5": 0.4, "C:/d.pth": 1.0}
    }
    assert requested("c:v0.5") == ("c", 0.5) and requested("c:v1") == ("c", 1.0) and requested("c:v.5") == ("c", 0.5)
    assert requested("c:vivid") == ("c:vivid", None) and str(requested("c:v0.50")) == "c:v0.5"


def test_a_name_that_exists_is_taken_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run:0.6", "run:v1"):
        (tmp_path / name).mkdir()
    assert weights_of(["run:0.6", "run:0.7"]) == {"run:0.6": 1.0, "run": 0.7}
    assert requested("run:v1") == ("run:v1", None)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_a_weight_is_above_zero(weight):
    with pytest.raises(UserError, match=f"a:{weight}: the weight of a must be above 0"):
        weights_of([f"a:{weight}"])
