"""What would fail later is refused before anything is built, by a dry run too; and a plan says what it is for."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from nogan.common.errors import UserError
from nogan.plan import build_plan
from nogan.plan.config import RunConfig
from nogan.training.launch import check_devices
from nogan.training.preview import show_plan
from nogan.training.run import train


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs" / "n01440764"
    folder.mkdir(parents=True)
    for number in range(60):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / f"{number}.png")
    return folder.parent


def shown(config: RunConfig) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        show_plan(config, console)
    return captured.get()


def test_photographs_are_counted_in_a_dry_run_too(smallest, photographs):
    for kind, images in (("folder", "null"), ("imagenet", "1281167")):
        plan = shown(smallest(f"data={kind}", f"data.path={photographs}", f"data.images={images}"))
        assert f"For 60 photographs, counted at data.path={photographs}." in plan
    assert "For 200 scenes" in shown(smallest())


def test_without_a_path_a_dry_run_assumes_what_the_config_says(smallest):
    for path in ("null", "hub"):
        plan = shown(smallest("data=imagenet", f"data.path={path}", "data.images=5000"))
        assert "For 5,000 photographs, as data.images says" in plan
    with pytest.raises(UserError, match=r"data\.path=DIR"):
        shown(smallest("data=folder", "data.images=null"))


def test_a_number_of_photographs_that_a_folder_does_not_have(smallest, photographs):
    with pytest.raises(
        UserError, match=r"data\.images=5000, but data\.path=.* holds 60 photographs: leave data\.images"
    ):
        shown(smallest("data=folder", f"data.path={photographs}", "data.images=5000"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.init_required=true"], r"goes on from another run's networks: set model\.init=RUN_DIR"),
        (["model.init_critic=critic.pth"], r"model\.init_critic=critic\.pth has no effect without model\.init"),
        (["data.path=somewhere"], r"data\.path=somewhere has no effect with data=scenes: expected data=folder"),
        (["model.critic.doublings=3"], r"nogan\.critic\.phases\.c1\.size=32: a critic with .*doublings=3 needs 64 px"),
        (["model.critic.width=100000"], r"model\.critic\.width=100000: training would take [\d,]+ GB of memory"),
        (["model.width=1e30"], r"model\.width=1e\+30: training would take more than .* GB of memory"),
        (["trainer.lightning.detect_anomaly=-1"], r"trainer\.lightning\.detect_anomaly=-1: expected bool"),
        (["trainer.lightning.profiler=1e30"], r"trainer\.lightning\.profiler=1e\+30: expected .*Profiler, str"),
        (["model.width=100000"], r"model\.width=100000: training would take more than .* GB of memory"),
        (["model.init=nowhere"], r"model\.init=nowhere is not there: expected a run folder or a weights file"),
        (["model.encoder=resnet3"], r"model\.encoder=resnet3: expected 'tiny' or a backbone that timm"),
        (["model.encoder_weights=nowhere.pth"], r"model\.encoder_weights=nowhere\.pth: no such file"),
        (["loss.network_weights=nowhere.pth"], r"loss\.network_weights=nowhere\.pth: no such file"),
        (["loss={network:vgg99,layers:[1],weights:[1]}"], r"loss\.network=vgg99: torchvision .* knows no network"),
        (["loss={network:nothing,layers:[1],weights:[1]}"], r"loss\.network=nothing: expected a VGG"),
        (["data.val_path=nowhere"], r"data\.val_path=nowhere is not there; expected a folder of photographs"),
    ],
)
def test_a_run_and_a_dry_run_refuse_the_same(smallest, tmp_path, overrides, message):
    config = smallest(*overrides)
    with pytest.raises(UserError, match=message):
        shown(config)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_held_out_photographs_leaves_the_others_for_training(smallest, photographs):
    with_share = build_plan(smallest("data.val_share=0.2", "trainer.limit_batches=null"))
    with_folder = build_plan(smallest("data.val_share=0.2", "data.val_path=DIR", "trainer.limit_batches=null"))
    assert with_folder[0].images == pytest.approx(with_share[0].images * 0.75 / 0.55, abs=8)  # reals_share: 0.25


@pytest.mark.parametrize(
    ("overrides", "gpus", "message"),
    [
        (["trainer=gpu"], 0, r"trainer\.accelerator=gpu: PyTorch .* finds no such GPU here: expected trainer=cpu"),
        (["trainer=ddp"], 0, r"trainer\.accelerator=gpu: "),
        (["trainer=gpu", "trainer.devices=4"], 2, r"trainer\.devices=4: expected at most 2"),
        (["trainer=cpu", "trainer.precision=16-mixed"], 2, r"trainer\.precision=16-mixed is for GPUs"),
        (["trainer=auto", "trainer.precision=16-mixed"], 0, r"trainer\.precision=16-mixed is for GPUs"),
        (["trainer=auto", "trainer.precision=bf16-mixed"], 0, None),
        (["trainer=gpu", "trainer.precision=16-mixed"], 1, None),
        (["trainer=ddp"], 2, None),
        (["trainer=cpu", "trainer.devices=4"], 0, None),
    ],
)
def test_devices_that_this_machine_has(configure, monkeypatch, overrides, gpus, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    trainer = configure(*overrides).trainer
    if message is None:
        check_devices(trainer)
        return
    with pytest.raises(UserError, match=message):
        check_devices(trainer)


def test_debug_takes_a_few_batches_of_every_experiment_and_leaves_the_quickstart_as_it_is(configure):
    quick = build_plan(configure("experiment=quickstart", "trainer=debug"), 20000)
    assert quick == build_plan(configure("experiment=quickstart", "trainer.limit_batches=2"), 20000)
    photographs = build_plan(configure("experiment=photographs", "trainer=debug"), 400)
    assert max(phase.steps for phase in photographs) <= 4


def test_the_share_to_enlarge_is_one_that_there_is(smallest):
    with pytest.raises(UserError, match=r"nogan\.critic\.phases\.c1: .* a larger nogan\.critic\.fakes\.share"):
        build_plan(smallest("nogan.critic.phases.c1.batch_size=400"))


def test_similar_encoders_look_alike(smallest):
    with pytest.raises(UserError, match="close: resnet34,"):
        shown(smallest("model.encoder=resnet_34"))
