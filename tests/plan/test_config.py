"""Wrong configs end in one line that names key, value and what is allowed, before anything is built."""

import pytest
from hydra.errors import HydraException

from nogan.common.errors import UserError
from nogan.inflection import DETECTORS
from nogan.training.compose import one_line
from tests.conftest import train_py


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nogan.repeats=-1", "nogan.repeats=-1: expected greater than or equal to 0"),
        ("nogan.gan.lr=abc", "nogan.gan.lr=abc: expected a number"),
        ("nogan.gan.lr=true", "nogan.gan.lr: expected a number, not a truth value"),
        ("nogan.gan.share=1.5", "nogan.gan.share=1.5: expected less than or equal to 1"),
        ("nogan.pretrain.g1.lr=0", "nogan.pretrain.g1.lr=0: expected greater than 0"),
        ("nogan.pretrain.g1.size=16", "nogan.pretrain.g1.size=16: expected greater than or equal to 32"),
        (
            "nogan.pretrain.g2.lr=[1e-3,1e-5]",
            "nogan.pretrain.g2: lr=[0.001, 1e-05]: expected [encoder, decoder] rates in ascending order",
        ),
        ("nogan.critic.reals=both", "nogan.critic.reals=both: expected 'heldout' or 'train'"),
        ("nogan.gan.max_critic_steps=0", "nogan.gan.max_critic_steps=0: expected greater than or equal to 1"),
        ("nogan.gan.batch_size=2.5", "nogan.gan.batch_size=2.5: expected an integer"),
        ("nogan.inflection.knee.flat=7", "nogan.inflection.knee.flat=7: expected less than 1"),
        ("nogan.inflection.action=halt", "nogan.inflection.action=halt: expected 'stop' or 'mark'"),
        ("model.decoder=deeep", "model.decoder=deeep: expected 'deep' or 'wide'"),
        ("loss.layers=[1]", "loss: loss.layers has 1 entries and loss.weights 3: expected as many"),
        ("trainer.precision=8", "trainer.precision=8: expected '32-true', 'bf16-mixed' or '16-mixed'"),
        ("data.val_share=1", "data.val_share=1: expected less than 1"),
        ("seed=x", "seed=x: expected an integer"),
        ("seed=null", "seed=null: expected an integer"),
        ("model.width=inf", "model.width=inf: expected a finite number"),
        ("nogan.gan.critic_threshold=inf", "nogan.gan.critic_threshold=inf: expected a finite number"),
        ("nogan.gan.critic_threshold=true", "nogan.gan.critic_threshold: expected a number, not a truth value"),
        ("nogan.gan.weights.feature=inf", "nogan.gan.weights.feature=inf: expected a finite number"),
        ("trainer.checkpoint_every_n_minutes=inf", "trainer.checkpoint_every_n_minutes=inf: expected a finite number"),
        (
            "trainer.strategy=foo",
            "trainer.strategy=foo: expected 'auto', 'ddp' or 'ddp_find_unused_parameters_true'",
        ),
        ("nogan.gan.betas=[0.0]", "nogan.gan.betas=[0.0]: expected more than 1 value"),
        ("nogan.pretrain.g2.lr=[1e-4]", "nogan.pretrain.g2.lr=[0.0001]: expected more than 1 value"),
        ("nogan.pretrain.g2.lr=[0.1,0.2,0.3]", "nogan.pretrain.g2.lr=[0.1, 0.2, 0.3]: expected at most 2 values"),
        (
            "nogan.pretrain.g1=5",
            "nogan.pretrain.g1=5: expected size, batch_size, share, epochs, lr, pct_start, trains, noise below it",
        ),
        (
            "data.reals_share=0",
            "nogan.critic.reals=heldout, but data.reals_share=0 holds none: expected data.reals_share above 0, "
            "or nogan.critic.reals=train",
        ),
        (
            "data.val_share=0",
            "data.val_share=0 holds no photographs out to measure on: expected data.val_share above 0, "
            "or data.val_path=DIR",
        ),
    ],
)
def test_a_value_out_of_range(configure, override, message):
    with pytest.raises(UserError) as error:
        configure(override)
    assert str(error.value) == message


def test_a_feature_network_without_layers_is_refused(configure):
    with pytest.raises(UserError, match=r"loss\.network=vgg99, but loss\.layers=\[\] takes nothing of it: expected "):
        configure("model=tiny", "loss.network=vgg99")


def test_shares_of_nothing_are_right_where_nothing_needs_them(configure):
    configure("data.val_share=0", "data.val_path=DIR")
    configure("data.reals_share=0", "nogan.critic.reals=train")
    configure("data.reals_share=0", "nogan.critic.phases={c1:null,c2:null}")


def test_an_unknown_detector(configure):
    with pytest.raises(UserError, match=r"nogan\.inflection\.name=oracle: expected 'pays', .*'curvature'"):
        configure("nogan.inflection.name=oracle")


def test_a_detectors_parameters_are_in_the_config_as_in_the_code(configure):
    config = configure("model=artistic").nogan.inflection
    for name, detector in DETECTORS.items():
        fields = detector.Settings.model_fields
        own = {key: fields[key].default for key in detector.own_parameters()}
        assert config.model_copy(update={"name": name}).parameters == own
    config = configure("nogan.inflection.name=knee", "nogan.inflection.knee.flat=0.1").nogan.inflection
    assert config.parameters["flat"] == 0.1
    assert configure("inflection=budget", "nogan.inflection.budget.share=0.1").nogan.inflection.parameters == {
        "share": 0.1
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nogan.repeat=5", "unknown key nogan.repeat: did you mean nogan.repeats? allowed in nogan: augment, "),
        (
            "nogan.pretrain.g1.sise=64",
            "unknown key nogan.pretrain.g1.sise: did you mean nogan.pretrain.g1.size? allowed",
        ),
        (
            "nogan.inflection.flat=0.2",
            "unknown key nogan.inflection.flat: did you mean nogan.inflection.knee.flat? allowed in nogan.inflection: ",
        ),
        ("nogan.inflection.knee.flt=0.2", "unknown key nogan.inflection.knee.flt: did you mean "),
        ("modell=tiny", "unknown key modell: did you mean model? allowed in the top level: "),
        ("experimnt=quickstart", "unknown key experimnt: did you mean experiment? allowed in the top level: "),
        ("model=artistc", "model=artistc is not known: expected one of artistic, stable, tiny, unified, video"),
        ("experiment=quick", "experiment=quick is not known: expected one of "),
    ],
)
def test_a_name_that_does_not_exist(configure, override, message):
    with pytest.raises(HydraException) as error:
        configure(override)
    assert one_line(error.value).startswith(message)


def test_a_key_that_is_added_but_not_known(configure):
    with pytest.raises(UserError, match=r"unknown key nogan\.gan\.momentum: allowed in nogan\.gan: "):
        configure("+nogan.gan.momentum=0.9")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["nogan.repeat=5"], ["unknown key nogan.repeat: did you mean nogan.repeats?"]),
        (["model=tiny", "data=scenes", "nogan.gan.lr=-1"], ["nogan.gan.lr=-1: expected greater than 0"]),
        (
            ["model=artistic", "nogan.repeats=5", "logger=csv"],
            ["ImageNet: data.path is not set", "point to it: data.path=DIR", "or run on the built-in data instead:"],
        ),
        (["resume=no/such/run"], ["resume=no/such/run: expected a run folder"]),
        (["resume=file"], ["resume=file: expected a run folder"]),
        (["model=null"], ["model=null: expected the name of one"]),
        (["experiment=quickstart", "hydra.run.dir=file/x"], ["file/x: Not a directory; expected hydra.run.dir "]),
        (
            ["-m", "experiment=quickstart", "hydra.sweep.dir=file/x", "seed=0,1"],
            ["file/x: Not a directory"],
        ),
        (["experiment=quickstart", "trainer.precision=16-mixed"], ["trainer.precision=16-mixed is for GPUs"]),
        (["experiment=quickstart", "model.init=no/such/run"], ["model.init=no/such/run is not there: expected a run"]),
    ],
)
def test_the_command_line_shows_no_traceback_and_leaves_nothing(tmp_path, arguments, lines):
    (tmp_path / "file").touch()
    result = train_py(tmp_path, *arguments)
    assert result.returncode == 1
    shown = result.stderr.strip().splitlines()
    assert len(shown) == len(lines)
    assert shown[0].startswith("train.py: ")
    shown[0] = shown[0].removeprefix("train.py: ")
    assert all(line.startswith(expected) for line, expected in zip(shown, lines, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_key_of_a_phase_is_in_the_config_to_be_set(configure):
    config = configure(
        "nogan.pretrain.g1.epochs=2",
        "nogan.pretrain.g4.noise=true",
        "nogan.critic.phases.c2.cycles=first",
        "nogan.scale=2",
    )
    assert config.nogan.pretrain["g1"].epochs == 2 and config.nogan.pretrain["g4"].noise
    assert config.nogan.critic.phases["c2"].cycles == "first"
