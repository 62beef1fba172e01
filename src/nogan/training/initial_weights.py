"""The weights that the networks of a new run start from: ``model.init``."""

from pathlib import Path

from nogan.common.errors import UserError
from nogan.networks import named
from nogan.networks.deoldify import load_weights
from nogan.networks.weights import read_tensors
from nogan.plan.config import Model
from nogan.runs.run_folder import RunFolder
from nogan.runs.snapshots import SnapshotStore
from nogan.training.modules import GANModule

CHECKPOINT = ".ckpt"


def initial_files(model: Model) -> tuple[Path | None, Path | None]:
    """The files with the generator's and the critic's weights that ``model.init`` and ``model.init_critic`` mean.

    ``model.init`` is a run folder or one of its checkpoints (generator and, where it has one, critic), or a file with
    weights: our export or DeOldify's; or a name that `nogan models` lists.
    ``model.init_stage`` says which of a run folder's: "final"; "pretrained", the generator before its first GAN phase;
    or "before_gan", both networks as they stood then.

    Raises:
        UserError: no such file; or none is given though the recipe starts from one.
    """
    if model.init is None:
        if model.init_required:
            raise UserError(
                f"this recipe (model={model.name}) goes on from another run's networks: set model.init=RUN_DIR "
                "(or model.init=GENERATOR_FILE model.init_critic=CRITIC_FILE)"
            )
        return None, None
    generator = named.resolve(Path(model.init).expanduser())
    critic = Path(model.init_critic).expanduser() if model.init_critic else None
    if generator.is_dir():
        run = RunFolder(generator)
        if model.init_stage == "before_gan":
            generator, own_critic = SnapshotStore(run.snapshots("gan@1")).path(0), run.critic_before(1)
        else:
            generator, own_critic = run.generator(model.init_stage), run.critic()
        critic = critic or (own_critic if own_critic.is_file() else None)
        if not generator.is_file():
            raise UserError(
                f"model.init={model.init}: expected a run folder with {generator.relative_to(run.path)} in it, or a "
                "weights file"
            )
    for key, file in (("model.init", generator), ("model.init_critic", critic)):
        if file is not None and not file.is_file():
            expected = "a run folder or a weights file" if key == "model.init" else "a weights file"
            raise UserError(f"{key}={file} is not there: expected {expected}")
    if generator.suffix == CHECKPOINT and critic is None and _holds_critic(generator):
        critic = generator
    if model.init_required and critic is None:
        raise UserError(
            f"model={model.name} needs a critic to go on from, and {model.init} has none: set model.init_critic"
        )
    return generator, critic


def start_from(module: GANModule, model: Model) -> list[str]:
    """Load the weights of :func:`initial_files`, if any, into both networks.

    Returns:
        A line for each network that was started from a file.

    Raises:
        UserError: as there; or a file does not fit its network.
    """
    generator, critic = initial_files(model)
    if generator is None:
        return []
    load_weights(module.generator.network, generator)
    started = [f"generator from {generator}"]
    if critic is not None:
        load_weights(module.critic.network, critic, setting="model.init_critic")
        started.append(f"critic from {critic}")
    return started


def _holds_critic(checkpoint: Path) -> bool:
    return any(name.startswith("critic.network.") for name in read_tensors(checkpoint, setting="model.init"))
