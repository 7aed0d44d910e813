"""A training process that kills itself: `python killed_run.py STORE RUN MOMENT [LIFTER]`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch

from cache import CacheReader
from lifter.config import LifterConfig
from stages.lift import TrainConfig, TrainProgress, train
from stages.lift.runs import recording, rundir, state

LIFTER = LifterConfig(
    name="capf", width=16, depth=2, num_heads=2, deform_heads=2, num_points=2, drop_path=0.3
)
WINDOWED = {
    name: LIFTER.model_copy(update={"name": name, "num_frames": 3, "token_width": 4})
    for name in ("videopose3d", "capf_temporal")
}
CONFIG = TrainConfig.model_validate(
    {
        "epochs": 5,
        "batch_size": 7,
        "lr": 2e-3,
        "ema": 0.9,
        "grad_clip": 1.0,
        "warmup_steps": 3,
        "schedule": "cosine",
        "threads": 1,
        "seed": 4,
        "data": {"context": "shuffled"},
    }
)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_in_epoch(number: int) -> Any:
    def report(progress: TrainProgress) -> None:
        if progress.epoch == number:
            die()  # the log and perhaps the best weights are written, the state is not

    return report


def die_half_way_through(path: Path, content: bytes) -> None:
    path.with_name(f".{path.name}.tmp").write_bytes(content[: len(content) // 2])
    die()


def main(store: str, run: str, moment: str, lifter: str = "capf") -> None:
    torch.set_num_threads(1)
    progress = None
    if moment == "epoch 2 before its state":
        progress = die_in_epoch(2)
    elif moment == "in the middle of a state":
        state.write_bytes = die_half_way_through
    elif moment == "before the last weights":
        write = rundir.write_bytes
        recording.write_weights = lambda path, weights, *, epoch: (
            die() if path.name.startswith("last") else write(path, weights_bytes(weights, epoch))
        )
    train(CONFIG, WINDOWED.get(lifter, LIFTER), CacheReader(store), run, progress=progress)


def weights_bytes(weights: Any, epoch: int) -> bytes:
    import safetensors.torch

    content: bytes = safetensors.torch.save(weights, metadata={"epoch": str(epoch)})
    return content


if __name__ == "__main__":
    main(*sys.argv[1:])
