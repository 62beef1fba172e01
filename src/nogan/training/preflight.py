"""Checks before anything is built, made by a run and by a dry run alike."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.common.errors import UserError
from nogan.plan import GeneratorPhase, Plan
from nogan.plan.config import RunConfig
from nogan.training.launch import check_batches, processes
from nogan.training.own_parts import build_critic, build_generator, check_own_parts
from nogan.training.shapes import ENCODERS, check_shapes

if TYPE_CHECKING:
    from torch import nn

# Those of the recipes are known to exist; checking any other imports timm, which takes seconds.
FEATURE_NETWORKS = (None, "vgg16_bn")

# Networks within these fit into memory anywhere; measuring others imports torch.
USUAL_WIDTH = 4.0
USUAL_CRITIC_WIDTH = 1024
BYTES_A_WEIGHT = 16  # itself, its gradient and two moments of Adam, in float32


def check_networks(config: RunConfig, fresh: bool) -> None:
    """Refuse networks and parts of the user's own that do not exist, and weights that are not there.

    Args:
        config: the whole run.
        fresh: whether the run begins, and so needs what it starts from; a resumed one has a checkpoint.

    Raises:
        UserError: names the key.
    """
    check_own_parts(config)
    model, loss = config.model, config.loss
    if fresh:
        _check_effect(config)
    if fresh and (model.init is not None or model.init_required):
        from nogan.training.initial_weights import initial_files

        initial_files(model)
    for key, file in (("model.encoder_weights", model.encoder_weights), ("loss.network_weights", loss.network_weights)):
        if file is not None and not Path(file).expanduser().is_file():
            raise UserError(f"{key}={file}: no such file")
    if model.encoder not in ENCODERS and model.networks.generator is None:
        from nogan.networks.encoders import check_encoder

        check_encoder(model.encoder)
    if loss.network not in FEATURE_NETWORKS and loss.layers and loss.function is None:
        from nogan.networks.losses import check_feature_network

        check_feature_network(loss.network)


def check_sizes(config: RunConfig, plan: Plan) -> None:
    """Refuse phases that do not fit the networks, the loss or the devices, and networks too large for this machine.

    Raises:
        UserError: names the key.
    """
    check_batches(plan, processes(config.trainer), config.trainer.accumulate)
    model = config.model
    if model.networks.critic is None:
        least = 2 ** (model.critic.doublings + 3)
        for phase in plan:
            if not isinstance(phase, GeneratorPhase) and phase.size < least:
                raise UserError(
                    f"{phase.key}.size={phase.size}: a critic with model.critic.doublings={model.critic.doublings} "
                    f"needs {least} px or more; expected larger pictures, or fewer doublings"
                )
        if model.critic.width > USUAL_CRITIC_WIDTH:
            _check_memory(f"model.critic.width={model.critic.width}", build_critic, config)
    if model.networks.generator is None and model.width > USUAL_WIDTH:
        _check_memory(f"model.width={model.width:g}", build_generator, config)
    check_shapes(config, plan)


def _check_memory(setting: str, build: Callable[[RunConfig], "nn.Module"], config: RunConfig) -> None:
    if not hasattr(os, "sysconf"):  # Windows
        return
    import torch

    without_weights = config.model_copy(
        update={"model": config.model.model_copy(update={"pretrained": False, "encoder_weights": None})}
    )
    there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    try:
        with torch.device("meta"):  # shapes, and no memory
            weights = sum(parameter.numel() for parameter in build(without_weights).parameters())
        needed = weights * BYTES_A_WEIGHT / 1e9
    except (RuntimeError, TypeError) as error:  # the second of a number that PyTorch cannot even read
        if "overflow" not in str(error).lower():
            raise
        needed = float("inf")
    if needed > there_is:
        raise UserError(
            f"{setting}: training would take {_gigabytes(needed)} of memory for the weights alone, and this machine "
            f"has {there_is:,.0f} GB: expected a smaller one"
        )


def _gigabytes(number: float) -> str:
    return "more than 9 billion GB" if number == float("inf") else f"{number:,.0f} GB"


def _check_effect(config: RunConfig) -> None:
    """Refuse what the user has set and what nothing would heed."""
    model, data = config.model, config.data
    if model.init_critic is not None and model.init is None:
        raise UserError(
            f"model.init_critic={model.init_critic} has no effect without model.init: expected "
            "model.init=GENERATOR_FILE beside it"
        )
    if data.path is not None and (data.source is not None or data.kind == "scenes"):
        instead = "data.source" if data.source is not None else "data=scenes"
        raise UserError(
            f"data.path={data.path} has no effect with {instead}: expected data=folder or data=imagenet, or no "
            "data.path"
        )
