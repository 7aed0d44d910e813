"""The processes that train one run together, as each of them sees itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stages.lift.errors import LiftError

T = TypeVar("T")

GIVE_WAY_S = 2.0

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_ADVICE = (
    "Start it with torchrun, which sets {all}; or unset {present} to train in one process."
    " docs/scale-out.md has the commands."
)


@dataclass(frozen=True)
class World:
    """Process `rank` of `size`; alone, nothing here touches torch.distributed.

    What is sent between processes goes through the CPU (gloo), except gradients on a GPU (NCCL).
    Every method that speaks to the others must be called by all of them, in the same order.
    """

    rank: int
    size: int
    local_rank: int  # on this machine, the number of its GPU
    local_size: int  # processes on this machine

    @classmethod
    def alone(cls) -> World:
        """Returns the world of a single process."""
        return cls(rank=0, size=1, local_rank=0, local_size=1)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def device_name(self, asked: str) -> str:
        """Returns the device of this process: its own GPU where `cuda` is asked for.

        Raises `LiftError` for the name of one GPU, on which all processes would meet.
        """
        if self.size == 1 or not asked.startswith("cuda"):
            return asked
        if asked != "cuda":
            raise LiftError(
                f"The device {asked!r} is one GPU, but {self.size} processes train together."
                " Say device=cuda: each then takes the GPU of its local rank."
            )
        return f"cuda:{self.local_rank}"

    def seed(self, root: np.random.SeedSequence) -> int:
        """Returns a seed of torch, another one in each process; that of rank 0 is that of `root`.

        What the processes draw from it (drop path) is therefore as varied as in one process.
        """
        own = root if self.leads else root.spawn(self.rank)[-1]
        return int(own.generate_state(1, np.uint64)[0] >> 1)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Returns `model` with gradients that are the mean over the processes.

        Its weights become those of rank 0 in every process.
        """
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        # Every parameter of a lifter has a gradient in every step: none has to be searched for.
        return DistributedDataParallel(
            model, find_unused_parameters=False, gradient_as_bucket_view=True
        )

    def share_buffers(self, model: nn.Module) -> None:
        """Gives every process the statistics of rank 0, whose weights are the ones kept."""
        if self.size == 1:
            return
        from torch import distributed

        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)

    def gather(self, values: list[float]) -> NDArray[np.float64]:
        """Returns the numbers of all processes, [size, len(values)]."""
        own = torch.tensor([values], dtype=torch.float64)
        if self.size == 1:
            return own.numpy()
        from torch import distributed

        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own)
        return torch.cat(parts).numpy()

    def from_leader(self, value: T) -> T:
        """Returns what rank 0 passed; waits for it."""
        if self.size == 1:
            return value
        from torch import distributed

        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        received: T = box[0]
        return received

    def give_way(self) -> None:
        """Lets another process, if there is one, be the first to say what is wrong."""
        if self.size > 1:
            time.sleep(GIVE_WAY_S)

    def wait(self) -> None:
        """Waits until all processes have come here."""
        self.gather([0.0])


ALONE = World.alone()


def world_of(environment: Mapping[str, str]) -> World:
    """Returns the world that torchrun's variables describe; without them, that of one process.

    Raises `LiftError` if some of them are missing or do not fit each other.
    """
    present = [name for name in _VARIABLES if name in environment]
    if not {"RANK", "WORLD_SIZE"} & set(present):
        return ALONE
    advice = _ADVICE.format(all=", ".join(_VARIABLES), present=", ".join(present))
    missing = [name for name in _VARIABLES if name not in present]
    if missing:
        raise LiftError(
            f"The environment has {', '.join(present)}, but not {', '.join(missing)}. {advice}"
        )
    rank, size, local_rank = (_number(environment, name, advice) for name in _VARIABLES[:3])
    local_size = size
    if "LOCAL_WORLD_SIZE" in environment:
        local_size = _number(environment, "LOCAL_WORLD_SIZE", advice)
    if not (rank < size and local_rank < local_size <= size):
        raise LiftError(
            f"RANK={rank} of WORLD_SIZE={size} with LOCAL_RANK={local_rank} of {local_size} on the"
            f" machine cannot be: ranks count from 0. {advice}"
        )
    return World(rank=rank, size=size, local_rank=local_rank, local_size=local_size)


def _number(environment: Mapping[str, str], name: str, advice: str) -> int:
    text = environment[name]
    if not (text.isascii() and text.isdigit()):
        raise LiftError(f"{name}={text!r} is not a number of processes or of one. {advice}")
    return int(text)
