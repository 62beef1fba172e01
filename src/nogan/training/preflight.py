"""Checks before anything is built, made by a run and by a dry run alike."""

from pathlib import Path

from nogan.common.errors import UserError
from nogan.plan.config import RunConfig
from nogan.training.own_parts import check_own_parts

# Those of the recipes are known to exist; checking any other imports timm, which takes seconds.
ENCODERS = ("tiny", "resnet34", "resnet101")
FEATURE_NETWORKS = (None, "vgg16_bn")


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
