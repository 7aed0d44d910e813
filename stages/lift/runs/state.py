"""The resumable state of a training run."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.lift.errors import RunCorrupt
from stages.lift.fit.averages import WeightAverage
from stages.lift.runs.rundir import write_bytes


@dataclass
class TrainState:
    """Everything that the next epoch depends on, after `epoch` finished ones.

    There is no random state: what is random in an epoch follows from the seed and its number.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    epoch: int = 0
    best_epoch: int | None = None
    best_mpjpe_mm: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def weights(self) -> dict[str, torch.Tensor]:
        """Returns what is evaluated and kept: the average where there is one."""
        source = self.average.weights if self.average else self.model.state_dict()
        return {name: t.detach().cpu().contiguous() for name, t in source.items()}

    def save(self, path: Path) -> None:
        """Writes the state atomically."""
        content = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_mpjpe_mm": self.best_mpjpe_mm,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average and self.average.weights,
            "average_updates": self.average and self.average.num_updates,
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes(path, buffer.getvalue())

    def restore(self, saved: bytes, path: Path) -> None:
        """Takes the state from the content of the file `path`.

        Raises `RunCorrupt` if it cannot be understood or does not fit.
        """
        try:
            content = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.average:
                self.average.load(content["average"], num_updates=content["average_updates"])
        except (
            OSError,
            RuntimeError,
            KeyError,
            TypeError,
            ValueError,
            EOFError,
            pickle.UnpicklingError,
        ) as error:
            raise RunCorrupt(
                f"{path} cannot be resumed: {error}. Remove the run directory to train it again."
            ) from error
        self.epoch = content["epoch"]
        self.best_epoch = content["best_epoch"]
        self.best_mpjpe_mm = content["best_mpjpe_mm"]
        self.history = content["history"]
