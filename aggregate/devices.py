"""How many processes train together, on which machines, and how their gradients come together."""

import os
from typing import Literal

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, Strategy

from scale_video.aggregate.pretrain_config import PretrainConfig

NumDevices = int | Literal["auto"]
"""``auto``: all GPUs, or one CPU."""


def device_type(accelerator: str) -> Literal["cuda", "cpu"]:
    """What Lightning's ``accelerator`` comes to here."""
    return "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"


def num_devices(wanted: NumDevices, *, accelerator: str) -> int:
    """Devices of this machine.

    Raises:
        ValueError: there are not so many GPUs.
    """
    on_gpu = device_type(accelerator) == "cuda"
    there = torch.cuda.device_count() if on_gpu else 1
    if wanted == "auto":
        return there
    if wanted < 1 or (on_gpu and wanted > there):
        raise ValueError(f"--devices {wanted} must be between 1 and the {there} GPUs of this machine")
    return wanted


def strategy(config: PretrainConfig, *, num_ranks: int) -> Strategy | str:
    """Gradients are averaged over ranks; the weights of a task that is left out have none."""
    left_out = config.masked_clip_weight == 0 or config.set_weight == 0
    return DDPStrategy(find_unused_parameters=left_out) if num_ranks > 1 else "auto"


def check_nodes(trainer: Trainer) -> None:
    """Refuse to wait for other nodes where nobody says which of them this is.

    Raises:
        ValueError: neither a cluster nor the environment says so.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    told = "MASTER_ADDR" in os.environ and ("NODE_RANK" in os.environ or "GROUP_RANK" in os.environ)
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment) and not told:
        raise ValueError(
            f"{trainer.num_nodes} nodes have to be told of each other: run under SLURM (srun) or torchrun, or set "
            "MASTER_ADDR, MASTER_PORT and NODE_RANK on each"
        )


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep Lightning from answering signals under SLURM, which are held instead (``held_signals.py``).

    It would save in the middle of a step, to a file ``hpc_ckpt_1.ckpt`` that it takes up where there is no other, and
    put the job into the queue again by itself.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False


def is_first_rank() -> bool:
    """Whether this process speaks for all that train together; it is known from the process's beginning."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def is_first_of_all() -> bool:
    """Whether this process is the first of the first node; a node that was told its number has a first rank too."""
    node = os.environ.get("GROUP_RANK", os.environ.get("NODE_RANK", "0"))
    return is_first_rank() and node in ("", "0")
