"""How the processes of a run on several devices were started, and on how many devices and machines they are.

Either rank zero starts the others (``trainer=ddp`` on one machine), or torchrun or SLURM's srun starts all of them.
In the second case each composes its own config. What may differ between them, such as the time in the run folder's
name, is taken from rank zero (:func:`text_of_rank_zero`).
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from nogan.common.errors import UserError
from nogan.plan import Plan
from nogan.plan.config import Trainer

SEVERAL = "ddp_find_unused_parameters_true"
INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs that are shells, for Lightning, too
PORT_OFFSET = 10_000  # from the port that training itself uses
LAST_PORT = 65_535
TIMEOUT = timedelta(minutes=10)  # until the slowest machine has composed its config


class Launch(NamedTuple):
    """The place of this process in a job that was started from outside."""

    by: str
    rank: int
    world: int  # processes in all
    local: int  # processes on this machine


def launched() -> Launch | None:
    """The place of this process among those that torchrun or srun started; None if it was started alone.

    Raises:
        UserError: srun was not told how many tasks a machine has.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        launch = Launch("torchrun", int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"]))
    elif "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in INTERACTIVE:
        world = int(env["SLURM_NTASKS"])
        if world > 1 and "SLURM_NTASKS_PER_NODE" not in env:
            raise UserError(
                f"srun started {world} tasks: expected --ntasks-per-node=N, with as many GPUs on each machine"
            )
        launch = Launch("srun", int(env["SLURM_PROCID"]), world, int(env.get("SLURM_NTASKS_PER_NODE", "1")))
    else:
        return None
    return launch


def is_rank_zero() -> bool:
    """Whether this process has rank zero of the run: the one that prints, logs and writes."""
    if launch := launched():
        return launch.rank == 0
    return int(os.environ.get("LOCAL_RANK", 0)) == 0 and int(os.environ.get("NODE_RANK", 0)) == 0


def devices_and_nodes(trainer: Trainer) -> dict[str, Any]:
    """``devices`` and ``num_nodes`` for Lightning's Trainer: what torchrun or srun started, or what the config says.

    Raises:
        UserError: the config contradicts what was started.
    """
    launch = launched()
    if launch is None:
        return {"devices": trainer.devices, "num_nodes": 1 if trainer.num_nodes == "auto" else trainer.num_nodes}
    found = {"devices": launch.local, "num_nodes": launch.world // launch.local}
    for key, value in found.items():
        if getattr(trainer, key) not in ("auto", value):
            raise UserError(
                f"trainer.{key}={getattr(trainer, key)}, but {launch.by} started {launch.local} processes a machine, "
                f"{launch.world} in all: expected trainer=ddp, auto or {value}; or start one process for each device"
            )
    return found


def strategy(trainer: Trainer) -> str:
    """Lightning's name of the strategy: the only one of its kind that fits, where there are several processes.

    Each batch serves one of two networks, and the other's parameters get no gradient. Lightning's own choice would take
    that for a mistake.
    """
    return SEVERAL if trainer.strategy != "auto" or processes(trainer) != 1 else "auto"


def processes(trainer: Trainer) -> int:
    """How many processes train together, one for each device."""
    placed = devices_and_nodes(trainer)
    devices = placed["devices"]
    if devices == "auto":  # all GPUs; of CPUs, as of Apple's GPUs, Lightning knows one
        import torch

        devices = max(torch.cuda.device_count(), 1) if trainer.accelerator in ("auto", "gpu", "cuda") else 1
    return devices * placed["num_nodes"]


def cluster_environment() -> list[Any]:
    """Lightning's plugin for SLURM, if srun started this process, told not to handle the preemption signal.

    Lightning would save a checkpoint under another name and requeue the job.
    :class:`~nogan.training.signals.StopOnSignal` handles the signal instead.
    """
    if (launch := launched()) is None or launch.by != "srun":
        return []
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)]


def check_devices(trainer: Trainer) -> None:
    """Refuse devices that this machine does not have, and a precision that they cannot compute in.

    Raises:
        UserError: names the key.
    """
    import torch

    found = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    kind = trainer.accelerator
    count = found[kind] if kind in found else 0 if kind == "cpu" else sum(found.values())
    if count == 0 and kind not in ("auto", "cpu"):
        raise UserError(
            f"trainer.accelerator={kind}: PyTorch {torch.__version__} finds no such GPU here: expected trainer=cpu, "
            "or a machine that has one"
        )
    devices = devices_and_nodes(trainer)["devices"]
    if count and devices != "auto" and devices > count:
        raise UserError(f"trainer.devices={devices}: expected at most {count}, which is what this machine has")
    if count == 0 and trainer.precision == "16-mixed":  # Lightning would compute in bfloat16, and say so in a warning
        raise UserError(
            "trainer.precision=16-mixed is for GPUs, and this is to run on the CPU: expected 32-true or bf16-mixed"
        )


def check_batches(plan: Plan, processes: int, accumulate: int) -> None:
    """Refuse a batch that is too small for every process to have a part of it, split ``accumulate`` times.

    Raises:
        UserError: names the key of the batch size.
    """
    least = processes * accumulate
    for phase in plan:
        if processes > 1 and phase.batch_size < least:
            raise UserError(
                f"{phase.key}.batch_size={phase.batch_size} is over all {processes} processes (trainer.devices), each "
                f"of which splits its part by trainer.accumulate={accumulate}: expected at least {least}"
            )


_stores: list[Any] = []  # rank zero keeps its store open, for the others may ask later
_texts: dict[str, str] = {}


def text_of_rank_zero(text: Callable[[], str], topic: str) -> str:
    """The result of ``text()`` in rank zero, for every process that torchrun or srun started.

    It is exchanged before training connects the processes; a process that was started alone calls ``text``.

    Args:
        text: called in rank zero only.
        topic: names the text; asked for the same topic again, the answer is the same.
    """
    launch = launched()
    if launch is None or launch.world == 1:
        return text()
    if topic not in _texts:
        if not _stores:
            _stores.append(_store(launch))
        key = f"nogan/{topic}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        if launch.rank == 0:
            _stores[0].set(key, text())
        _texts[topic] = _stores[0].get(key).decode()
    return _texts[topic]


def _store(launch: Launch) -> Any:
    from torch.distributed import TCPStore

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun keeps a store of its own
        address, port, host = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), False
    else:
        address, port = _main_address()
        port, host = port + PORT_OFFSET if port + PORT_OFFSET <= LAST_PORT else port - PORT_OFFSET, launch.rank == 0
    return TCPStore(address, port, None, host, TIMEOUT, wait_for_workers=False)


def _main_address() -> tuple[str, int]:
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    environment = (TorchElasticEnvironment if "TORCHELASTIC_RUN_ID" in os.environ else SLURMEnvironment)()
    return environment.main_address, environment.main_port
